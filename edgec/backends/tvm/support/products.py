"""Convolutions and matrix products."""

from __future__ import annotations

import numpy as np

from edgec.backends.tvm.support.question import EIGHT_BITS, Question, objection
from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.reference.dispatch import Tensor
from edgec.ir.reference.grid import centred


@objection.register
def _(kind: kinds.Conv2D, asked: Question) -> str | None:
    return _against_weights(asked) or _against_image(asked)


@objection.register
def _(kind: kinds.TransposeConv2D, asked: Question) -> str | None:
    return _against_weights(asked) or _against_image(asked)


@objection.register
def _(kind: kinds.FullyConnected, asked: Question) -> str | None:
    return _against_weights(asked)


@objection.register
def _(kind: kinds.BatchMatMul, asked: Question) -> str | None:
    b = asked.inputs[1]
    if b.dtype not in EIGHT_BITS:
        return f"its second operand is {b.dtype}"
    empty = not asked.output.size or not asked.inputs[0].size
    return "it is empty" if empty else None


def _against_weights(asked: Question) -> str | None:
    """Weights are packed when the model is compiled, and multiplied as int8."""
    name, of = asked.operation.inputs[1], asked.inputs[1]
    data = asked.graph.constant(name)
    if data is None:
        return "its weights are computed"
    if of.dtype not in EIGHT_BITS:
        return f"its weights are {of.dtype}"
    wide = centred(Tensor(data, of))
    fits = wide.min(initial=0) >= np.iinfo(np.int8).min and wide.max(initial=0) <= np.iinfo(np.int8).max
    return None if fits else "its weights less their zero point need more than 8 bits"


def _against_image(asked: Question) -> str | None:
    """A constant lies without the border that windows see."""
    constant = asked.graph.values[asked.operation.inputs[0]].is_constant
    return "its image is a constant" if constant else None


def is_depthwise(kind: kinds.Conv2D, x: TensorType, weights: TensorType) -> bool:
    """Whether every channel is convolved for itself, once."""
    return kind.groups > 1 and kind.groups == x.shape[3] == weights.shape[0] and weights.shape[3] == 1
