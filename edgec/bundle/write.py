"""Writing an artifact: one file, a zip that Python can run, with bytes that depend on its content alone.

The format is described in docs/artifact.md; `edgec.runtime.bundle` reads it.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgec.errors import ModelRefused
from edgec.runtime.archive import INTERPRETER
from edgec.runtime.bundle import FORMAT_VERSION, MANIFEST, SEAL

PACKAGE = "edgec_runtime"

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = stat.S_IFREG | 0o644
_TEXT = (".json", ".py", ".xml")
_LEVEL = 9
_CHUNK = 1 << 20

LARGEST = (1 << 32) - (1 << 20)
"""Bytes that an artifact may have: what a zip without extensions can hold."""

_MAIN = """\
import os
import sys

if sys.version_info < (3, 9):
    sys.stderr.write("error: this artifact needs Python 3.9 or later, and this is " + sys.version.split()[0] + "\\n")
    sys.exit(10)

from pathlib import Path

from edgec_runtime.commands import main

sys.exit(main(Path(os.path.dirname(__file__))))
"""


def runtime_sources() -> dict[str, bytes]:
    """The runtime's modules, by the names that they have in an artifact; what installs artifacts is no part of them."""
    folder = Path(__file__).parent.parent / "runtime"
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.py"))
    return {f"{PACKAGE}/{name.as_posix()}": (folder / name).read_bytes() for name in names if name.parts[0] != "agent"}


Content = bytes | Path
"""What a member of an artifact holds: these bytes, or those of this file."""


def write_bundle(place: Path, manifest: Mapping[str, Any], files: Mapping[str, Content]) -> None:
    """Write the artifact with these files, the runtime, and the manifest completed by format version and digests.

    Equal arguments give equal bytes, wherever and whenever they are written. Files are streamed, not read into memory.

    Raises ModelRefused for an artifact that would be larger than LARGEST.
    """
    members: dict[str, Content] = {**files, **runtime_sources(), "__main__.py": _MAIN.encode()}
    if (size := sum(map(_size, members.values()))) > LARGEST:
        raise ModelRefused(
            f"The artifact would have {size / 1e9:.1f} GB",
            "An artifact is one file that Python runs, and such a file ends at 4 GiB.",
            "Build with INT8, which needs a quarter of the space, or split the model.",
        )
    complete = {
        **manifest,
        "format_version": FORMAT_VERSION,
        "files": {name: _described(content) for name, content in sorted(members.items())},
    }
    text = json.dumps(complete, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    members[MANIFEST] = (text + "\n").encode("utf-8", "backslashreplace")
    with place.open("w+b") as stream:
        _write_archive(stream, members)
        _seal(stream)


@contextmanager
def _opened(content: Content) -> Iterator[io.BytesIO | io.BufferedReader]:
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
        yield stream


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _described(content: Content) -> dict[str, Any]:
    with _opened(content) as stream:
        return {"bytes": _size(content), "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


@contextmanager
def _plain_zip() -> Iterator[None]:
    """Plain zip up to the 4 GiB that it can hold.

    Python's zipfile changes to the zip64 dialect at 2 GiB already, and before 3.13 Python can't run such a file.
    """
    usual = zipfile.ZIP64_LIMIT
    vars(zipfile)["ZIP64_LIMIT"] = LARGEST
    try:
        yield
    finally:
        vars(zipfile)["ZIP64_LIMIT"] = usual


def _write_archive(stream: IO[bytes], members: Mapping[str, Content]) -> None:
    """A zip behind a line that names its interpreter; room for the seal is its comment."""
    stream.write(INTERPRETER)
    with _plain_zip(), zipfile.ZipFile(stream, "w", compresslevel=_LEVEL) as archive:
        for name, content in sorted(members.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, also where this runs on something else
            entry.external_attr = _MODE << 16
            # Text shrinks to a fifth. Weights hardly do; stored, they load without work, and can't be a zip bomb.
            entry.compress_type = zipfile.ZIP_DEFLATED if name.endswith(_TEXT) else zipfile.ZIP_STORED
            entry.file_size = _size(content)
            with _opened(content) as source, archive.open(entry, "w") as member:
                shutil.copyfileobj(source, member, _CHUNK)
        archive.comment = SEAL + bytes(64)


def _seal(stream: IO[bytes]) -> None:
    """Put the digest of everything before the archive's comment into that comment."""
    size = stream.seek(0, io.SEEK_END) - len(SEAL) - 64
    stream.seek(0)
    digest = hashlib.sha256()
    while size:
        chunk = stream.read(min(size, _CHUNK))
        digest.update(chunk)
        size -= len(chunk)
    stream.seek(-64, io.SEEK_END)
    stream.write(digest.hexdigest().encode())
