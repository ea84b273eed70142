"""SHA-256 digests: of files, and of values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_bytes(content: bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(content).hexdigest()


def digest_of(document: Any) -> str:
    """SHA-256 of a JSON-able value in its canonical form, in hex."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return digest_bytes(text.encode())
