"""One slot: a folder that holds a version, or nothing that counts as one.

model.edgec             the artifact
release.json            what it is
model.edgec.dsse.json   the signature that vouched for it, where one did
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from ..bundle import Bundle
from ..errors import ArtifactFailure, BundleError, InputError, StorageFailed
from . import storage
from .compatibility import needs_of
from .release import Release, checked_model_name
from .state import State

ARTIFACT = "model.edgec"
RELEASE = "release.json"
EVIDENCE = "model.edgec.dsse.json"

_log = logging.getLogger("edgec.device")


@dataclass(frozen=True)
class Slot:
    """One installed version: a folder, and what is in it."""

    folder: Path
    release: Release

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def artifact(self) -> Path:
        return self.folder / ARTIFACT


def slot_in(folder: Path) -> Slot | None:
    """The version in a folder; None where there is none. Where release.json is lost, the artifact tells."""
    artifact = folder / ARTIFACT
    if folder.is_symlink() or not artifact.is_file():
        return None
    if (release := described(folder)) is not None:
        return Slot(folder, release)
    try:
        return Slot(folder, release_of(artifact, "file"))
    except ArtifactFailure:
        return None


def described(folder: Path) -> Release | None:
    """What release.json says; None where it is not there, or damaged."""
    try:
        return Release.from_json(json.loads((folder / RELEASE).read_bytes().decode()))
    except (OSError, ValueError, RecursionError):
        return None


def release_of(artifact: Path, origin: str) -> Release:
    """What an artifact's own manifest says of it, which its seal holds together. Raises BundleError, InputError."""
    manifest = Bundle.open(artifact).manifest
    return Release(
        model=checked_model_name(manifest["name"]),
        version=None,
        sha256=storage.sha256_of(artifact),
        bytes=artifact.stat().st_size,
        target=manifest["target"],
        channel=None,
        origin=origin,
        needs=needs_of(manifest),
    )


def examined(folder: Path, deep: bool, state: State) -> tuple[Slot | None, str]:
    """The version in a folder if it is whole; else None, and what is wrong with it: "" where there is none.

    Where artifact and release.json contradict each other, the artifact's seal tells whether it is whole: then it is
    release.json that is damaged, provided that this very artifact was installed here before.

    Raises StorageFailed when it can't be read.
    """
    artifact = folder / ARTIFACT
    if folder.is_symlink() or not artifact.is_file():
        return None, ""
    release = described(folder)
    fault = fault_of(Slot(folder, release), deep) if release is not None else None
    if release is not None and fault is None:
        return Slot(folder, release), ""
    try:
        sealed = release_of(artifact, "file")
    except InputError as error:
        raise StorageFailed(error.what, error.why, error.fix) from error
    except BundleError as error:
        return None, f"with {release or 'something'} is damaged: {fault or error.why}"
    if release is None or (state.knows(sealed.sha256) and sealed.model == release.model):
        return Slot(folder, sealed), ""
    return None, f"with {release} is damaged: {fault}"


def describe_anew(slot: Slot) -> bool:
    """Write release.json. On storage that takes nothing the next run does it: the version can be used all the same."""
    try:
        storage.replace_file(slot.folder / RELEASE, release_text(slot.release))
    except StorageFailed as failure:
        _log.warning("%s. %s", failure.what, failure.why)
        return False
    return True


def fault_of(slot: Slot, deep: bool) -> str | None:
    """What is wrong with a slot's artifact; None when nothing is. Raises StorageFailed when it can't be read."""
    with storage.storing(slot.artifact, "read"):
        size = slot.artifact.stat().st_size
    if size != slot.release.bytes:
        return f"it has {size} bytes, and should have {slot.release.bytes}"
    if deep and storage.sha256_of(slot.artifact) != slot.release.sha256:
        return "its SHA-256 is another one"
    return None


def release_text(release: Release) -> bytes:
    return (json.dumps(release.to_json(), indent=1, sort_keys=True) + "\n").encode()
