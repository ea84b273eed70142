"""Reading an artifact: the .edgec file, checked before anything in it is believed.

The format is described in docs/artifact.md. Everything here needs the standard library only, and nothing is ever
unpacked to disk. What is guaranteed: the file is whole (its last bytes are the SHA-256 of all others), it holds what
its manifest lists and nothing else, and each member is what the manifest says, checked on the very bytes that are
handed out. What is not: who made it. That is a matter of signatures, outside the file.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from .archive import BadArchive, Member, content, members
from .errors import BundleError, InputError
from .manifest import fault

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST = 1 << 20
"""Bytes that a manifest may have. What JSON's parser makes of them may be fifty times as much."""

SEAL = b"edgec sha256 "
"""The archive's comment, and so the end of the file: this, and the SHA-256 (hex) of all bytes before it."""

_SEAL_SIZE = len(SEAL) + 64
_MAX_DIGITS = 40  # of a number in the manifest; Python before 3.11 takes hours for one of a million digits

_FETCH = "Copy or download the file again. If that does not help, build it again."


@dataclass(frozen=True)
class Bundle:
    """An artifact that was checked. `manifest` is its description, as in docs/artifact.md. sha256: of the file."""

    path: Path
    manifest: Mapping[str, Any]
    members: Mapping[str, Member] = field(repr=False)
    sha256: str = ""

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Check the file as a whole and its manifest.

        Raises BundleError when it is damaged or not an artifact, InputError when there is no such file.
        """
        try:
            stream = path.open("rb")
        except OSError as error:
            raise InputError(
                f"{path} can't be read", f"The system says: {error.strerror}.", "Check the path."
            ) from error
        try:
            with stream:
                end, sha256 = _check_seal(stream, path)
                found = members(stream, end)
                manifest = _manifest(stream, found, path)
        except BadArchive as error:
            _damaged(path, str(error))
        except OSError as error:
            raise InputError(
                f"{path} can't be read",
                f"The system says: {error.strerror or error}.",
                "Check the path, and the disk that it is on.",
            ) from error
        _check_listing(found, manifest, path)
        return cls(path, manifest, found, sha256)

    def read(self, name: str) -> bytes:
        """The bytes of one member, checked against the manifest. Raises BundleError, KeyError for an unlisted name."""
        expected = self.manifest["files"][name]
        try:
            with self.path.open("rb") as stream:
                data = content(stream, self.members[name])
        except (BadArchive, OSError) as error:
            _damaged(self.path, f"{name} can't be read: {error}")
        if hashlib.sha256(data).hexdigest() != expected["sha256"]:
            _damaged(self.path, f"{name} is not what the manifest says: its SHA-256 differs.")
        return data

    def payload(self) -> dict[str, bytes]:
        """The files for the engine, by their name below payload/; the one that it opens first."""
        return {name[len("payload/") :]: self.read(name) for name in self.manifest["payload"]}

    def verify(self) -> dict[str, int]:
        """Read and check every member; returns their sizes in bytes."""
        return {name: len(self.read(name)) for name in self.manifest["files"]}


def _damaged(path: Path, why: str) -> NoReturn:
    raise BundleError(f"{path} is damaged, or not an edgec artifact", why, _FETCH)


def _check_seal(stream: BinaryIO, path: Path) -> tuple[int, str]:
    """Compare the digest at the end of the file with the bytes before it; returns where the comment begins, and the
    SHA-256 of the whole file."""
    end = left = stream.seek(0, io.SEEK_END) - _SEAL_SIZE
    stream.seek(max(left, 0))
    seal = stream.read()
    if left <= 0 or not seal.startswith(SEAL):
        _damaged(path, "It does not end as an artifact does: it is of another kind, or was cut off.")
    digest = hashlib.sha256()
    stream.seek(0)
    while left > 0:
        chunk = stream.read(min(left, 1 << 20))
        if not chunk:
            _damaged(path, "It became shorter while it was read.")
        digest.update(chunk)
        left -= len(chunk)
    if digest.hexdigest().encode() != seal[len(SEAL) :]:
        _damaged(path, "Its SHA-256 is not the one that it was sealed with: at least one byte was changed.")
    digest.update(seal)
    return end, digest.hexdigest()


def _manifest(stream: BinaryIO, found: Mapping[str, Member], path: Path) -> dict[str, Any]:
    """The manifest, its version and its form checked."""
    if MANIFEST not in found:
        _damaged(path, f"It has no {MANIFEST}.")
    if (size := found[MANIFEST].size) > MAX_MANIFEST:
        _damaged(path, f"{MANIFEST} has {size} bytes; the limit is {MAX_MANIFEST}.")
    try:
        manifest: dict[str, Any] = json.loads(
            content(stream, found[MANIFEST]).decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_constant=_constant,
        )
    except RecursionError:
        _damaged(path, f"{MANIFEST} is nested too deeply.")
    except ValueError as error:
        _damaged(path, f"{MANIFEST} is not JSON: {error}.")
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:
        raise BundleError(
            f"{path} has the format version {version!r:.40}",
            f"This runtime reads version {FORMAT_VERSION}.",
            f"Run it by itself (python3 {path.name} ...), or use the edgec that made it, or a newer one.",
        )
    if (wrong := fault(manifest)) is not None:
        _damaged(path, f"{MANIFEST}: {wrong}.")
    return manifest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Of a key that is there twice some readers take the first, and others the last."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object has a key twice")
    return made


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _check_listing(found: Mapping[str, Member], manifest: Mapping[str, Any], path: Path) -> None:
    """The manifest lists the members, all of them, and nothing else."""
    files = manifest["files"]
    if extra := sorted(set(found) - set(files) - {MANIFEST}):
        _damaged(path, f"It holds files that its manifest does not list: {', '.join(extra[:5])}.")
    if missing := sorted(set(files) - set(found)):
        _damaged(path, f"Files that its manifest lists are missing: {', '.join(missing[:5])}.")
    for name, listed in files.items():
        if listed["bytes"] != found[name].size:
            _damaged(path, f"{name} does not have the size that the manifest says.")
