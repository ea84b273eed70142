"""Reductions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.reference.dispatch import Tensor, compute
from edgec.ir.reference.grid import centred, ratio, real, requantized, rounded, stored


@compute.register
def _(kind: kinds.Reduce, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """Of integers

    max, min: the largest or smallest integer, requantized where the result is on another grid
    sum: round(float32(sum(x - zx)) * (sx / sy)) + zy, each operation in float32, the sum exact
    mean: round(float32(sum(x - zx)) / float32(count) * (sx / sy)) + zy, likewise
    product: of the real numbers, in float64, rounded to float32
    """
    (x,), of = operands, results[0]
    axes, keep = kind.axes, kind.keepdims
    if kind.function in ("any", "all"):
        reduce = np.any if kind.function == "any" else np.all
        return [np.asarray(reduce(x.data, axis=axes, keepdims=keep))]
    if kind.function in ("max", "min"):
        found = np.asarray((np.max if kind.function == "max" else np.min)(x.data, axis=axes, keepdims=keep))
        return [requantized(Tensor(found, x.type.of_shape(found.shape)), of)]
    if kind.function == "product":
        wide = real(x).astype(np.float64 if of.dtype == "float32" or x.type.quantization else np.int64)
        made = np.asarray(np.prod(wide, axis=axes, keepdims=keep))
        return [stored(made.astype(np.float32 if wide.dtype == np.float64 else of.dtype), of)]
    count = int(np.prod([x.type.shape[axis] for axis in axes], dtype=np.int64))
    if x.type.quantization is not None:
        steps: np.ndarray = np.asarray(centred(x).sum(axis=axes, keepdims=keep)).astype(np.float32)
        if kind.function == "mean":
            steps = steps / np.float32(count)
        return [rounded(steps * ratio(x.type, of), of)]
    wide = x.data.astype(np.float64 if x.data.dtype.kind == "f" else np.int64)
    total = np.asarray(wide.sum(axis=axes, keepdims=keep))
    if kind.function == "mean":
        with np.errstate(invalid="ignore"):
            total = total / count if wide.dtype == np.float64 else np.asarray(np.trunc(total / count))
    return [total.astype(of.dtype)]


@compute.register
def _(kind: kinds.ArgReduce, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """Of integers as they are: real numbers are in the order of their integers."""
    find = np.argmax if kind.function == "max" else np.argmin
    return [np.asarray(find(operands[0].data, axis=kind.axis)).astype(kind.dtype)]


@compute.register
def _(kind: kinds.TopK, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """Of equal elements the first comes first."""
    (x,) = operands
    rising = -x.data if x.data.dtype.kind == "f" else ~x.data.astype(np.int64)
    order = np.argsort(rising, axis=-1, kind="stable")[..., : kind.k]
    found = np.take_along_axis(x.data, order, -1)
    return [requantized(Tensor(found, x.type.of_shape(found.shape)), results[0]), order.astype(np.int32)]


@compute.register
def _(kind: kinds.CumSum, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """Of integers: round(float32(sum(x - zx)) * (sx / sy)) + zy, the sum exact."""
    (x,), axis = operands, kind.axis
    if x.type.quantization is not None:
        wide = centred(x)
    else:
        wide = x.data.astype(np.float64 if x.data.dtype.kind == "f" else np.int64)
    if kind.reverse:
        wide = np.flip(wide, axis)
    sums = np.cumsum(wide, axis)
    if kind.exclusive:
        sums = sums - wide
    if kind.reverse:
        sums = np.flip(sums, axis)
    if x.type.quantization is not None:
        return [rounded(sums.astype(np.float32) * ratio(x.type, results[0]), results[0])]
    return [np.ascontiguousarray(sums).astype(results[0].dtype)]
