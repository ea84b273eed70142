"""What is brought to boards: artifacts, each with the signature that lies beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.bundle.errors import as_edgec_error
from edgec.errors import ArtifactError, UsageError
from edgec.runtime.agent.release import Release
from edgec.runtime.agent.signatures import envelope_beside, parse_envelope
from edgec.runtime.agent.slot_folder import release_of
from edgec.runtime.errors import ArtifactFailure


@dataclass(frozen=True)
class Package:
    """An artifact, and what it is to a device.

    envelope: the file with its signature; None where there is none, and that was said to be right. signers: ids of the
    keys that it says it is signed with; whether it is, the device finds out.
    """

    path: Path
    envelope: Path | None
    signers: frozenset[str]
    release: Release


def read_packages(paths: Sequence[Path], unsigned: bool) -> list[Package]:
    """Artifacts that are whole, each with its signature. unsigned: those that have none are taken, too.

    Raises UsageError, ArtifactError for a file that is damaged or not signed.
    """
    packages = [_read(path, unsigned) for path in paths]
    seen: dict[tuple[str, str], Package] = {}
    for package in packages:
        key = (package.release.model, package.release.target)
        if (other := seen.setdefault(key, package)) is not package:
            raise UsageError(
                f"{other.path} and {package.path} are the same model for the same target",
                f"Both are {key[0]} for {key[1]}, and a board runs one of them.",
                "Name the one that shall run. Artifacts for other targets may stand beside it.",
            )
    return packages


def _read(path: Path, unsigned: bool) -> Package:
    try:
        release = release_of(path, "ssh")
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
    envelope = envelope_beside(path)
    if not envelope.is_file():
        if not unsigned:
            raise ArtifactError(
                f"{path} is not signed",
                f"There is no {envelope.name} beside it, and a board takes what is signed with a key that it trusts.",
                f"Sign it: edgec sign {path} --key KEY. On a bench where anything goes: --unsigned",
            )
        return Package(path, None, frozenset(), release)
    try:
        signers = parse_envelope(envelope.read_bytes()).signatures
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
    return Package(path, envelope, frozenset(signers), release)
