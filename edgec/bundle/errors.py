"""The runtime's errors, as edgec's own: on a device they stand alone, in a build they are told apart by class."""

from __future__ import annotations

from edgec.errors import (
    ArtifactError,
    Busy,
    DeviceError,
    EdgecError,
    InternalError,
    OutputError,
    ParityGateError,
    ToolMissing,
    Unreachable,
    UsageError,
)
from edgec.runtime.errors import ArtifactFailure

_CLASSES: tuple[type[EdgecError], ...] = (
    UsageError,
    ParityGateError,
    ToolMissing,
    ArtifactError,
    DeviceError,
    Unreachable,
    OutputError,
    Busy,
)


def as_edgec_error(failure: ArtifactFailure) -> EdgecError:
    """The same three parts, in the class that has the same exit code."""
    kind = next((kind for kind in _CLASSES if kind.exit_code == failure.exit_code), InternalError)
    return kind(failure.what, failure.why, failure.fix, failure.details)
