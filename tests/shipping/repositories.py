"""A small signed repository in a fraction of a second, with artifacts made by hand: whole, but no engine runs them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgec.bundle.write import write_bundle
from edgec.runtime.agent.signatures import PREDICATE_TYPE, STATEMENT_TYPE
from edgec.shipping.repository.creation import create
from edgec.shipping.repository.keyring import Keyring
from edgec.shipping.repository.publishing import Published, publish

_PROVENANCE = json.dumps({"_type": STATEMENT_TYPE, "predicateType": PREDICATE_TYPE, "predicate": {}}).encode()
NEEDS = {"arch": "aarch64", "cpu_features": ["asimd"], "min_glibc": "2.17"}


def artifact(
    folder: Path,
    name: str = "net",
    target: str = "rpi4",
    weights: bytes = b"weights",
    file: str = "",
    **manifest: object,
) -> Path:
    """An artifact whose bytes depend on the arguments alone; `manifest` replaces fields of its manifest."""
    tensor = {"name": "x", "dtype": "float32", "shape": [1, 4]}
    described = {
        "name": name,
        "target": target,
        **NEEDS,
        "threads": 1,
        "backend": "tflite",
        "precision": "int8",
        "engine": {"name": "tflite", "distribution": "ai-edge-litert", "minimum_version": "2.1.0", "options": {}},
        "inputs": [tensor],
        "outputs": [{**tensor, "name": "y"}],
        "state": {},
        "preprocess": None,
        "model_sha256": hashlib.sha256(weights).hexdigest(),
        "payload": ["payload/model.tflite"],
        "selftest": {"tolerances": {"y": 0.1}},
        "tools": {},
        **manifest,
    }
    files = {"payload/model.tflite": weights, "golden.npz": b"", "parity.json": b"{}", "provenance.json": _PROVENANCE}
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / (file or f"{name}-{target}.edgec")
    write_bundle(place, described, files)
    return place


@dataclass(frozen=True)
class Repository:
    """A repository and the folder of its keys: `root` is what a device is given to begin with."""

    folder: Path
    keys: Path

    @property
    def root(self) -> bytes:
        return (self.folder / "metadata" / "1.root.json").read_bytes()

    @property
    def ring(self) -> Keyring:
        return Keyring(self.keys)

    def publish(self, *paths: Path, now: datetime | None = None, **options: object) -> list[Published]:
        return publish(self.folder, self.ring, paths, now or datetime.now(UTC), **options)  # type: ignore[arg-type]


def repository(folder: Path, *artifacts: Path, now: datetime | None = None, **options: object) -> Repository:
    """A repository in folder/repo with keys in folder/keys, and these artifacts in its channel stable."""
    now = now or datetime.now(UTC)
    made = create(folder / "repo", folder / "keys", now, **options)  # type: ignore[arg-type]
    result = Repository(made.folder, made.keys)
    if artifacts:
        result.publish(*artifacts, now=now)
    return result
