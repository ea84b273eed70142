"""Inspect: what can be told of a model and a device before anything is built.

out: inspect.json, the answer to one question
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
    """question: one of `edgec.inspection.QUESTIONS`, which applies to the target. interface: what a payload would take
    and give. came_quantized: the model brings scales of its own."""

    question: str
    target: Target
    interface: Interface = "auto"
    came_quantized: bool = False


def run(canonical: Path, params: InspectParams, context: StageContext) -> None:
    """Answer the question. Raises UnsupportedOp."""
    from edgec.inspection import questions

    question = questions(params.target)[params.question]
    found = question.answer(canonical / "model.onnx", params.target, params.interface, params.came_quantized)
    context.write_json("inspect.json", found)


STAGE = Stage("inspect", ("onnx", "numpy", *backend_tools()), run)
