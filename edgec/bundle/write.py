"""Writing an artifact: one file, a zip that Python can run, with bytes that depend on its content alone.

The format is described in docs/artifact.md; `edgec.runtime.bundle` reads it.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgec.runtime.bundle import FORMAT_VERSION, MANIFEST, SEAL

INTERPRETER = b"#!/usr/bin/env python3\n"
PACKAGE = "edgec_runtime"

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = stat.S_IFREG | 0o644
_TEXT = (".json", ".py", ".xml")
_LEVEL = 9

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
    """The runtime's modules, by the names that they have in an artifact."""
    folder = Path(__file__).parent.parent / "runtime"
    return {
        f"{PACKAGE}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in sorted(folder.rglob("*.py"))
    }


def bundle_bytes(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """The artifact with these files, the runtime, and the manifest completed by format version and digests.

    Equal arguments give equal bytes, wherever and whenever they are written.
    """
    members = {**files, **runtime_sources(), "__main__.py": _MAIN.encode()}
    complete = {
        **manifest,
        "format_version": FORMAT_VERSION,
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(members.items())
        },
    }
    text = json.dumps(complete, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    members[MANIFEST] = (text + "\n").encode()
    return _sealed(_archive(members))


def _archive(members: Mapping[str, bytes]) -> bytes:
    """A zip behind a line that names its interpreter; room for the seal is its comment."""
    stream = io.BytesIO()
    stream.write(INTERPRETER)
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in sorted(members.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, also where this runs on something else
            entry.external_attr = _MODE << 16
            # Text shrinks to a fifth. Weights hardly do; stored, they load without work, and can't be a zip bomb.
            entry.compress_type = zipfile.ZIP_DEFLATED if name.endswith(_TEXT) else zipfile.ZIP_STORED
            archive.writestr(entry, content, compresslevel=_LEVEL)
        archive.comment = SEAL + bytes(64)
    return stream.getvalue()


def _sealed(archive: bytes) -> bytes:
    """The archive with the digest of everything before its comment in that comment."""
    body = archive[: -len(SEAL) - 64]
    return body + SEAL + hashlib.sha256(body).hexdigest().encode()
