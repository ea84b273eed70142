"""What an artifact's file says of itself, checked before it is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.bundle.errors import as_edgec_error
from edgec.digest import digest_file
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import ArtifactFailure
from edgec.shipping.repository import layout

OLDEST_PYTHON = "3.9"
"""What an artifact's runtime asks of a device."""


@dataclass(frozen=True)
class Candidate:
    """A sound artifact. signature: its DSSE envelope's file, where there is one."""

    path: Path
    bytes: int
    sha256: str
    model: str
    target: str
    facts: Mapping[str, Any]
    signature: Path | None


def examine(path: Path) -> Candidate:
    """Read an artifact, and check every byte of it.

    Raises ArtifactError for a damaged one, UsageError where there is none or where its names can't be published.
    """
    try:
        bundle = Bundle.open(path)
        size, digest = path.stat().st_size, digest_file(path)
        bundle.verify()
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
    manifest = bundle.manifest
    layout.check_name(manifest["name"], "a model", "Build it with another --name.")
    layout.check_name(manifest["target"], "a target", "Change the name in the target's description, and build again.")
    signature = path.with_name(f"{path.name}.dsse.json")
    facts = {
        "precision": manifest["precision"],
        "backend": manifest["backend"],
        "model_sha256": manifest.get("model_sha256"),
        "needs": needs(manifest),
    }
    return Candidate(
        path, size, digest, manifest["name"], manifest["target"], facts, signature if signature.exists() else None
    )


def needs(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a device must have: enough to refuse an artifact before it is downloaded."""
    engine = manifest["engine"]
    return {
        "arch": manifest["arch"],
        "cpu_features": list(manifest["cpu_features"]),
        "min_glibc": manifest.get("min_glibc"),
        "memory_bytes": manifest.get("memory_bytes"),
        "format_version": manifest["format_version"],
        "python": OLDEST_PYTHON,
        "engine": {key: engine[key] for key in ("name", "distribution", "minimum_version")},
    }
