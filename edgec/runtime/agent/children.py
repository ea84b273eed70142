"""Running another program within limits: an artifact's own checks, and the health command.

Such a process yields to all others (nice 10 or more), is the first that the kernel ends when memory runs out, and is
killed with all that it started when its time is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError

_NICE = 10
_KEPT = 64 << 10
"""Bytes of output that are read back, the last ones."""
_MOST = 4 << 20
"""Bytes of output that are held: of a program that prints more, what it printed so far is let go of."""
_LOOK = 0.05
"""Seconds between two looks at how much it printed."""


@dataclass(frozen=True)
class Ended:
    """How a process ended. code: as subprocess has it, -N for signal N; None: it was killed when its time was over.

    output: the end of its standard output. errors: the end of its standard error.
    """

    code: int | None
    output: str
    errors: str

    def why(self, timeout: float) -> str:
        """In words, for a process that failed: "It ended with code 3: no such camera"."""
        if self.code is None:
            how = f"It took longer than {timeout:g} s, and was ended"
        elif self.code < 0:
            how = f"It was ended by {_signal_name(-self.code)}"
        else:
            how = f"It ended with code {self.code}"
        lines = [line for line in (self.errors or self.output).splitlines() if line.strip()]
        return f"{how}: {lines[-1].strip()[:300]}" if lines else f"{how}."


def run(command: Sequence[str], timeout: float, environment: Mapping[str, str]) -> Ended:
    """Run a program to its end, or for `timeout` seconds. environment: what is added to this process's own.

    Raises InputError when it can't be started.
    """
    with _scratch() as out, _scratch() as err:
        output, errors = _Output(out), _Output(err)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        except OSError as error:
            raise InputError(
                f"{command[0]} can't be run", f"The system says: {error.strerror}.", "Check the path and its rights."
            ) from error
        _be_modest(process.pid)
        try:
            code = _ended(process, timeout, (output, errors))
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return Ended(code, output.text(), errors.text())


class _Output:
    """What a process prints into `stream`: the end of it is kept."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._before = b""

    def let_go(self) -> None:
        """Hold no more than its end. Only what is printed between the two calls is lost."""
        if os.fstat(self._stream.fileno()).st_blocks * 512 > _MOST:
            self._before = self._end()
            # The process writes on where it was: before that is a hole then, which takes no room.
            os.ftruncate(self._stream.fileno(), 0)

    def text(self) -> str:
        return (self._before + self._end())[-_KEPT:].decode("utf-8", "replace")

    def _end(self) -> bytes:
        size = os.fstat(self._stream.fileno()).st_size
        return os.pread(self._stream.fileno(), _KEPT, max(0, size - _KEPT)).lstrip(b"\0")


def _ended(process: subprocess.Popen[bytes], timeout: float, outputs: Sequence[_Output]) -> int | None:
    """The code that it ended with; None when its time is over. Meanwhile its output is kept from filling the memory."""
    until = time.monotonic() + timeout
    while (left := until - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(min(left, _LOOK))
        for output in outputs:
            output.let_go()
    return None


def _scratch() -> BinaryIO:
    """A file that vanishes; in memory where the system can, since the storage may be full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("edgec-device"), "w+b")
    return tempfile.TemporaryFile()


def _be_modest(pid: int) -> None:
    """Without the right to, it runs like any other."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, max(_NICE, os.getpriority(os.PRIO_PROCESS, pid)))
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
