"""The stage that makes the model smaller without changing what it computes, or leaves it as it is and says why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.stage import Stage, StageContext


@dataclass(frozen=True)
class SimplifyParams:
    """enabled: False hands the model on as it is. timeout: seconds after which the simplifier is given up."""

    enabled: bool = True
    timeout: float = 600.0


def run(ingested: Path, params: SimplifyParams, context: StageContext) -> None:
    """Leave model.onnx (and weights.bin), contract.json and simplify.json. Never fails because of the simplifier."""
    from edgec.onnx_graph.simplification import simplify

    simplify(ingested, params, context)


STAGE = Stage("simplify", ("onnx", "onnxruntime", "onnxsim"), run)
