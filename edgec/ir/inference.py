"""The types of an operation's results, from its kind and the types of its operands.

Shapes and element types follow from the operands; which real numbers a result's integers stand for does not, and is
the choice of whoever writes the operation. `result_types` raises TypeMismatch, in words, for operands that do not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

import numpy as np

from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.kinds import Kind
from edgec.ir.kinds.elementwise import COMPARISONS
from edgec.ir.kinds.windows import Padding2D

Types = Sequence[TensorType]
Shape = tuple[int, ...]


class TypeMismatch(ValueError):
    """Operands that an operation can't take."""


def result_types(kind: Kind, operands: Types) -> tuple[TensorType, ...]:
    """Shape and dtype of every result. An integer result of a quantized operation has the dtype of its first operand,
    without a quantization."""
    return _results(kind, operands)


def convolved(size: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    """Rows that a window of `kernel` rows gives over `size` rows with `padding` in all."""
    return (size + padding - (kernel - 1) * dilation - 1) // stride + 1


@singledispatch
def _results(kind: Kind, operands: Types) -> tuple[TensorType, ...]:
    raise TypeMismatch(f"there is no rule for {type(kind).__name__}")


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise TypeMismatch(text)


def _made(shape: Sequence[int], like: TensorType, dtype: str | None = None) -> tuple[TensorType, ...]:
    _require(all(size >= 0 for size in shape), f"a dimension of {tuple(shape)} is negative")
    return (TensorType(tuple(int(size) for size in shape), dtype or like.dtype),)


def _broadcast(operands: Types) -> Shape:
    try:
        return tuple(np.broadcast_shapes(*(item.shape for item in operands)))
    except ValueError as error:
        raise TypeMismatch(f"shapes {', '.join(str(item.shape) for item in operands)} do not broadcast") from error


def _window(
    x: TensorType, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: Padding2D
) -> tuple[int, int]:
    _require(x.rank == 4, f"an image has 4 dimensions, not {x.rank}")
    rows = convolved(x.shape[1], kernel[0], stride[0], dilation[0], padding.top + padding.bottom)
    columns = convolved(x.shape[2], kernel[1], stride[1], dilation[1], padding.left + padding.right)
    _require(rows > 0 and columns > 0, f"a window of {tuple(kernel)} does not fit into {x.shape}")
    return rows, columns


def _bias(operands: Types, channels: int) -> None:
    if len(operands) > 2:
        _require(operands[2].shape == (channels,), f"the bias has shape {operands[2].shape}, not {(channels,)}")


# --- products ---


@_results.register
def _(kind: kinds.Conv2D, operands: Types) -> tuple[TensorType, ...]:
    x, weights = operands[:2]
    rows, columns = _window(x, weights.shape[1:3], kind.stride, kind.dilation, kind.padding)
    channels = weights.shape[0]
    _require(weights.rank == 4, f"weights have 4 dimensions, not {weights.rank}")
    _require(x.shape[3] == weights.shape[3] * kind.groups, f"weights {weights.shape} do not fit {x.shape[3]} channels")
    _require(channels % kind.groups == 0, f"{channels} channels do not divide into {kind.groups} groups")
    _bias(operands, channels)
    return _made((x.shape[0], rows, columns, channels), x)


@_results.register
def _(kind: kinds.TransposeConv2D, operands: Types) -> tuple[TensorType, ...]:
    x, weights = operands[:2]
    _require(x.rank == 4 and weights.rank == 4, "an image and its weights have 4 dimensions")
    _require(x.shape[3] == weights.shape[3] * kind.groups, f"weights {weights.shape} do not fit {x.shape[3]} channels")
    pads = (kind.padding.top + kind.padding.bottom, kind.padding.left + kind.padding.right)
    size = [
        (x.shape[1 + i] - 1) * kind.stride[i]
        + (weights.shape[1 + i] - 1) * kind.dilation[i]
        + 1
        + kind.output_padding[i]
        - pads[i]
        for i in (0, 1)
    ]
    _bias(operands, weights.shape[0])
    return _made((x.shape[0], *size, weights.shape[0]), x)


@_results.register
def _(kind: kinds.FullyConnected, operands: Types) -> tuple[TensorType, ...]:
    x, weights = operands[:2]
    _require(weights.rank == 2 and x.rank >= 1, f"weights have 2 dimensions, not {weights.rank}")
    _require(x.shape[-1] == weights.shape[1], f"{x.shape} does not fit weights {weights.shape}")
    _bias(operands, weights.shape[0])
    return _made((*x.shape[:-1], weights.shape[0]), x)


@_results.register
def _(kind: kinds.BatchMatMul, operands: Types) -> tuple[TensorType, ...]:
    a, b = operands
    _require(a.rank >= 2 and b.rank >= 2, "both operands have at least 2 dimensions")
    m, k = a.shape[-2:][::-1] if kind.transpose_a else a.shape[-2:]
    inner, n = b.shape[-2:][::-1] if kind.transpose_b else b.shape[-2:]
    _require(k == inner, f"{a.shape} and {b.shape} do not fit together")
    batch = _broadcast([a.of_shape(a.shape[:-2]), b.of_shape(b.shape[:-2])])
    return _made((*batch, m, n), a)


# --- windows ---


@_results.register
def _(kind: kinds.MaxPool2D, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    return _made((x.shape[0], *_window(x, kind.kernel, kind.stride, kind.dilation, kind.padding), x.shape[-1]), x)


@_results.register
def _(kind: kinds.AveragePool2D, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    return _made((x.shape[0], *_window(x, kind.kernel, kind.stride, (1, 1), kind.padding), x.shape[-1]), x)


@_results.register(kinds.ResizeNearest)
@_results.register(kinds.ResizeBilinear)
def _(kind: kinds.ResizeNearest | kinds.ResizeBilinear, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    _require(x.rank == 4, f"an image has 4 dimensions, not {x.rank}")
    return _made((x.shape[0], *kind.size, x.shape[3]), x)


# --- elementwise ---


@_results.register(kinds.Unary)
@_results.register(kinds.HardSigmoid)
@_results.register(kinds.LeakyRelu)
@_results.register(kinds.Clip)
@_results.register(kinds.Softmax)
@_results.register(kinds.LogSoftmax)
@_results.register(kinds.CumSum)
@_results.register(kinds.Reverse)
def _(kind: Kind, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    return _made(x.shape, x)


@_results.register
def _(kind: kinds.Binary, operands: Types) -> tuple[TensorType, ...]:
    a, b = operands
    quantized = a.quantization is not None and b.quantization is not None
    _require(a.dtype == b.dtype or quantized, f"operands are {a.dtype} and {b.dtype}")
    return _made(_broadcast(operands), a, "bool" if kind.function in COMPARISONS else None)


@_results.register
def _(kind: kinds.PRelu, operands: Types) -> tuple[TensorType, ...]:
    x, _ = operands
    _require(_broadcast(operands) == x.shape, f"a slope of {operands[1].shape} does not spread to {x.shape}")
    return _made(x.shape, x)


@_results.register
def _(kind: kinds.Select, operands: Types) -> tuple[TensorType, ...]:
    condition, a, b = operands
    _require(condition.dtype == "bool" and a.dtype == b.dtype, "the condition is bool, both choices of one dtype")
    return _made(_broadcast(operands), a)


@_results.register
def _(kind: kinds.Cast, operands: Types) -> tuple[TensorType, ...]:
    return _made(operands[0].shape, operands[0], kind.dtype)


# --- movement ---


@_results.register
def _(kind: kinds.Reshape, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    _require(x.size == int(np.prod(kind.shape, dtype=np.int64)), f"{x.shape} has not as many elements as {kind.shape}")
    return _made(kind.shape, x)


@_results.register
def _(kind: kinds.Transpose, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    _require(sorted(kind.permutation) == list(range(x.rank)), f"{kind.permutation} does not permute rank {x.rank}")
    return _made([x.shape[axis] for axis in kind.permutation], x)


@_results.register
def _(kind: kinds.Concat, operands: Types) -> tuple[TensorType, ...]:
    first = operands[0]
    rests = {(*item.shape[: kind.axis], *item.shape[kind.axis + 1 :]) for item in operands}
    _require(0 <= kind.axis < first.rank and len(rests) == 1, f"{[item.shape for item in operands]} do not line up")
    _require(len({item.dtype for item in operands}) == 1, "operands have several dtypes")
    total = sum(item.shape[kind.axis] for item in operands)
    return _made((*first.shape[: kind.axis], total, *first.shape[kind.axis + 1 :]), first)


@_results.register
def _(kind: kinds.Split, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    _require(sum(kind.sizes) == x.shape[kind.axis], f"{kind.sizes} do not add up to {x.shape[kind.axis]}")
    shapes = [(*x.shape[: kind.axis], size, *x.shape[kind.axis + 1 :]) for size in kind.sizes]
    return tuple(_made(shape, x)[0] for shape in shapes)


@_results.register
def _(kind: kinds.Slice, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    _require(len(kind.begin) == len(kind.end) == len(kind.stride) == x.rank, "a range is missing")
    taken = zip(kind.begin, kind.end, kind.stride, strict=True)
    return _made([len(range(begin, end, stride)) for begin, end, stride in taken], x)


@_results.register
def _(kind: kinds.Pad, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    _require(len(kind.before) == len(kind.after) == x.rank, "padding is missing for a dimension")
    return _made([b + size + a for b, size, a in zip(kind.before, x.shape, kind.after, strict=True)], x)


@_results.register
def _(kind: kinds.Gather, operands: Types) -> tuple[TensorType, ...]:
    x, indices = operands
    _require(indices.dtype in ("int32", "int64"), f"indices are {indices.dtype}")
    inner = indices.shape[kind.batch_dims :]
    return _made((*x.shape[: kind.axis], *inner, *x.shape[kind.axis + 1 :]), x)


@_results.register
def _(kind: kinds.GatherND, operands: Types) -> tuple[TensorType, ...]:
    x, indices = operands
    return _made((*indices.shape[:-1], *x.shape[indices.shape[-1] :]), x)


@_results.register
def _(kind: kinds.ScatterND, operands: Types) -> tuple[TensorType, ...]:
    x, indices, updates = operands
    expected = (*indices.shape[:-1], *x.shape[indices.shape[-1] :])
    _require(updates.shape == expected, f"updates have shape {updates.shape}, not {expected}")
    return _made(x.shape, x)


@_results.register
def _(kind: kinds.Tile, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    return _made([size * times for size, times in zip(x.shape, kind.repeats, strict=True)], x)


@_results.register
def _(kind: kinds.BroadcastTo, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    _require(_broadcast([x, x.of_shape(kind.shape)]) == kind.shape, f"{x.shape} does not spread to {kind.shape}")
    return _made(kind.shape, x)


@_results.register
def _(kind: kinds.OneHot, operands: Types) -> tuple[TensorType, ...]:
    indices, on, _ = operands
    return _made((*indices.shape[: kind.axis], kind.depth, *indices.shape[kind.axis :]), on)


@_results.register
def _(kind: kinds.DepthToSpace, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    n, h, w, c = x.shape
    _require(c % kind.block**2 == 0, f"{c} channels do not divide by {kind.block}^2")
    return _made((n, h * kind.block, w * kind.block, c // kind.block**2), x)


@_results.register
def _(kind: kinds.SpaceToDepth, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    n, h, w, c = x.shape
    _require(h % kind.block == 0 and w % kind.block == 0, f"{h}x{w} does not divide by {kind.block}")
    return _made((n, h // kind.block, w // kind.block, c * kind.block**2), x)


# --- normalization and reductions ---


@_results.register
def _(kind: kinds.LayerNorm, operands: Types) -> tuple[TensorType, ...]:
    x = operands[0]
    _require(all(item.shape == x.shape[x.rank - kind.dimensions :] for item in operands[1:]), "gain does not fit")
    return _made(x.shape, x)


@_results.register
def _(kind: kinds.Reduce, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    if kind.keepdims:
        return _made([1 if axis in kind.axes else size for axis, size in enumerate(x.shape)], x)
    return _made([size for axis, size in enumerate(x.shape) if axis not in kind.axes], x)


@_results.register
def _(kind: kinds.ArgReduce, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    return _made((*x.shape[: kind.axis], *x.shape[kind.axis + 1 :]), x, kind.dtype)


@_results.register
def _(kind: kinds.TopK, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    shape = (*x.shape[:-1], kind.k)
    return (*_made(shape, x), *_made(shape, x, "int32"))


# --- quantization ---


@_results.register
def _(kind: kinds.Quantize, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    _require(x.dtype == "float32" or x.quantization is not None, f"{x.dtype} without a quantization")
    return _made(x.shape, x, "int8")


@_results.register
def _(kind: kinds.Dequantize, operands: Types) -> tuple[TensorType, ...]:
    (x,) = operands
    _require(x.quantization is not None, "the operand has no quantization")
    return _made(x.shape, x, "float32")
