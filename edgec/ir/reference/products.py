"""Products.

On quantized tensors, with (zx, sx) of x, (0, sw[o]) of the weights and (zy, sy) of the result:

    sum[o] = sum over the window of (x - zx) * w[o]  +  bias[o]
    steps = float32(sum) * M[o],    M[o] = (sx * sw[o]) / sy    each operation rounded to float32
    y = clamp(round(steps) + zy)    half to even

A float32 result is activation(float32(sum) * (sx * sw[o])).

The sum is exact: 32 bits wide for 8-bit activations, wrapping around, and 64 bits for 16-bit ones; the bias is int32
(int64 is allowed) with the scale sx * sw[o]. Padding is zx. y is clamped to the dtype and to the limits that the
activation has on the result's grid: relu [zy, ...], relu6 [zy, zy + round(6 / sy)]. BatchMatMul is the same with
(za, sa) and (zb, sb).

Float32 tensors are multiplied and summed in float32 in an order of BLAS's choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.kinds import Activation, Kind
from edgec.ir.reference.dispatch import Tensor, compute
from edgec.ir.reference.grid import centred, limits, rounded

_EXACT_FLOAT32 = 2**24  # integers below are exact in float32, and so are sums of them


@compute.register
def _(kind: kinds.Conv2D, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    return [_product(kind, operands, results[0], kind.activation, last=0)]


@compute.register
def _(kind: kinds.TransposeConv2D, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    return [_product(kind, operands, results[0], kind.activation, last=0)]


@compute.register
def _(kind: kinds.FullyConnected, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    return [_product(kind, operands, results[0], kind.activation, last=0)]


@compute.register
def _(kind: kinds.BatchMatMul, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    return [_product(kind, operands, results[0], "none", last=operands[1].type.rank - (2 if kind.transpose_b else 1))]


def _product(
    kind: Kind, operands: Sequence[Tensor], result: TensorType, activation: Activation, last: int
) -> np.ndarray:
    """last: the axis of the second operand that becomes the last one of the result."""
    x, weights = operands[:2]
    bias = operands[2].data if len(operands) > 2 else None
    if x.type.quantization is None:
        y = _summed(kind, x.data, weights.data, result)
        if bias is not None:
            y = y + bias
        return np.asarray(activated(y, activation).astype(result.dtype, copy=False))
    sums = accumulated(kind, x, weights, bias, result)
    if result.quantization is None:
        return activated(sums.astype(np.float32) * multipliers(x.type, weights.type, result, last), activation)
    return requantize(sums, multipliers(x.type, weights.type, result, last), result, activation)


def accumulated(kind: Kind, x: Tensor, weights: Tensor, bias: np.ndarray | None, result: TensorType) -> np.ndarray:
    """The exact sums of products of integers, bias and all: int32 for 8-bit activations, else int64."""
    a, b = centred(x), centred(weights)
    largest = int(np.abs(a).max(initial=0)) * int(np.abs(b).max(initial=0)) * _terms(kind, weights.type)
    exact = np.float32 if largest < _EXACT_FLOAT32 else np.float64  # BLAS multiplies floats only
    sums = _summed(kind, a.astype(exact), b.astype(exact), result).astype(np.int64)
    if bias is not None:
        sums = sums + bias.astype(np.int64)
    return sums if "int16" in (x.type.dtype, weights.type.dtype) else sums.astype(np.int32)


def multipliers(x: TensorType, weights: TensorType, result: TensorType, last: int) -> np.ndarray:
    """M: float32, of shape [] or, where weights have a scale for each output channel, [O].

    sy is 1 for a float32 result.
    """
    assert x.quantization is not None and weights.quantization is not None
    assert weights.quantization.axis in (None, last), weights
    sx = np.float32(x.quantization.scale[0])
    sy = np.float32(result.quantization.scale[0] if result.quantization is not None else 1)
    sw = np.array(weights.quantization.scale, np.float32)
    if weights.quantization.axis is None:
        sw = sw.reshape(())
    return np.asarray((sx * sw) / sy)


def requantize(sums: np.ndarray, factors: np.ndarray, result: TensorType, activation: Activation) -> np.ndarray:
    """Sums [..., O] on the grid of the result, clamped to the activation's limits."""
    steps = sums.astype(np.float32) * factors
    low, high = activation_limits(result, activation)
    return np.asarray(np.clip(rounded(steps, result), low, high).astype(result.dtype))


def activation_limits(result: TensorType, activation: Activation) -> tuple[int, int]:
    """The smallest and the largest integer that an activation leaves of a quantized tensor."""
    low, high = limits(result.dtype)
    if activation == "none":
        return low, high
    assert result.quantization is not None
    scale, zero_point = result.quantization.scale[0], result.quantization.zero_point[0]
    if activation == "relu6":
        high = min(high, zero_point + int(np.rint(np.float32(6) / np.float32(scale))))
    return max(low, zero_point), high


def activated(x: np.ndarray, activation: Activation) -> np.ndarray:
    """An activation of real numbers."""
    if activation == "none":
        return x
    return np.asarray(np.maximum(x, 0) if activation == "relu" else np.clip(x, 0, 6))


def _terms(kind: Kind, weights: TensorType) -> int:
    """How many products at most are added up."""
    if isinstance(kind, kinds.BatchMatMul):
        return weights.shape[-1 if kind.transpose_b else -2]
    return int(np.prod(weights.shape[1:]))


def _summed(kind: Kind, x: np.ndarray, weights: np.ndarray, result: TensorType) -> np.ndarray:
    if isinstance(kind, kinds.Conv2D):
        return _convolved(kind, x, weights, result.shape)
    if isinstance(kind, kinds.TransposeConv2D):
        return _spread(kind, x, weights, result.shape)
    if isinstance(kind, kinds.FullyConnected):
        return np.asarray(x @ weights.T)
    assert isinstance(kind, kinds.BatchMatMul)
    a = x.swapaxes(-1, -2) if kind.transpose_a else x
    b = weights.swapaxes(-1, -2) if kind.transpose_b else weights
    return np.asarray(a @ b)


def _convolved(kind: kinds.Conv2D, x: np.ndarray, weights: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One product for each position of the window, added up."""
    p = kind.padding
    if p.any:
        x = np.pad(x, ((0, 0), (p.top, p.bottom), (p.left, p.right), (0, 0)))
    y = np.zeros(shape, x.dtype)
    (sh, sw), (dh, dw) = kind.stride, kind.dilation
    for i in range(weights.shape[1]):
        for j in range(weights.shape[2]):
            top, left = i * dh, j * dw
            seen = x[:, top : top + (shape[1] - 1) * sh + 1 : sh, left : left + (shape[2] - 1) * sw + 1 : sw]
            y += _pointwise(seen, weights[:, i, j], kind.groups)
    return y


def _spread(kind: kinds.TransposeConv2D, x: np.ndarray, weights: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Every pixel spread through the window, one product for each position of it; padding cut off."""
    (sh, sw), (dh, dw), p = kind.stride, kind.dilation, kind.padding
    n, h, w, _ = x.shape
    full = np.zeros((n, shape[1] + p.top + p.bottom, shape[2] + p.left + p.right, shape[3]), x.dtype)
    for i in range(weights.shape[1]):
        for j in range(weights.shape[2]):
            top, left = i * dh, j * dw
            reached = full[:, top : top + (h - 1) * sh + 1 : sh, left : left + (w - 1) * sw + 1 : sw]
            reached += _pointwise(x, weights[:, i, j], kind.groups)
    return full[:, p.top : p.top + shape[1], p.left : p.left + shape[2]]


def _pointwise(x: np.ndarray, weights: np.ndarray, groups: int) -> np.ndarray:
    """x [N, H, W, C] times weights [O, C / groups]: [N, H, W, O]."""
    if groups == 1:
        return np.asarray(x @ weights.T)
    n, h, w, c = x.shape
    outputs = weights.shape[0] // groups
    if c == groups:
        return np.asarray((x[..., None] * weights.reshape(groups, outputs)).reshape(n, h, w, -1))
    rows = x.reshape(-1, groups, c // groups).swapaxes(0, 1)  # [groups, N * H * W, C / groups]
    made = rows @ weights.reshape(groups, outputs, c // groups).swapaxes(1, 2)
    return np.asarray(made.swapaxes(0, 1).reshape(n, h, w, -1))
