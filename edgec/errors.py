"""Every error of the product.

A message has three parts: what happened; why, in the user's terms (the node, the file, the line); what to do
about it. Library code raises these; only the command line prints them. The class decides the exit code.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from typing import Any


class EdgecError(Exception):
    """Base of all errors that a user may see.

    what: one sentence, what happened.
    why: the cause, naming the file, node, tensor or line.
    fix: what to do next; a flag to type where there is one.
    details: JSON-able facts for `--json` and the report.
    """

    exit_code = 70
    result: Any = None
    """The BuildResult that this error ended, where there is one."""

    def __init__(self, what: str, why: str = "", fix: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.details = dict(details or {})

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.why, self.fix) if part)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.why, self.fix, self.details)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": type(self).__name__,
            "exit_code": self.exit_code,
            "what": self.what,
            "why": self.why,
            "fix": self.fix,
            "details": self.details,
        }


class UsageError(EdgecError):
    """The command or the specification can't be understood: unknown target, malformed TOML, missing option."""

    exit_code = 2


class ModelRefused(EdgecError):
    """The model can't be read, is not valid, is hostile, or leaves dimensions open."""

    exit_code = 3


class UnsupportedOp(EdgecError):
    """The model holds an op or a domain that no stage or backend can take."""

    exit_code = 4


class CalibrationDataError(EdgecError):
    """The calibration data is missing, unreadable, constant, not finite, or does not fit the model."""

    exit_code = 5


class ParityGateError(EdgecError):
    """The result is not close enough to the original model."""

    exit_code = 6


class LimitNotMet(EdgecError):
    """What was built is right, but slower or larger than it may be."""

    exit_code = 7


class ToolMissing(EdgecError):
    """A backend or a tool that the build needs is not installed."""

    exit_code = 8


class ArtifactError(EdgecError):
    """An artifact is corrupt, truncated, or not what its manifest says."""

    exit_code = 9


class DeviceError(EdgecError):
    """The device that should run the artifact can't."""

    exit_code = 10


class ConnectionLost(DeviceError):
    """A device that could be reached can't be any more."""


class Unreachable(EdgecError):
    """A server or a network does not answer, or too slowly."""

    exit_code = 69


class InternalError(EdgecError):
    """A bug in edgec."""

    exit_code = 70


class WorkerCrashed(EdgecError):
    """Native code ended its process: a segmentation fault, an abort, or the out-of-memory killer."""

    exit_code = 70


class WorkerTimedOut(EdgecError):
    """Native code did not finish in its time."""

    exit_code = 70


class OutOfMemory(EdgecError):
    """The machine, or a limit that was set for edgec, does not have the memory that the model needs."""

    exit_code = 71


class OutputError(EdgecError):
    """A file can't be written: full disk, read-only folder, no permission."""

    exit_code = 73


class Busy(EdgecError):
    """Somebody else is at work on the same thing; later it will be free."""

    exit_code = 75


def unexpected(error: BaseException, traceback: str) -> InternalError:
    """The bug that an exception which nobody foresaw must be."""
    return InternalError(
        f"edgec failed unexpectedly: {type(error).__name__}: {error}",
        "This is a bug in edgec, or a library did what edgec does not know.",
        "Please report it with the command, the model if you may share it, and the output of `edgec doctor`.",
        {"traceback": traceback},
    )


INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 + SIGINT, as shells have it."""

_NOT_ALLOWED = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextlib.contextmanager
def as_edgec_errors() -> Iterator[None]:
    """Say in the user's terms what the operating system refused."""
    try:
        yield
    except (OSError, MemoryError) as error:
        if (known := from_system_error(error)) is None:
            raise
        raise known from error


def from_system_error(error: OSError | MemoryError) -> EdgecError | None:
    """The user's view of an operating system's refusal, or None where it is not the environment's fault."""
    if isinstance(error, MemoryError):
        return OutOfMemory(
            "There is not enough memory",
            f"An allocation failed{f': {error}' if str(error) else '.'}",
            "Use a machine with more memory, a smaller --shape, or --precision float.",
        )
    path = error.filename or "a file of edgec's store or of the output folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"The disk is full: {path} can't be written",
            f"The system says: {os.strerror(error.errno)}.",
            "Free some space (`edgec cache gc` empties edgec's own store), or choose another disk with -o "
            "and the environment variable EDGEC_CACHE_DIR.",
        )
    if error.errno in _NOT_ALLOWED:
        return OutputError(
            f"{path} can't be written or read",
            f"The system says: {os.strerror(error.errno)}.",
            "Choose a folder that you own with -o, or a store that you own with EDGEC_CACHE_DIR.",
        )
    return None
