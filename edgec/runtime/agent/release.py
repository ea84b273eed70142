"""A release: one version of a model for one target, and what a device needs to run it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Release:
    """One version of a model.

    version: its number in a repository; None for a file that came without one.
    sha256: of the whole artifact, in hex. bytes: its size.
    channel: of the repository that it came by; None for other ways.
    origin: how it came: "tuf URL", "oci REFERENCE", "ssh", "file".
    needs: what it asks of a device (`compatibility.needs_of`).
    """

    model: str
    version: int | None
    sha256: str
    bytes: int
    target: str
    channel: str | None
    origin: str
    needs: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """ "digits 3 (1f2e3d4c5b6a)"."""
        version = "" if self.version is None else f" {self.version}"
        return f"{self.model}{version} ({self.sha256[:12]})"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> Release:
        """Raises ValueError for what is not a release's document; fields that are not known are passed over."""
        if not isinstance(document, dict):
            raise ValueError("it is not an object")
        kinds: dict[str, Any] = {
            "model": str,
            "version": (int, type(None)),
            "sha256": str,
            "bytes": int,
            "target": str,
            "channel": (str, type(None)),
            "origin": str,
            "needs": dict,
        }
        for key, kind in kinds.items():
            if not isinstance(document.get(key, ...), kind):
                raise ValueError(f"{key!r} is missing, or of the wrong type")
        if not _SHA256.fullmatch(document["sha256"]):
            raise ValueError("'sha256' is not one")
        if not is_model_name(document["model"]):
            raise ValueError("'model' is not a name")
        return cls(**{key: document[key] for key in kinds})


def is_model_name(name: str) -> bool:
    """Whether a model of this name can have a folder: letters, digits, ".", "_" and "-", 100 at most, no dot first."""
    return _NAME.fullmatch(name) is not None


def checked_model_name(name: str) -> str:
    """`name`, where it may be a folder's name. Raises InputError for one that leads elsewhere, or is none."""
    if not is_model_name(name):
        raise InputError(
            f"{name[:120]!r} can't be the name of a model",
            "It becomes a folder's name: letters, digits, '.', '_' and '-', 100 at most, the first a letter or digit.",
            "Build the artifact with such a name.",
        )
    return name
