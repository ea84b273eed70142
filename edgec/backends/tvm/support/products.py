"""Convolutions and matrix products."""

from __future__ import annotations

from edgec.backends.tvm.support.question import Question, objection
from edgec.ir import kinds
from edgec.ir.graph import TensorType


@objection.register
def _(kind: kinds.Conv2D, asked: Question) -> str | None:
    x, weights = asked.inputs[:2]
    if kind.groups > 1 and not is_depthwise(kind, x, weights):
        return "there is no kernel for groups of several channels"
    return None if weights.dtype == "int8" else f"its weights are {weights.dtype}"


@objection.register
def _(kind: kinds.FullyConnected, asked: Question) -> str | None:
    if not asked.graph.values[asked.operation.inputs[1]].is_constant:
        return "its weights are computed"
    return None if asked.inputs[1].dtype == "int8" else f"its weights are {asked.inputs[1].dtype}"


def is_depthwise(kind: kinds.Conv2D, x: TensorType, weights: TensorType) -> bool:
    """Whether every channel is convolved for itself, once."""
    return kind.groups > 1 and kind.groups == x.shape[3] == weights.shape[0] and weights.shape[3] == 1
