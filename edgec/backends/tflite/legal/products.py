"""Products: explicit padding, groups and borders of transposed convolutions, batches of matrices."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edgec.backends.tflite.legal.ranks import FULLY_CONNECTED
from edgec.backends.tflite.legal.rewriting import Place, replaced
from edgec.backends.tflite.writer.padding import Scheme, scheme, transposed_scheme
from edgec.ir.graph import TensorType
from edgec.ir.kinds import (
    BatchMatMul,
    Binary,
    BroadcastTo,
    Concat,
    Conv2D,
    FullyConnected,
    Pad,
    Padding2D,
    Reduce,
    Reshape,
    Slice,
    Split,
    TransposeConv2D,
    Unary,
)
from edgec.ir.kinds.elementwise import UnaryFunction
from edgec.ir.kinds.windows import NO_PADDING

_BATCHED = 5
"""Dimensions that BATCH_MATMUL takes."""


@replaced.register
def _(kind: Conv2D, place: Place) -> bool:
    x, weights = place.type(0), place.type(1)
    if scheme(x.shape[1:3], weights.shape[1:3], kind.stride, kind.dilation, kind.padding) is not None:
        return False
    return place.finish(replace(kind, padding=NO_PADDING), [padded(place, kind.padding, 0.0), *place.inputs[1:]])


def padded(place: Place, padding: Padding2D, value: float) -> str:
    """The first operand with a border of one value around its image."""
    kind = Pad((0, padding.top, padding.left, 0), (0, padding.bottom, padding.right, 0), value=value)
    return place.add(kind, [place.inputs[0]], "padded")


# --- transposed convolutions: one group, no dilation, and either no border cut off or SAME ---


@replaced.register
def _(kind: TransposeConv2D, place: Place) -> bool:
    if kind.activation != "none":
        return _without_activation(kind, place)
    if kind.groups > 1:
        return _by_group(kind, place)
    if kind.dilation != (1, 1):
        return _dilated(kind, place)
    if kind.output_padding == (0, 0) and _scheme(kind, place) is not None:
        return False
    return _cropped(kind, place)


def _scheme(kind: TransposeConv2D, place: Place) -> Scheme | None:
    return transposed_scheme(kind, place.type(0).shape[1:3], place.type(1).shape[1:3])


def _without_activation(kind: TransposeConv2D, place: Place) -> bool:
    plain = replace(kind, activation="none")
    if implied(kind.activation, place.result):
        return place.finish(plain, place.inputs)
    function: UnaryFunction = "relu6" if kind.activation == "relu6" else "relu"
    return place.finish(Unary(function), [place.add(plain, place.inputs, "linear", place.result)])


def implied(activation: str, of: TensorType) -> bool:
    """Whether saturating to a quantized type does what the activation does."""
    return saturates_at(0.0, 6.0 if activation == "relu6" else math.inf, of)


def saturates_at(low: float, high: float, of: TensorType) -> bool:
    """Whether a type holds no number below `low` (to half a step), and none above `high`."""
    if of.quantization is None:
        return False
    limits = np.iinfo(of.dtype)
    scale, zero_point = of.quantization.scale[0], of.quantization.zero_point[0]
    first, last = (limits.min - zero_point) * scale, (limits.max - zero_point) * scale
    return first > low - scale / 2 and last < high + scale / 2


def _by_group(kind: TransposeConv2D, place: Place) -> bool:
    x, weights = place.type(0), place.type(1)
    inputs, outputs = x.shape[3] // kind.groups, weights.shape[0] // kind.groups
    images = place.add_all(
        Split(3, (inputs,) * kind.groups),
        place.inputs[:1],
        [f"group.{i}/x" for i in range(kind.groups)],
        [x.of_shape((*x.shape[:3], inputs))] * kind.groups,
    )
    results = []
    for i, image in enumerate(images):
        part = slice(i * outputs, (i + 1) * outputs)
        operands = [image]
        for name, what in zip(place.inputs[1:], ("weights", "bias"), strict=False):
            taken = place.changed(name, lambda data, part=part: data[part], f"group.{i}/{what}", part=part)  # type: ignore[misc]
            if taken is None:
                place.refuse(
                    f"its {what} are computed at run time, and it has several groups",
                    "Make them constants of the model, or choose another --backend.",
                )
            operands.append(taken)
        of = place.result.of_shape((*place.result.shape[:3], outputs))
        results.append(place.add(replace(kind, groups=1), operands, f"group.{i}", of))
    return place.finish(Concat(3), results)


def _dilated(kind: TransposeConv2D, place: Place) -> bool:
    rows, columns = kind.dilation

    def spread(data: np.ndarray) -> np.ndarray:
        o, h, w, c = data.shape
        wide = np.zeros((o, (h - 1) * rows + 1, (w - 1) * columns + 1, c), data.dtype)
        wide[:, ::rows, ::columns] = data
        return wide

    weights = place.changed(place.inputs[1], spread, "dilated")
    if weights is None:
        place.refuse(
            "its weights are computed at run time, and it is dilated",
            "Make them constants of the model, or choose another --backend.",
        )
    return place.finish(replace(kind, dilation=(1, 1)), [place.inputs[0], weights, *place.inputs[2:]])


def _cropped(kind: TransposeConv2D, place: Place) -> bool:
    """Compute all that the window reaches, and cut off what is not wanted."""
    x, weights, shape = place.type(0), place.type(1), place.result.shape
    trimmed = _trimmed(kind)
    if trimmed is not None and _scheme(trimmed, place) is not None:
        return place.finish(trimmed, place.inputs)
    begin = (0, kind.padding.top, kind.padding.left, 0)
    image = place.inputs[0]
    missing = [
        begin[1 + i] + shape[1 + i] - ((x.shape[1 + i] - 1) * kind.stride[i] + weights.shape[1 + i]) for i in (0, 1)
    ]
    if any(count > 0 for count in missing):  # rows that no window reaches: those of zeros after the image
        more = [max(-(-count // stride), 0) for count, stride in zip(missing, kind.stride, strict=True)]
        image = place.add(Pad((0,) * 4, (0, more[0], more[1], 0)), [image], "longer")
    x = place.type_of(image)
    rows, columns = ((x.shape[1 + i] - 1) * kind.stride[i] + weights.shape[1 + i] for i in (0, 1))
    whole = place.add(
        TransposeConv2D(stride=kind.stride),
        [image, *place.inputs[1:]],
        "whole",
        place.result.of_shape((shape[0], rows, columns, shape[3])),
    )
    end = tuple(start + size for start, size in zip(begin, shape, strict=True))
    return place.finish(Slice(begin, end, (1, 1, 1, 1)), [whole])


def _trimmed(kind: TransposeConv2D) -> TransposeConv2D | None:
    """The same without output padding, where that only makes less be cut off."""
    bottom, right = (
        cut - more for cut, more in zip((kind.padding.bottom, kind.padding.right), kind.output_padding, strict=True)
    )
    if bottom < 0 or right < 0:
        return None
    padding = Padding2D(kind.padding.top, bottom, kind.padding.left, right)
    return replace(kind, padding=padding, output_padding=(0, 0))


# --- matrices ---


@replaced.register
def _(kind: FullyConnected, place: Place) -> bool:
    x = place.type(0)
    most = 2 if x.dtype == "int16" else FULLY_CONNECTED  # int16 in more dimensions is computed wrongly by 2.14
    if 2 <= x.rank <= most:
        return False
    rows = x.size // x.shape[-1]
    flat = place.reshaped(place.inputs[0], (rows, x.shape[-1]), "rows")
    result = place.add(
        kind, [flat, *place.inputs[1:]], "rows/result", place.result.of_shape((rows, place.result.shape[-1]))
    )
    return place.finish(Reshape(place.result.shape), [result])


@replaced.register
def _(kind: BatchMatMul, place: Place) -> bool:
    a, b = place.type(0), place.type(1)
    if a.dtype != "float32" and a.quantization is None:
        return _integer_matrices(kind, place)
    if max(a.rank, b.rank) <= _BATCHED:
        return False
    batch = place.result.shape[:-2]
    count = int(np.prod(batch, dtype=np.int64))
    operands = []
    for i, name in enumerate(place.inputs):
        of = place.type_of(name)
        whole = (*batch, *of.shape[-2:])
        if of.shape != whole:
            name = place.add(BroadcastTo(whole), [name], f"batch.{i}")
        operands.append(place.reshaped(name, (count, *of.shape[-2:]), f"matrices.{i}"))
    of = place.result.of_shape((count, *place.result.shape[-2:]))
    return place.finish(Reshape(place.result.shape), [place.add(kind, operands, "matrices", of)])


def _integer_matrices(kind: BatchMatMul, place: Place) -> bool:
    """Products of plain integers, exactly: there is no kernel for them, but for their parts."""
    dtype = place.result.dtype
    wide = "int64" if dtype == "int64" else "int32"
    a, b = (place.cast(name, wide, f"wide.{i}") for i, name in enumerate(place.inputs))
    shape_a, shape_b = place.type_of(a).shape, place.type_of(b).shape
    if kind.transpose_a or kind.transpose_b:
        place.refuse("it multiplies transposed matrices of integers")
    rank = max(len(shape_a), len(shape_b))
    left = place.reshaped(a, (*shape_a, 1), "left")
    right = place.reshaped(b, (*shape_b[:-2], 1, *shape_b[-2:]), "right")
    products = place.add(Binary("mul"), [left, right], "products")
    total = place.add(Reduce("sum", (rank - 1,), False), [products], "total")
    return _as(place, total, dtype)


def _as(place: Place, value: str, dtype: str) -> bool:
    from edgec.ir.kinds import Cast

    if place.type_of(value).dtype == dtype:
        return place.finish(Reshape(place.result.shape), [value])
    return place.finish(Cast(dtype), [value])
