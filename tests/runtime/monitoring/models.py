"""Models without an artifact: a function is their engine, and a profile is made of any runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgec.contract import Contract
from edgec.contract import TensorSpec as Spec
from edgec.parity.calibration_profile import Profiler
from edgec.runtime.model import Model, specs

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Engine:
    """Computes outputs by a function."""

    function: Callable[[Arrays], dict[str, np.ndarray]]
    version: str = "1.0"

    def run(self, feeds: Arrays) -> dict[str, np.ndarray]:
        return self.function(feeds)

    def profile(self, feeds: Arrays, runs: int) -> None:
        return None


@dataclass(frozen=True)
class Files:
    """Stands for an artifact that is open."""

    files: dict[str, bytes] = field(default_factory=dict)
    path: Path = Path("model.edgec")
    sha256: str = "ab" * 32

    def read(self, name: str) -> bytes:
        return self.files[name]


def totals(feeds: Arrays) -> dict[str, np.ndarray]:
    """Sum and mean of squares of each quarter of the only input."""
    (value,) = feeds.values()
    parts = value.reshape(4, -1).astype(np.float64)
    return {"scores": np.concatenate([parts.mean(axis=1), parts.std(axis=1)])[None].astype(np.float32)}


def model_of(
    runs: Iterable[np.ndarray] = (),
    *,
    shape: tuple[int, ...] = (1, 3, 16, 16),
    dtype: str = "float32",
    function: Callable[[Arrays], dict[str, np.ndarray]] = totals,
    name: str = "net",
    state: Mapping[str, str] | None = None,
) -> Model:
    """A model of one input "image" and one output "scores" [1, 8]; its profile is of these runs."""
    contract = Contract((Spec("image", dtype, shape),), (Spec("scores", "float32", (1, 8)),))
    profiler = Profiler(contract, {})
    for value in runs:
        profiler.add([({"image": value}, function({"image": value}))])
    profile = json.dumps(profiler.document("payload")).encode()
    manifest: dict[str, Any] = {
        "name": name,
        "target": "host",
        "precision": "int8",
        "backend": "openvino",
        "engine": {"name": "openvino"},
        **contract.to_json(),
        "state": dict(state or {}),
        "files": {"profile.json": {}},
    }
    inputs, outputs = specs(manifest["inputs"]), specs(manifest["outputs"])
    bundle: Any = Files({"profile.json": profile})
    return Model(manifest, Engine(function), inputs, outputs, dict(state or {}), bundle)


def pictures(rng: np.random.Generator, count: int, size: int = 16) -> list[np.ndarray]:
    """Pictures as photos are: large areas, neighbours alike, each with a brightness, a contrast and a tint of its own.

    Red is usually the strongest channel.
    """
    made = []
    for _ in range(count):
        coarse = rng.normal(0, 1, (1, 3, size // 4, size // 4))
        field_ = coarse.repeat(4, axis=2).repeat(4, axis=3) + rng.normal(0, 0.1, (1, 3, size, size))
        tint = np.array([0.4, 0.0, -0.4]) + rng.normal(0, 0.15, 3)
        value = rng.normal(0, 0.4) + np.exp(rng.normal(-0.7, 0.25)) * field_ + tint[None, :, None, None]
        made.append(value.astype(np.float32))
    return made
