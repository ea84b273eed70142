"""The model's I/O contract: what goes in, what comes out.

Written by ingest, carried through every stage, shipped in the artifact. Layout is never changed behind the user's
back: the artifact takes and gives what the original model takes and gives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. `dtype` is numpy's name ("float32", "int64", "bool"); `shape` is static."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Contract:
    """All inputs and outputs of a model, in the model's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def input(self, name: str) -> TensorSpec:
        """The input called `name`; KeyError when there is none."""
        return next((spec for spec in self.inputs if spec.name == name), None) or _missing(name)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, folder: Path) -> Contract:
        """What a stage left in its folder as contract.json."""
        return cls.from_json(json.loads((folder / "contract.json").read_text(encoding="utf-8")))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Contract:
        return cls(
            inputs=tuple(_spec(item) for item in document["inputs"]),
            outputs=tuple(_spec(item) for item in document["outputs"]),
        )


def _spec(item: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(item["name"], item["dtype"], tuple(item["shape"]))


def _missing(name: str) -> TensorSpec:
    raise KeyError(name)
