"""Scales and zero points, and the arithmetic of QuantizeLinear and DequantizeLinear.

    real = (integer - zero_point) * scale

Rounding is half to even, as ONNX prescribes. Zero is always exactly representable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Float32 = np.ndarray
"""An array of dtype float32."""

SMALLEST_SCALE = 2.0**-60
"""Scales never go below this, so that a product of two of them (a bias's scale) is still a normal float32."""

INT32_MAX = 2**31 - 1

BIAS_LIMIT = 2.0**30
"""Largest bias, in steps, that a weight's scale is chosen for; correction may then still double it."""


@dataclass(frozen=True)
class QParams:
    """Scale (a float32 value) and zero point of an int8 tensor, or (bits=16) of an int16 tensor."""

    scale: float
    zero_point: int
    bits: int = 8

    @property
    def low(self) -> float:
        """The smallest real value that can be represented."""
        return (-(1 << (self.bits - 1)) - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        """The largest real value that can be represented."""
        return ((1 << (self.bits - 1)) - 1 - self.zero_point) * self.scale

    @property
    def dtype(self) -> np.dtype[np.signedinteger[Any]]:
        """The type of the integers."""
        return np.dtype(np.int8 if self.bits == 8 else np.int16)


def affine(low: float, high: float) -> QParams:
    """Parameters that spread the 256 steps of int8 over [low, high], widened to contain zero.

    Rounding the zero point may shift the representable interval by up to half a step, so that every value of
    [low, high] is still reproduced within half a step. A range without width gets the smallest scale.
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    scale = float(np.float32(max((high - low) / 255, SMALLEST_SCALE)))
    zero_point = int(np.clip(np.rint(-128 - low / scale), -128, 127))
    return QParams(scale, zero_point)


def symmetric16(low: float, high: float) -> QParams:
    """Parameters that spread the steps of int16 evenly around zero, as engines with 16-bit activations want them."""
    largest = max(abs(float(low)), abs(float(high)))
    return QParams(float(np.float32(max(largest / 32767, SMALLEST_SCALE))), 0, 16)


def quantize(x: Float32, params: QParams) -> np.ndarray:
    """QuantizeLinear: int8 (or int16) of the shape of `x`."""
    steps = np.rint(np.asarray(x, np.float32) / np.float32(params.scale))
    limits = np.iinfo(params.dtype)
    integers: np.ndarray = np.clip(steps + np.float32(params.zero_point), limits.min, limits.max).astype(params.dtype)
    return integers


def dequantize(q: np.ndarray, params: QParams) -> Float32:
    """DequantizeLinear: float32 of the shape of `q`."""
    steps = q.astype(np.int32) - params.zero_point
    return np.asarray(steps.astype(np.float32) * np.float32(params.scale), np.float32)


def on_grid(x: Float32, params: QParams) -> Float32:
    """The nearest representable values."""
    return dequantize(quantize(x, params), params)


@dataclass(frozen=True)
class QuantizedWeights:
    """Symmetric int8 weights, zero point 0.

    values: int8, the shape of the weights.
    scales: float32, one per index along `axis`, or a scalar array where axis is None.
    """

    values: np.ndarray
    scales: Float32
    axis: int | None

    def dequantized(self) -> Float32:
        return np.asarray(self.values.astype(np.float32) * spread(self.scales, self.axis, self.values.ndim), np.float32)


def spread(scales: Float32, axis: int | None, rank: int) -> Float32:
    """Scales shaped so that they broadcast against a tensor of `rank`."""
    return scales if axis is None else scales.reshape([-1 if i == axis else 1 for i in range(rank)])


def weight_scales(weights: Float32, axis: int | None, limit: int = 127) -> Float32:
    """Scales that map the largest magnitude (of each index along `axis`) to `limit` steps: float32[C] or a scalar."""
    others = tuple(i for i in range(weights.ndim) if i != axis) if axis is not None else None
    largest = np.abs(weights).max(axis=others, initial=0.0)
    return np.asarray(np.maximum(largest / np.float32(limit), np.float32(SMALLEST_SCALE)), np.float32)


def quantize_weights(weights: Float32, scales: Float32, axis: int | None, limit: int = 127) -> QuantizedWeights:
    """Round weights to the nearest step of `scales` within [-limit, limit]."""
    steps = np.rint(weights / spread(scales, axis, weights.ndim))
    return QuantizedWeights(np.clip(steps, -limit, limit).astype(np.int8), scales, axis)


def floored_for_bias(scales: Float32, bias: Float32, input_scale: float) -> Float32:
    """Weight scales raised so that every bias fits in int32.

    A bias has the scale input_scale * scales[c]. A channel whose weights are nearly dead would make that so small that
    the integer overflows; a coarser step costs such a channel nothing, since its bias is all that it says.
    """
    floor = np.abs(bias).astype(np.float64) / (float(np.float32(input_scale)) * BIAS_LIMIT)
    if scales.ndim == 0:
        floor = floor.max(initial=0.0)
    return np.asarray(np.maximum(scales, floor), np.float32)


@dataclass(frozen=True)
class QuantizedBias:
    """int32[C] with float32 scales of shape [C] or []; `saturated` counts values that did not fit."""

    values: np.ndarray
    scales: Float32
    saturated: int


def quantize_bias(bias: Float32, input_scale: float, scales: Float32) -> QuantizedBias:
    """int32 bias of scale input_scale * scales, zero point 0."""
    product = (np.float32(input_scale) * scales).astype(np.float32)
    steps = np.rint(bias.astype(np.float64) / product.astype(np.float64))
    saturated = int((np.abs(steps) > INT32_MAX).sum())
    return QuantizedBias(np.clip(steps, -INT32_MAX, INT32_MAX).astype(np.int32), product, saturated)
