"""What can go wrong on a device.

Each message has the three parts of every edgec message: what happened; why; what to do. The exit codes are those of
the `edgec` command. These classes stand alone because a device has no edgec, only what an artifact carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ArtifactFailure(Exception):
    """Base of all errors of the runtime. `details`: JSON-able facts for `--json`."""

    exit_code = 70

    def __init__(self, what: str, why: str = "", fix: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.details = dict(details or {})

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.why, self.fix) if part)


class InputError(ArtifactFailure):
    """The command line or the inputs given to `run` do not fit the model."""

    exit_code = 2


class SelftestFailed(ArtifactFailure):
    """The device's outputs are too far from those of the build."""

    exit_code = 6


class CandidateRefused(ArtifactFailure):
    """A candidate did not show that it does as well as the current model."""

    exit_code = 6


class RolledBack(ArtifactFailure):
    """A version failed on this device: what ran before runs on, or again."""

    exit_code = 6


class EngineMissing(ArtifactFailure):
    """The engine that runs the payload is not installed, or can't load it."""

    exit_code = 8


class PackageMissing(ArtifactFailure):
    """A Python package that installing or checking needs is not there."""

    exit_code = 8


class NothingLoads(ArtifactFailure):
    """None of several artifacts can be loaded; the exit code is that of the first one's refusal."""

    exit_code = 8


class Untrusted(ArtifactFailure):
    """A signature, a repository's metadata or a digest does not vouch for the file."""

    exit_code = 9


class BundleError(ArtifactFailure):
    """The file is not an artifact, is damaged, or is not what its manifest says."""

    exit_code = 9


class DeviceUnfit(ArtifactFailure):
    """This machine can't run the artifact: another architecture, or CPU features missing."""

    exit_code = 10


class Unreachable(ArtifactFailure):
    """The network or the server failed, was too slow, or gave less or more than was asked for. Later it may work."""

    exit_code = 69


class StorageFailed(ArtifactFailure):
    """A file can't be written: the storage is full, read-only or broken."""

    exit_code = 73


class Busy(ArtifactFailure):
    """Somebody else is at it: another agent, or an application that holds updates off."""

    exit_code = 75


class StateUnreadable(ArtifactFailure):
    """What the agent keeps on the device was written by a newer agent. The running model stays as it is."""

    exit_code = 10
