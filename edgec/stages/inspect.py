"""Inspect: what can be told of a model and a device before anything is built.

out: inspect.json, the answers by question
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.backends import backend_tools
from edgec.spec import Interface
from edgec.stage import Stage, StageContext
from edgec.targets import Target


@dataclass(frozen=True)
class InspectParams:
    """interface: what a payload would take and give. came_quantized: the model brings scales of its own."""

    target: Target
    interface: Interface = "auto"
    came_quantized: bool = False


def run(canonical: Path, params: InspectParams, context: StageContext) -> None:
    """Answer every question that applies to the target. Raises UnsupportedOp."""
    from edgec.inspection import questions

    answers = {
        name: question.answer(canonical / "model.onnx", params.target, params.interface, params.came_quantized)
        for name, question in questions(params.target).items()
    }
    context.write_json("inspect.json", answers)


STAGE = Stage("inspect", ("onnx", "numpy", *backend_tools()), run)
