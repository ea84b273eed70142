"""Canonicalize: the same computation in fewer nodes, in the one form that quantization and lowering know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgec.stage import Stage, StageContext

Extent = Literal["all", "needed", "none"]


@dataclass(frozen=True)
class CanonicalizeParams:
    """extent: "all" passes; "needed" ones only, on which quantization relies; "none" hands the model on as it is."""

    extent: Extent = "all"


def run(simplified: Path, params: CanonicalizeParams, context: StageContext) -> None:
    """Leave model.onnx (and weights.bin), contract.json and canonicalize.json.

    A pass that changes what the model computes is left out, with a warning; the stage does not fail because of one.
    """
    from edgec.onnx_graph.canonicalization.checked import canonicalize

    canonicalize(simplified, params, context)


STAGE = Stage("canonicalize", ("onnx", "onnxruntime", "numpy"), run)
