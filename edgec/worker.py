"""Run functions in child processes, so that native code may crash, hang or leak without harm.

A child is a fresh interpreter. It gets pickled calls on standard input and answers with pickled frames on a pipe of its
own: events while it works, then one result or one error. What native code prints is kept aside and shown only when
the child dies. A child does not outlive its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import pickle
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from edgec.errors import EdgecError, WorkerCrashed, WorkerTimedOut, from_system_error, unexpected
from edgec.events import Listener, ignore

_HEADER = struct.Struct("<cQ")  # kind of frame (event, result, failure), length of its pickle
_EVENT, _RESULT, _FAILURE = b"e", b"r", b"f"
_TAIL = 4000  # characters of a dead child's output that are worth showing
_PR_SET_PDEATHSIG = 1  # prctl(2)
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # numpy's sums depend on the number of threads
_interrupted = threading.Event()
_running: set[int] = set()  # process groups of living children


def call(
    function: Callable[..., Any],
    kwargs: Mapping[str, Any],
    *,
    listener: Listener = ignore,
    emit_as: str | None = None,
    timeout: float | None = None,
) -> Any:
    """`function(**kwargs)` in a fresh process; returns what it returns.

    function: a module-level function. It, its arguments and its result must pickle.
    emit_as: name of the keyword under which the child gets a function that sends an event to `listener`.
    timeout: seconds of wall time, then the child and its children are killed.

    Raises the EdgecError that the function raised; WorkerCrashed when the child died; WorkerTimedOut; InternalError for
    any other exception, with its traceback in the details.
    """
    with Worker() as worker:
        return worker.call(function, kwargs, listener=listener, emit_as=emit_as, timeout=timeout)


@dataclass(frozen=True)
class _Child:
    """A living child: where its frames come from, and what it prints."""

    process: subprocess.Popen[bytes]
    frames: BinaryIO
    output: BinaryIO


class Worker:
    """A child process that can be called several times, for steps in a row that load the same libraries.

    A call that ends in a crash, a time-out or an interruption ends the process; the next call gets a fresh one.
    """

    def __init__(self) -> None:
        self._child: _Child | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def call(
        self,
        function: Callable[..., Any],
        kwargs: Mapping[str, Any],
        *,
        listener: Listener = ignore,
        emit_as: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """As `call` below a module: what the function returns, or what it raised."""
        if _interrupted.is_set():
            raise KeyboardInterrupt
        job = pickle.dumps((function, dict(kwargs), emit_as))
        child = self._child = self._child or _started()
        try:
            assert child.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                child.process.stdin.write(job)
                child.process.stdin.flush()
            answer = _answer(child.frames, listener, timeout)
            if answer is None:
                code = self._end(keep=child.output)
                if _interrupted.is_set():
                    raise KeyboardInterrupt
                raise _crashed(f"{function.__module__}.{function.__qualname__}", code, child.output)
        except BaseException:
            self._end()
            child.output.close()
            raise
        kind, value = answer
        if kind == _FAILURE:
            raise value
        return value

    def _end(self, keep: BinaryIO | None = None) -> int:
        """End the child, if there is one; its exit code. keep: what is to stay open."""
        child, self._child = self._child, None
        if child is None:
            return 0
        _end(child.process.pid)  # before it is waited for: until then, nobody else can get its number
        code = child.process.wait()
        _running.discard(child.process.pid)
        for stream in (child.process.stdin, child.frames, child.output):
            if stream is not None and stream is not keep:
                with contextlib.suppress(BrokenPipeError):  # of a job that it did not live to read
                    stream.close()
        return code


def _started() -> _Child:
    read_end, write_end = os.pipe()
    output = tempfile.TemporaryFile()  # noqa: SIM115  # closed with its child
    frames = os.fdopen(read_end, "rb")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "edgec.worker", str(write_end), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=[write_end],
        start_new_session=True,  # Ctrl-C reaches the parent only, which then ends the whole group
        env={**os.environ, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    os.close(write_end)
    _running.add(process.pid)
    return _Child(process, frames, output)


@contextlib.contextmanager
def interrupting() -> Iterator[None]:
    """End every child that other threads wait for, and start none, until the block ends: `call` is interrupted too."""
    _interrupted.set()
    try:
        for group in tuple(_running):
            _end(group)
        yield
    finally:
        _interrupted.clear()


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _answer(frames: BinaryIO, listener: Listener, timeout: float | None) -> tuple[bytes, Any] | None:
    """The child's result or failure; None when it ended without either."""
    deadline = None if timeout is None else time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        os.set_blocking(frames.fileno(), False)
        selector.register(frames, selectors.EVENT_READ)
        buffer = bytearray()
        while True:
            while len(buffer) >= _HEADER.size:
                kind, length = _HEADER.unpack_from(buffer)
                if len(buffer) < _HEADER.size + length:
                    break
                value = pickle.loads(bytes(buffer[_HEADER.size : _HEADER.size + length]))
                del buffer[: _HEADER.size + length]
                if kind != _EVENT:
                    return kind, value
                listener(value)
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or not selector.select(left):
                raise WorkerTimedOut(
                    f"A worker process did not finish in {timeout:.0f} s and was ended",
                    "The native library that it called may hang on this model.",
                )
            chunk = os.read(frames.fileno(), 1 << 20)
            if not chunk:
                return None
            buffer += chunk


def _crashed(where: str, code: int, output: Any) -> WorkerCrashed:
    output.seek(0)
    tail = output.read().decode(errors="replace")[-_TAIL:].strip()
    how = f"exit code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-code).name
    hint = " (possibly out of memory)" if code == -signal.SIGKILL else ""
    return WorkerCrashed(
        f"A worker process died with {how}{hint} in {where}",
        tail or "It printed nothing before it died.",
        "Nothing is lost: results of finished stages are kept. Please report it with the model if it happens again.",
        {"signal_or_code": how, "where": where},
    )


def _send(pipe: BinaryIO, kind: bytes, value: Any) -> None:
    payload = pickle.dumps(value)
    pipe.write(_HEADER.pack(kind, len(payload)) + payload)
    pipe.flush()


def _failure(error: BaseException) -> EdgecError:
    """The error that the parent shall raise for what happened in the child."""
    if isinstance(error, EdgecError):
        return error
    if isinstance(error, OSError | MemoryError) and (known := from_system_error(error)) is not None:
        return known
    return unexpected(error, "".join(traceback.format_exception(error)))


def _serve(pipe_fd: int, parent: int) -> None:
    """The child's side: read a job, run it, answer, until there is none left."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent was gone before the line above
        os._exit(1)
    with os.fdopen(pipe_fd, "wb") as pipe:
        jobs = cast("io.BufferedReader", sys.stdin.buffer)
        while jobs.peek(1):
            try:
                function, kwargs, emit_as = pickle.load(jobs)
                if emit_as is not None:
                    kwargs[emit_as] = lambda event: _send(pipe, _EVENT, event)
                result = function(**kwargs)
                _send(pipe, _RESULT, result)
            except Exception as error:
                _send(pipe, _FAILURE, _failure(error))
    os._exit(0)  # destructors of native libraries are a well-known place to crash


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
