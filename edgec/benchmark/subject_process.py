"""Each subject in a process of its own: its memory, its threads and its crashes are its own.

The parent asks, the child answers, over a socket that carries pickles: (number, command, arguments) one way, (number,
kind, value) the other. A child waits for its turn without using a core. It does not outlive its parent, and Ctrl-C
reaches only that; the answer that it then no longer waited for is known by its number, and passed over.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from edgec.benchmark.subjects import Subject
from edgec.errors import EdgecError, WorkerCrashed, WorkerTimedOut, from_system_error, unexpected
from edgec.runtime.turns import Turn

_PR_SET_PDEATHSIG = 1  # prctl(2)
_TAIL = 2000  # characters of a dead child's output that are worth showing
_PATIENCE = 600.0  # seconds for one answer, beyond what the command itself takes
_PROGRESS, _RESULT, _FAILURE = "progress", "result", "failure"


class SubjectProcess:
    """A subject in its process. Its methods raise what went wrong there, WorkerCrashed when it died."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches the parent only
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        self._connection = Connection(ours.detach())
        self._asked = 0

    def open(self, threads: int | None, batch: int) -> dict[str, Any]:
        """Load the subject and run its first query: {"document", "notes", "load_ms", "first_ms", "start_bytes"}."""
        told: dict[str, Any] = self._ask("open", (self.subject, threads, batch))
        return told

    def turn(self, queries: int) -> Turn:
        """Time so many queries; see `Query.turn`."""
        turn: Turn = self._ask("turn", (queries,))
        return turn

    def stream(self, seconds: float, queries: int, heard: Callable[[int, float], None]) -> Turn:
        """Time a single stream; see `Query.stream`. Ctrl-C ends it, and what was measured up to then is returned."""
        self._send("stream", (seconds, queries))
        try:
            turn: Turn = self._answer(seconds + _PATIENCE, heard)
        except KeyboardInterrupt:
            os.kill(self._child.pid, signal.SIGINT)
            turn = self._answer(_PATIENCE, heard)
        return turn

    def peak_bytes(self) -> int | None:
        """The most memory that the process has had at once."""
        peak: int | None = self._ask("peak", ())
        return peak

    def profile(self, median_ms: float) -> tuple[list[dict[str, Any]] | None, str]:
        """The time of each step; see `Opened.profile`."""
        profile: tuple[list[dict[str, Any]] | None, str] = self._ask("profile", (median_ms,))
        return profile

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._output.close()

    def _ask(self, command: str, arguments: tuple[Any, ...]) -> Any:
        self._send(command, arguments)
        return self._answer(_PATIENCE, lambda count, seconds: None)

    def _send(self, command: str, arguments: tuple[Any, ...]) -> None:
        self._asked += 1
        try:
            self._connection.send((self._asked, command, arguments))
        except OSError as error:
            raise self._crashed() from error

    def _answer(self, patience: float, heard: Callable[[int, float], None]) -> Any:
        deadline = time.monotonic() + patience
        while True:
            try:
                if not self._connection.poll(max(deadline - time.monotonic(), 0)):
                    raise WorkerTimedOut(
                        f"{self.subject.label} did not answer for {patience:.0f} s",
                        "The engine may hang on this model.",
                        "Try it alone: python3 FILE.edgec selftest",
                    )
                number, kind, value = self._connection.recv()
            except (EOFError, OSError) as error:
                raise self._crashed() from error
            if number != self._asked:
                continue
            if kind == _PROGRESS:
                heard(*value)
            elif kind == _FAILURE:
                raise value
            else:
                return value

    def _crashed(self) -> WorkerCrashed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(5)
        code = self._child.returncode
        how = f"exit code {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-code).name
        hint = " Linux ends processes so when memory is used up." if code == -signal.SIGKILL else ""
        self._output.seek(0)
        tail = self._output.read().decode(errors="replace")[-_TAIL:].strip()
        return WorkerCrashed(
            f"The process that ran {self.subject.label} died ({how})",
            f"{tail or 'It printed nothing before it died.'}{hint}",
            "The figures of the others are not touched by it. See whether it runs alone: python3 FILE.edgec selftest",
            {"signal_or_code": how},
        )


class _Served:
    """The child's side: one subject, and what it is asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.number = 0
        self._opened: Any = None
        self._query: Any = None

    def open(self, subject: Subject, threads: int | None, batch: int) -> dict[str, Any]:
        from edgec.runtime.bench import first_run
        from edgec.runtime.machine import peak_bytes
        from edgec.runtime.turns import Query

        start_bytes = peak_bytes()
        started = time.perf_counter()
        self._opened = subject.open(threads)
        load_ms = (time.perf_counter() - started) * 1e3
        first_ms = first_run(Query(self._opened.run, self._opened.feeds[:1]))
        self._query = Query(self._opened.run, self._opened.feeds, batch)
        return {
            "document": self._opened.document,
            "notes": list(self._opened.notes),
            "load_ms": load_ms,
            "first_ms": first_ms,
            "start_bytes": start_bytes,
        }

    def turn(self, queries: int) -> Turn:
        turn: Turn = self._query.turn(queries)
        return turn

    def stream(self, seconds: float, queries: int) -> Turn:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        turn: Turn = self._query.stream(
            seconds, queries, lambda count, passed: self._connection.send((self.number, _PROGRESS, (count, passed)))
        )
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return turn

    def peak(self) -> int | None:
        from edgec.runtime.machine import peak_bytes

        return peak_bytes()

    def profile(self, median_ms: float) -> Any:
        return self._opened.profile(self._opened.feeds[0], median_ms)


def _serve(descriptor: int, parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent was gone before the line above
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as connection:
        served = _Served(connection)
        while True:
            try:
                served.number, command, arguments = connection.recv()
            except EOFError:
                break
            try:
                connection.send((served.number, _RESULT, getattr(served, command)(*arguments)))
            except Exception as error:
                connection.send((served.number, _FAILURE, _failure(error)))
    os._exit(0)  # destructors of native libraries are a well-known place to crash


def _failure(error: Exception) -> EdgecError:
    """The error that the parent shall raise for what happened in the child."""
    if isinstance(error, EdgecError):
        return error
    if isinstance(error, OSError | MemoryError) and (known := from_system_error(error)) is not None:
        return known
    return unexpected(error, "".join(traceback.format_exception(error)))


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
