"""Variants of one kernel, compiled here and timed on a board: the program that is sent needs a C library only.

What compiles may crash, and runs in a worker; what is sent may crash or hang, and that is told in the same words:
WorkerCrashed, WorkerTimedOut. A connection that breaks is opened again; ConnectionLost is raised where it can't be.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgec import toolchain, worker
from edgec.backends.tvm.generating import object_file
from edgec.backends.tvm.isa import named
from edgec.backends.tvm.kernels.base import Kernel
from edgec.backends.tvm.tuning.timing import FILLING, LONG, PATIENCE, Operand, Timed, chosen, copies_of
from edgec.errors import ConnectionLost, DeviceError, WorkerCrashed, WorkerTimedOut
from edgec.runners import ssh
from edgec.targets import Target

_SOURCE = Path(__file__).with_name("timing.c")
_NAME = "timing"
_SIGNALLED = 128
_PAUSES = (1.0, 3.0, 10.0)
"""Seconds before each try to open a connection again: a board may have its network back soon."""


class BoardTimer:
    """Times variants on a board; connects when first asked to.

    processors: the numbers of those to run on; any, where there are none.
    """

    def __init__(self, host: str, processors: Sequence[int] = ()) -> None:
        self._host = host
        self._processors = ",".join(map(str, processors)) or "-"
        self._session = contextlib.ExitStack()
        self._board: ssh.Board | None = None

    def __enter__(self) -> BoardTimer:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._board = None
        self._session.close()

    def __call__(self, call: Mapping[str, Any], seconds: float) -> Timed:
        """What `timing.fastest` would return there. call: its arguments. seconds: for all of it, at most.

        Raises WorkerCrashed, WorkerTimedOut, and DeviceError where the board can't be had any more.
        """
        deadline = time.monotonic() + seconds
        program: bytes = worker.call(program_of, call, timeout=min(PATIENCE, seconds))
        deadline = min(deadline, time.monotonic() + PATIENCE)
        for pause in _PAUSES:
            try:
                return self._run(program, len(call["variants"]), deadline)
            except ConnectionLost:
                self.close()
                if time.monotonic() + pause >= deadline:
                    raise
                time.sleep(pause)
        return self._run(program, len(call["variants"]), deadline)

    def _run(self, program: bytes, count: int, deadline: float) -> Timed:
        if self._board is None:
            self._board = self._session.enter_context(ssh.connect(self._host, len(program)))
        self._board.put({_NAME: program})
        board = self._board
        return chosen(count, lambda numbers, rounds: self._measured(board, numbers, rounds, deadline))

    def _measured(self, board: ssh.Board, numbers: Sequence[int], rounds: int, deadline: float) -> dict[int, float]:
        words = [f"./{_NAME}", str(rounds), self._processors, *map(str, numbers)]
        left = deadline - time.monotonic()
        try:
            done = board.run(words, seconds=max(0.0, left))
        except ssh.TooLate as late:
            raise WorkerTimedOut(late.what, late.why, late.fix) from late
        if done.code >= _SIGNALLED:
            raise WorkerCrashed(
                f"A kernel's variants died with signal {done.code - _SIGNALLED} on {self._host}",
                done.said.strip() or "They printed nothing before.",
                "They are left out.",
            )
        told = done.document()
        if done.code != 0 or told is None:
            raise DeviceError(
                f"The program that times kernels does not run on {self._host}",
                done.said.strip() or f"It ended with {done.code}.",
                "See whether the target describes this board: its architecture, its cpu and min_glibc.",
            )
        nothing = statistics.median(told["idle"])
        return {
            number: max(1.0, (statistics.median(told["busy"][str(number)]) - nothing) / told["calls"])
            for number in numbers
        }


def program_of(
    default: Kernel, variants: Sequence[Kernel], operands: Sequence[Operand], arena: int, isa: str, target: Target
) -> bytes:
    """A program for `target` that times a kernel (variant 0) and others: see timing.c. Call it in a worker.

    Raises ToolMissing without a compiler for the target.
    """
    kernels = [default, *variants]
    tool = toolchain.find(target)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        symbols = {f"variant{number}": kernel for number, kernel in enumerate(kernels)}
        (folder / "kernels.o").write_bytes(object_file(symbols, named(isa), target))
        (folder / "headers.bin").write_bytes(b"".join(operand.header for operand in operands))
        (folder / "job.h").write_text(job_header(kernels, operands, arena))
        source = folder / _SOURCE.name
        source.write_text(_SOURCE.read_text())
        tool.compile(source, folder / "timing.o", target, [f"-I{folder}", f"-Wa,-I{folder}"])
        tool.link_program([folder / "kernels.o", folder / "timing.o"], folder / _NAME, target)
        return (folder / _NAME).read_bytes()


def job_header(kernels: Sequence[Kernel], operands: Sequence[Operand], arena: int) -> str:
    """What timing.c includes."""
    pointers = ", ".join(["const void *"] * len(operands))
    arguments = ", ".join(f"(row)[{number}]" for number in range(len(operands)))
    places, offset = [], 0
    for operand in operands:
        header = len(operand.header)
        places.append(f"{{{offset if operand.size else operand.offset}, {operand.size}, {header}}}")
        offset += header
    lines = [
        f"#define ARENA {arena}",
        f"#define COPIES {copies_of(operands)}",
        f"#define FILLING {FILLING}",
        f"#define LONG {LONG}",
        f"#define OPERANDS {len(operands)}",
        f"#define CALL(function, row, begin, end) (function)({arguments}, begin, end)",
        f"static const struct operand operands[] = {{{', '.join(places)}}};",
        f"typedef void kernel({pointers}, int32_t, int32_t);",
        f"extern kernel {', '.join(f'variant{number}' for number in range(len(kernels)))};",
        f"static kernel *const variants[] = {{{', '.join(f'variant{number}' for number in range(len(kernels)))}}};",
        f"static const int32_t units[] = {{{', '.join(str(kernel.units) for kernel in kernels)}}};",
    ]
    return "\n".join(lines) + "\n"
