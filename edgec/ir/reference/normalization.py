"""Softmax, LogSoftmax and LayerNorm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.reference.dispatch import Tensor, compute
from edgec.ir.reference.grid import limits, real, stored

SOFTMAX_BITS = 24
"""Fraction bits of an exponential in Softmax of integers: as many as float32 holds of a number up to 1."""


@compute.register
def _(kind: kinds.Softmax, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """Of integers: e = table[max - x], float32(e) / float32(sum of e), on the grid of the result. The sum is exact."""
    (x,) = operands
    if x.type.quantization is None or x.data.size == 0:
        return [stored(np.exp(_log_softmax(real(x))), results[0])]
    wide = x.data.astype(np.int64)
    powers = exponentials(x.type)[wide.max(-1, keepdims=True) - wide]
    total = powers.sum(-1, keepdims=True)
    return [stored(powers.astype(np.float32) / total.astype(np.float32), results[0])]


def exponentials(of: TensorType) -> np.ndarray:
    """round(2^24 * exp(-d * scale)) for every difference d = 0, 1, ... of two integers of a type: int64."""
    assert of.quantization is not None
    low, high = limits(of.dtype)
    steps = np.arange(high - low + 1, dtype=np.float64) * np.float64(np.float32(of.quantization.scale[0]))
    return np.asarray(np.rint(np.exp(-steps) * 2**SOFTMAX_BITS).astype(np.int64))


@compute.register
def _(kind: kinds.LogSoftmax, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """Of integers: of their real numbers, in float64, rounded to float32."""
    return [stored(_log_softmax(real(operands[0])), results[0])]


def _log_softmax(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):  # a row of -inf, all masked out, gives NaN, as in ONNX Runtime
        wide = wide - wide.max(-1, keepdims=True, initial=-np.inf)
        return np.asarray(wide - np.log(np.exp(wide).sum(-1, keepdims=True))).astype(np.float32)


@compute.register
def _(kind: kinds.LayerNorm, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    x = operands[0].data.astype(np.float64)
    axes = tuple(range(x.ndim - kind.dimensions, x.ndim))
    centre = x - x.mean(axes, keepdims=True)
    made = centre / np.sqrt(np.square(centre).mean(axes, keepdims=True) + kind.epsilon) * operands[1].data
    if len(operands) > 2:
        made = made + operands[2].data
    return [made.astype(np.float32)]
