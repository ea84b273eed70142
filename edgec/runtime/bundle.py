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
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from .errors import BundleError, InputError
from .manifest import fault

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SEAL = b"edgec sha256 "
"""The archive's comment, and so the end of the file: this, and the SHA-256 (hex) of all bytes before it."""

_SEAL_SIZE = len(SEAL) + 64
_MAX_MEMBERS = 4096
_MAX_INFLATED = 256 << 20  # bytes; only text is deflated, so a small file can't claim all of a device's memory
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError, OverflowError)
"""What zipfile raises for an archive that was made to confuse it."""

_FETCH = "Copy or download the file again. If that does not help, build it again."


@dataclass(frozen=True)
class Bundle:
    """An artifact that was checked. `manifest` is its description, as in docs/artifact.md."""

    path: Path
    manifest: Mapping[str, Any]

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
                _check_seal(stream, path)
                with zipfile.ZipFile(stream) as archive:
                    members = _check_members(archive, path)
                    manifest = _manifest(archive, path)
                    _check_listing(members, manifest, path)
        except (*_UNREADABLE, OSError) as error:
            _damaged(path, f"The archive can't be read: {error}.")
        return cls(path, manifest)

    def read(self, name: str) -> bytes:
        """The bytes of one member, checked against the manifest. Raises BundleError, KeyError for an unlisted name."""
        expected = self.manifest["files"][name]
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(name) as member:
                data = member.read(expected["bytes"] + 1)
        except (*_UNREADABLE, OSError, KeyError) as error:
            _damaged(self.path, f"{name} can't be read: {error}.")
        if len(data) != expected["bytes"] or hashlib.sha256(data).hexdigest() != expected["sha256"]:
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


def _check_seal(stream: BinaryIO, path: Path) -> None:
    """Compare the digest at the end of the file with the bytes before it."""
    left = stream.seek(0, io.SEEK_END) - _SEAL_SIZE
    stream.seek(max(left, 0))
    seal = stream.read()
    if left <= 0 or not seal.startswith(SEAL):
        _damaged(path, "It does not end as an artifact does: it is of another kind, or was cut off.")
    digest = hashlib.sha256()
    stream.seek(0)
    while left:
        chunk = stream.read(min(left, 1 << 20))
        if not chunk:
            _damaged(path, "It became shorter while it was read.")
        digest.update(chunk)
        left -= len(chunk)
    if digest.hexdigest().encode() != seal[len(SEAL) :]:
        _damaged(path, "Its SHA-256 is not the one that it was sealed with: at least one byte was changed.")


def _check_members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members by name, none of them anything but a plain file in its place."""
    entries = archive.infolist()
    if len(entries) > _MAX_MEMBERS:
        _damaged(path, f"It holds {len(entries)} files; an artifact never holds more than {_MAX_MEMBERS}.")
    members: dict[str, zipfile.ZipInfo] = {}
    inflated = stored = 0
    for entry in entries:
        name = entry.filename
        if not _NAME.fullmatch(name):
            _damaged(path, f"It holds a file with a name that is not allowed: {name!r}.")
        if name in members:
            _damaged(path, f"It holds {name} twice.")
        if not stat.S_ISREG(entry.external_attr >> 16):
            _damaged(path, f"{name} is not a plain file.")
        if entry.flag_bits & 0x1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            _damaged(path, f"{name} is encrypted, or compressed in a way that artifacts do not use.")
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            inflated += entry.file_size
        elif entry.file_size != entry.compress_size:
            _damaged(path, f"{name} states two different sizes.")
        stored += entry.compress_size
        members[name] = entry
    if inflated > _MAX_INFLATED:
        _damaged(path, f"It claims to inflate to {inflated >> 20} MiB of text; the limit is {_MAX_INFLATED >> 20} MiB.")
    if stored > path.stat().st_size:
        _damaged(path, "Its files overlap.")
    return members


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    """The manifest, its version and its form checked."""
    try:
        manifest: dict[str, Any] = json.loads(archive.read(MANIFEST).decode())
    except KeyError:
        _damaged(path, f"It has no {MANIFEST}.")
    except (ValueError, RecursionError) as error:
        _damaged(path, f"{MANIFEST} is not JSON: {error}.")
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path} has the format version {version!r}",
            f"This runtime reads version {FORMAT_VERSION}.",
            f"Run it by itself (python3 {path.name} ...), or use the edgec that made it, or a newer one.",
        )
    if (wrong := fault(manifest)) is not None:
        _damaged(path, f"{MANIFEST}: {wrong}.")
    return manifest


def _check_listing(members: Mapping[str, zipfile.ZipInfo], manifest: Mapping[str, Any], path: Path) -> None:
    """The manifest lists the members, all of them, and nothing else."""
    files = manifest["files"]
    if extra := sorted(set(members) - set(files) - {MANIFEST}):
        _damaged(path, f"It holds files that its manifest does not list: {', '.join(extra[:5])}.")
    if missing := sorted(set(files) - set(members)):
        _damaged(path, f"Files that its manifest lists are missing: {', '.join(missing[:5])}.")
    for name, listed in files.items():
        if listed["bytes"] != members[name].file_size:
            _damaged(path, f"{name} does not have the size that the manifest says.")
