"""A payload in its engine, on an emulated device.

The device's Python runs `guest.py` with the runtime that artifacts carry; feeds go in and outputs come out over pipes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from edgec.bundle.write import runtime_sources
from edgec.emulator.machine import Machine
from edgec.emulator.roots import setup_command
from edgec.errors import DeviceError, EdgecError, InternalError, ToolMissing, WorkerCrashed, WorkerTimedOut
from edgec.runners.frames import BrokenFrame, receive, send, text
from edgec.runtime.errors import ArtifactFailure, EngineMissing
from edgec.samples import Feeds

ANSWER_SECONDS = 600.0
SECONDS_PER_GMAC = 100.0
"""Emulated cores need 1 to 4 seconds for 10^9 multiply-accumulates of INT8, and more in float or on a busy machine."""

_END_SECONDS = 10.0
_TAIL = 4000  # characters of what a guest printed that are worth showing
_SHELL = 128  # a shell adds it to the number of the signal that ended a program


def patience(macs: int) -> float:
    """Seconds after which a device that runs a model of `macs` multiply-accumulates is taken to hang."""
    return ANSWER_SECONDS + SECONDS_PER_GMAC * macs / 1e9


class Guest:
    """A payload that is loaded on an emulated device. Call it with feeds: it gives outputs.

    version: of the engine there.
    """

    def __init__(self, machine: Machine, process: subprocess.Popen[bytes], said: IO[bytes], patience: float) -> None:
        self.version = ""
        self._machine = machine
        self._process = process
        self._said = said
        self._patience = patience

    def load(self, engine: str, files: Mapping[str, bytes], options: Mapping[str, Any]) -> None:
        """Send the payload, and have it opened.

        Raises ToolMissing when the device's Python or its engine can't load it, and what `__call__` raises.
        """
        job = text(json.dumps({"engine": engine, "options": dict(options), "files": list(files)}))
        contents = {name: np.frombuffer(content, np.uint8) for name, content in files.items()}
        ready = self._ask("payload", {"job": job, **contents}, "ready")
        self.version = ready["version"].tobytes().decode()

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Run once.

        Raises what the runtime raises (ArtifactFailure); DeviceError for an instruction that the core lacks;
        WorkerCrashed when the engine dies, WorkerTimedOut when it hangs, InternalError for an answer that is none.
        """
        return self._ask("feeds", feeds, "outputs")

    def _ask(self, kind: str, arrays: Mapping[str, np.ndarray], expected: str) -> dict[str, np.ndarray]:
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(self._patience, give_up)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # why it is gone is told by how it ended
                send(cast("Any", self._process.stdin), kind, arrays)
            answer = receive(cast("Any", self._process.stdout))
        except BrokenFrame as broken:
            raise InternalError(
                f"The program on the emulated device ({self._machine.label}) answered with something else than outputs",
                f"{broken}. {self._tail()}",
                "Please report it with the model if you may share it, and the output of `edgec doctor`.",
            ) from broken
        finally:
            timer.cancel()
        if answer is None:
            raise self._late() if late.is_set() else self._ended(loading=kind == "payload")
        if answer[0] == "failure":
            raise self._failure(json.loads(answer[1]["error"].tobytes()))
        if answer[0] != expected:
            raise InternalError(
                f"The program on the emulated device ({self._machine.label}) answered out of turn",
                f"It sent {answer[0]!r} where {expected!r} was due.",
                "Please report it with the output of `edgec doctor`.",
            )
        return answer[1]

    def _failure(self, told: Mapping[str, Any]) -> Exception:
        """What the guest's runtime raised, as it raises it here."""
        if "exit_code" not in told:
            return WorkerCrashed(
                f"The engine failed on the emulated device ({self._machine.label}): {told['kind']}: {told['what']}",
                str(told["why"])[-_TAIL:],
                "Please report it with the model if you may share it, and the output of `edgec doctor`.",
            )
        if told["exit_code"] == EngineMissing.exit_code:
            versions = ", ".join(f"{name} {version}" for name, version in self._machine.root.versions.items())
            return ToolMissing(
                f"On the emulated device ({self._machine.label}): {told['what']}",
                f"{told['why']}\nIt has {versions}; so would a device with the same engine fail.",
                "Another --backend or --precision may suit that engine. If the device itself is damaged, make it anew: "
                f"`{setup_command(self._machine.root.arch, '--force')}`.",
                told["details"],
            )
        failure = ArtifactFailure(told["what"], told["why"], told["fix"], told["details"])
        failure.exit_code = int(told["exit_code"])
        return failure

    def _late(self) -> EdgecError:
        return WorkerTimedOut(
            f"The emulated device ({self._machine.label}) did not answer in {self._patience:.0f} s and was ended",
            "The engine may hang on this model, or this machine is very busy.",
            "Build again when it is less busy, or with --no-emulate: the artifact is then not executed.",
        )

    def _ended(self, *, loading: bool) -> EdgecError:
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:  # it only closed its output
            self._process.kill()
            code = self._process.wait()
        return ended(self._machine, code, self._tail(), loading=loading)

    def _tail(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")[-_TAIL:].strip() or "It printed nothing."


def ended(machine: Machine, code: int, printed: str, *, loading: bool = False) -> EdgecError:
    """Why a program on an emulated device is gone that should have gone on.

    code: as `subprocess` or a shell give it. loading: whether it had not done anything yet.
    """
    number = -code if code < 0 else code - _SHELL
    if number == signal.SIGILL:
        return DeviceError(
            f"The payload uses an instruction that {machine.core} lacks",
            f"It ran on {machine.label}, and was ended there by SIGILL. {printed}",
            "Build it for the CPU that the device has: its target's `features` promise too much, or `emulator.cpu` is "
            "another core (docs/targets.md).",
            {"core": machine.core},
        )
    if loading and code > 0 and number <= 0:
        return ToolMissing(
            f"Python does not start on the emulated device ({machine.label})",
            f"It ended with exit code {code}. {printed}",
            f"Make its root anew: `{setup_command(machine.root.arch, '--force')}`; or build with --no-emulate: the "
            "artifact is then not executed.",
        )
    how = f"exit code {code}"
    if number > 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(number).name
    hint = " (possibly out of memory)" if number == signal.SIGKILL else ""
    return WorkerCrashed(
        f"The engine died with {how}{hint} on the emulated device ({machine.label})",
        printed,
        "Please report it with the model if you may share it, and the output of `edgec doctor`.",
        {"signal_or_code": how, "where": machine.label},
    )


@contextlib.contextmanager
def running(
    machine: Machine,
    engine: str,
    files: Mapping[str, bytes],
    options: Mapping[str, Any],
    scratch: Path,
    patience: float = ANSWER_SECONDS,
) -> Iterator[Guest]:
    """A payload, loaded on `machine` on one thread, until the block ends.

    engine, files, options: see `edgec.runtime.engines.open_engine`. scratch: a folder that is there meanwhile.
    patience: seconds for each answer.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as name, tempfile.TemporaryFile() as said:
        program = Path(name) / "guest.zip"
        _write_program(program)
        command, environment = machine.python(["-m", "edgec_guest", str(os.getpid())], [str(program)])
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, cwd=name, env=environment
        )
        try:
            guest = Guest(machine, process, said, patience)
            guest.load(engine, files, options)
            yield guest
        finally:
            process.kill()  # it holds nothing that is worth an orderly end
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):  # of a frame that nobody read
                    pipe.close()


def _write_program(place: Path) -> None:
    here = Path(__file__).parent
    own = {f"edgec_{name}.py": (here / f"{name}.py").read_bytes() for name in ("guest", "frames")}
    with zipfile.ZipFile(place, "w") as archive:
        for name, source in {**runtime_sources(), **own}.items():
            archive.writestr(zipfile.ZipInfo(name), source)  # not dated: a zip knows no time before 1980
