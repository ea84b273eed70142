"""Running the Edge TPU compiler, where somebody has put it.

It is Google's, closed, and may not be passed on; so it is neither carried nor fetched, only looked for on PATH
(docs/edgetpu.md). Options: https://coral.ai/docs/edgetpu/compiler/#usage.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgec.backends.edgetpu.log import Log, parse
from edgec.errors import InternalError, WorkerCrashed, WorkerTimedOut

EXECUTABLE = "edgetpu_compiler"
SUFFIX = "_edgetpu.tflite"

TIMEOUT = 600.0
"""Seconds. The compiler itself gives up after 180 since version 16.0; older ones never do."""

ATTEMPTS = 3
"""Some versions fail now and then with "Internal compiler error", and succeed when asked again (issues 206 and 211 of
https://github.com/google-coral/edgetpu)."""

_INTERNAL = "Internal compiler error"
_SHOWN = 3000  # characters of its output that an error shows
_WITHOUT = f"Without {EXECUTABLE} on PATH the same build leaves the model uncompiled."


@dataclass(frozen=True)
class Compiled:
    """file: the model with one operator "edgetpu-custom-op" in place of the mapped ones. log: what was printed."""

    file: Path
    log: Log


def find() -> Path | None:
    """The compiler on PATH; None where there is none."""
    found = shutil.which(EXECUTABLE)
    return Path(found) if found is not None else None


def version(executable: Path, timeout: float = 30.0) -> str | None:
    """What `edgetpu_compiler --version` calls itself ("16.0.384591198"); None where it says nothing of the kind."""
    try:
        code, printed = _run([str(executable), "--version"], Path.cwd(), timeout)
    except (OSError, WorkerTimedOut):
        return None
    return parse(printed).version if code == 0 else None


def compile_model(
    executable: Path, model: Path, out: Path, runtime: int, *, timeout: float = TIMEOUT, attempts: int = ATTEMPTS
) -> Compiled:
    """Compile `model` into the folder `out`.

    runtime: the lowest version of the Edge TPU runtime that the result must work with.
    timeout: seconds for each attempt; then the compiler and its children are ended.

    Raises WorkerTimedOut; WorkerCrashed, with what it printed, when it fails, or writes nothing; InternalError when it
    can't be started.
    """
    # -a, -d and -n change how many subgraphs are mapped; without them there is one, the one that is predicted
    command = [str(executable), "-s", "-o", str(out), "-m", str(runtime), str(model)]
    file = out / f"{model.stem}{SUFFIX}"
    code, printed = 0, ""
    for _ in range(attempts):
        try:
            code, printed = _run(command, out, timeout)
        except OSError as error:
            raise InternalError(
                f"The Edge TPU compiler can't be started: {executable}",
                f"The system says: {error.strerror}.",
                f"It is a program for 64-bit x86 Linux. {_WITHOUT}",
            ) from error
        if code == 0 or _INTERNAL not in printed:
            break
    log = parse(printed)
    if code != 0:
        raise _failed(f"The Edge TPU compiler ended with {_code(code)}", printed, log)
    if not _is_model(file):
        raise _failed(f"The Edge TPU compiler wrote no {file.name}", printed, log)
    beside = file.with_suffix(".log")
    if not log.rows and beside.is_file():  # versions before 2.1 print no table
        log = parse(f"{printed}\n{beside.read_text(encoding='utf-8', errors='replace')}")
    return Compiled(file, log)


def _run(command: list[str], folder: Path, timeout: float) -> tuple[int, str]:
    """(exit code, what it printed). It gets a process group of its own, which ends with it."""
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise WorkerTimedOut(
                f"The Edge TPU compiler did not finish in {timeout:.0f} s and was ended",
                _shown(output),
                f"It may hang on this model. {_WITHOUT}",
            ) from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        output.seek(0)
        return code, output.read().decode("utf-8", "replace")


def _shown(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode("utf-8", "replace")[-_SHOWN:].strip() or "It printed nothing."


def _is_model(file: Path) -> bool:
    from edgec.backends.edgetpu.network import IDENTIFIER

    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(8)[4:] == IDENTIFIER


def _code(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def _failed(what: str, printed: str, log: Log) -> WorkerCrashed:
    why = "\n".join(log.complaints) or printed[-_SHOWN:].strip() or "It printed nothing."
    return WorkerCrashed(
        what,
        why,
        f"`edgec inspect` tells which operations it is expected to refuse. {_WITHOUT}",
        {"printed": printed[-_SHOWN:], "compiler": log.version},
    )
