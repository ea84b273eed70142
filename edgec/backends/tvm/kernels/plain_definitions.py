"""What kinds compute, by elements or by lines: as `edgec.ir.reference` says it, in the words of `plain.py`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from edgec.backends.tvm.emitter import (
    Expr,
    Register,
    divided,
    exactly,
    floor_division,
    integer,
    intrinsic,
    maximum,
    minimum,
    select,
    truncated_division,
)
from edgec.backends.tvm.kernels.float_expression import in_memory
from edgec.backends.tvm.kernels.plain import Definition, Index, element, line
from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.kinds import Kind
from edgec.ir.reference.grid import limits

LINES = (kinds.TopK,)
"""Kinds whose lines along the last axis are defined, rather than their elements."""


def is_defined(kind: Kind, operands: Sequence[TensorType]) -> bool:
    """Whether there is a definition of a kind, for operands of these types."""
    if isinstance(kind, kinds.Binary) and (kind.function != "pow" or operands[0].dtype == "float32"):
        return False
    if isinstance(kind, kinds.Quantize | kinds.Dequantize):
        return all(of.quantization is None or of.quantization.axis is None for of in operands)
    return type(kind) in element.registry or type(kind) in line.registry


# --- elementwise ---


@element.register
def _(kind: kinds.Binary, at: Definition, index: Index) -> Expr:
    """The power of integers, for exponents that are not negative: those of an odd one's bits, multiplied."""
    assert kind.function == "pow", kind
    dtype = at.results[0].dtype
    one = at.number(1, dtype)
    power = at.emitter.register(1, dtype, one)
    base = at.emitter.register(1, dtype, at.spread(0, index))
    exponent = at.spread(1, index)
    of = at.operands[1].dtype
    with at.emitter.loop(0, 8 * np.dtype(of).itemsize - 1) as bit:
        odd = (exponent >> at.math.as_type(bit, of)) & at.number(1, of)
        seen = at.bind(base.get(), dtype)
        power.set(select(odd == at.number(1, of), power.get() * seen, power.get()))
        base.set(seen * seen)
    return power.get()


@element.register
def _(kind: kinds.PRelu, at: Definition, index: Index) -> Expr:
    x = at.read(0, index)
    return select(x < at.number(0, at.operands[0].dtype), x * at.spread(1, index), x)


@element.register
def _(kind: kinds.Select, at: Definition, index: Index) -> Expr:
    return select(at.spread(0, index) != at.number(0, "bool"), at.spread(1, index), at.spread(2, index))


@element.register
def _(kind: kinds.OneHot, at: Definition, index: Index) -> Expr:
    of = at.operands[0].dtype
    position = at.read(0, [*index[: kind.axis], *index[kind.axis + 1 :]])
    hit = position == at.math.as_type(index[kind.axis], of)
    on, off = (at.read(number, [integer(0)] * len(at.operands[number].shape)) for number in (1, 2))
    return select(hit, on, off)


# --- between integers and real numbers, where those are of 16 or 32 bits ---


@element.register
def _(kind: kinds.Dequantize, at: Definition, index: Index) -> Expr:
    return _real(at, index)


@element.register
def _(kind: kinds.Quantize, at: Definition, index: Index) -> Expr:
    of = at.results[0]
    assert of.grid is not None and of.grid.axis is None, of
    x = _real(at, index) if at.operands[0].grid is not None else at.read(0, index)
    steps = at.bind(x / at.number(float(np.float32(of.grid.scale[0])), "float32"), "float32")
    # In float64, where every integer of 32 bits is exact.
    wide = at.bind(at.math.as_type(at.math.intrinsic("llvm.rint", steps), "float64"), "float64")
    low, high = limits(of.dtype)
    moved = wide + at.number(float(of.grid.zero_point[0]), "float64")
    limited = minimum(maximum(moved, at.number(float(low), "float64")), at.number(float(high), "float64"))
    return at.math.as_type(at.bind(limited, "float64"), "int32")


def _real(at: Definition, index: Index) -> Expr:
    """float32(x - zero point) * scale."""
    grid = at.operands[0].grid
    assert grid is not None and grid.axis is None, grid
    wide = at.math.as_type(at.read(0, index), "int64") - at.number(grid.zero_point[0], "int64")
    return at.math.as_type(wide, "float32") * at.number(float(np.float32(grid.scale[0])), "float32")


# --- reductions ---


@element.register
def _(kind: kinds.Reduce, at: Definition, index: Index) -> Expr:
    """Sums, means and products: of floats in float64, of integers in int64, wrapping around."""
    x, axes = at.operands[0], kind.axes
    real = x.dtype == "float32"
    wide = "float64" if real else "int64"
    if kind.function in ("max", "min", "any", "all"):
        wide = in_memory(x.dtype)
    total = at.emitter.register(1, wide, at.number(_neutral(kind, x.dtype), wide))
    left = iter(index)
    place: list[Expr | None] = []
    for axis in range(len(x.shape)):
        kept = next(left) if axis not in axes or kind.keepdims else None
        place.append(None if axis in axes else kept)
    with ExitStack() as loops:
        whole = [
            loops.enter_context(at.emitter.loop(0, size)) if own is None else own
            for own, size in zip(place, x.shape, strict=True)
        ]
        seen = at.bind(at.math.as_type(at.read(0, whole), wide), wide)
        total.set(_combined(kind, at, at.bind(total.get(), wide), seen, real))
    made = at.bind(total.get(), wide)
    if kind.function != "mean":
        return made
    count = int(np.prod([x.shape[axis] for axis in axes], dtype=np.int64))
    if real:
        return made / at.number(count, wide)
    return truncated_division(made, at.number(max(count, 1), wide))


def _neutral(kind: kinds.Reduce, dtype: str) -> float:
    """What changes nothing."""
    if kind.function in ("sum", "mean", "any"):
        return 0
    if kind.function in ("product", "all"):
        return 1
    if dtype == "float32":
        return -np.inf if kind.function == "max" else np.inf
    low, high = np.iinfo(in_memory(dtype)).min, np.iinfo(in_memory(dtype)).max
    return int(low if kind.function == "max" else high)


def _combined(kind: kinds.Reduce, at: Definition, a: Expr, b: Expr, real: bool) -> Expr:
    if kind.function in ("sum", "mean"):
        return a + b
    if kind.function == "product":
        return a * b
    if kind.function in ("max", "any"):
        return at.math.larger(a, b) if real else maximum(a, b)
    return at.math.smaller(a, b) if real else minimum(a, b)


@line.register
def _(kind: kinds.TopK, at: Definition, index: Index, axis: int) -> None:
    """The best so far, in order, in the result itself: a new one that is before the last is put in its place.

    As in numpy NaN is behind all numbers, and of equal elements the first comes first.
    """
    e, x = at.emitter, at.operands[0]
    size, dtype = x.shape[axis], x.dtype

    def of(position: Expr | int) -> Index:
        return [*index[:axis], integer(position), *index[axis + 1 :]]

    with e.loop(0, kind.k) as rank:  # an index behind all others: a place that is not taken
        at.write(of(rank), at.number(0, dtype))
        at.write(of(rank), integer(size), 1)
    value, place = e.register(1, dtype, at.number(0, dtype)), e.register(1, "int32", integer(0))
    with e.loop(0, size) as i:
        value.set(at.read(0, of(i)))
        place.set(i)
        better = _before(at, dtype, size, (value.get(), place.get()), _ranked(at, of(kind.k - 1)))
        with e.when(better), e.loop(0, kind.k) as rank:
            carried = at.bind(value.get(), dtype), at.bind(place.get(), "int32")
            there = _ranked(at, of(rank))
            first = at.bind(_before(at, dtype, size, carried, there), "bool")
            at.write(of(rank), select(first, carried[0], there[0]))
            at.write(of(rank), select(first, carried[1], there[1]), 1)
            value.set(select(first, there[0], carried[0]))
            place.set(select(first, there[1], carried[1]))


def _ranked(at: Definition, index: Index) -> tuple[Expr, Expr]:
    return at.result(index), at.result(index, 1)


def _before(at: Definition, dtype: str, size: int, a: Sequence[Expr], b: Sequence[Expr]) -> Expr:
    """Whether (value, position) a comes before b. Positions of `size` are no elements and come last."""
    larger, same = a[0] > b[0], a[0] == b[0]
    if dtype == "float32":
        no_a, no_b = at.math.is_nan(a[0]), at.math.is_nan(b[0])
        larger = larger | (no_b & ~no_a)
        same = same | (no_a & no_b)
    none = b[1] == integer(size)
    some = a[1] != integer(size)
    return some & (none | larger | (same & (a[1] < b[1])))


# --- windows ---


@element.register
def _(kind: kinds.MaxPool2D, at: Definition, index: Index) -> Expr:
    dtype = at.operands[0].dtype
    lowest = at.number(-np.inf if dtype == "float32" else np.iinfo(dtype).min, dtype)
    best = at.emitter.register(1, dtype, lowest)
    image, row, column, channel = index
    with at.emitter.loop(0, kind.kernel[0]) as i, at.emitter.loop(0, kind.kernel[1]) as j:
        y = row * kind.stride[0] + i * kind.dilation[0] - kind.padding.top
        x = column * kind.stride[1] + j * kind.dilation[1] - kind.padding.left
        seen = at.bind(at.inside(0, [image, y, x, channel], lowest), dtype)
        best.set(maximum(best.get(), seen))
    return best.get()


@element.register
def _(kind: kinds.ResizeBilinear, at: Definition, index: Index) -> Expr:
    """Rows first, then columns, each product and each sum rounded to float32."""
    shape = at.operands[0].shape
    image, row, column, channel = index
    above, below, down = _between(at, kind, row, shape[1], kind.size[0])
    left, right, across = _between(at, kind, column, shape[2], kind.size[1])

    def seen(y: Expr, x: Expr) -> Expr:
        return at.bind(at.math.as_type(at.read(0, [image, y, x, channel]), "float32"), "float32")

    before, behind = (_mixed(at, seen(above, x), seen(below, x), down) for x in (left, right))
    return _mixed(at, before, behind, across)


def _mixed(at: Definition, a: Expr, b: Expr, share: Expr) -> Expr:
    rest = at.number(1.0, "float32") - share
    return at.bind(exactly("float32", a * rest) + exactly("float32", b * share), "float32")


def _between(
    at: Definition, kind: kinds.ResizeBilinear, place: Expr, size: int, wanted: int
) -> tuple[Expr, Expr, Expr]:
    """The two sources of a row, and the share of the second, see `edgec.ir.reference.windows.between`."""
    corners = kind.align_corners and wanted > 1
    scale = np.float32(size - 1) / np.float32(wanted - 1) if corners else np.float32(size) / np.float32(wanted)
    half = at.number(0.5 if kind.half_pixel_centers else 0.0, "float32")
    position = (at.math.as_type(place, "float32") + half) * at.number(float(scale), "float32")
    position = at.bind(exactly("float32", position) - half, "float32")
    position = minimum(maximum(position, at.number(0.0, "float32")), at.number(float(size - 1), "float32"))
    position = at.bind(position, "float32")
    floor = at.bind(intrinsic("float32", "llvm.floor", position), "float32")
    first = at.bind(at.math.as_type(floor, "int32"), "int32")
    second = at.bind(minimum(first + 1, integer(size - 1)), "int32")
    return first, second, at.bind(position - floor, "float32")


# --- products: of integers that stand for themselves, and with weights that are computed ---


@element.register
def _(kind: kinds.Conv2D, at: Definition, index: Index) -> Expr:
    image, row, column, channel = index
    _, high, wide, depth = at.operands[1].shape
    first = at.bind(divided(channel, at.results[0].shape[3] // kind.groups) * depth, "int32")
    total = _started(at, channel)
    with ExitStack() as loops:
        i, j, c = (loops.enter_context(at.emitter.loop(0, size)) for size in (high, wide, depth))
        y = row * kind.stride[0] + i * kind.dilation[0] - kind.padding.top
        x = column * kind.stride[1] + j * kind.dilation[1] - kind.padding.left
        _add_product(at, total, [image, y, x, first + c], [channel, i, j, c])
    return _activated(at, kind.activation, total.get())


@element.register
def _(kind: kinds.TransposeConv2D, at: Definition, index: Index) -> Expr:
    """A row reaches those that its position, less the window's, is a multiple of the stride of."""
    image, row, column, channel = index
    _, high, wide, depth = at.operands[1].shape
    first = at.bind(divided(channel, at.results[0].shape[3] // kind.groups) * depth, "int32")
    total = _started(at, channel)
    with ExitStack() as loops:
        i, j = (loops.enter_context(at.emitter.loop(0, size)) for size in (high, wide))
        y = at.bind(row + kind.padding.top - i * kind.dilation[0], "int32")
        x = at.bind(column + kind.padding.left - j * kind.dilation[1], "int32")
        of_y, of_x = (floor_division(place, integer(step)) for place, step in zip((y, x), kind.stride, strict=True))
        of_y, of_x = at.bind(of_y, "int32"), at.bind(of_x, "int32")
        loops.enter_context(at.emitter.when((of_y * kind.stride[0] == y) & (of_x * kind.stride[1] == x)))
        c = loops.enter_context(at.emitter.loop(0, depth))
        _add_product(at, total, [image, of_y, of_x, first + c], [channel, i, j, c])
    return _activated(at, kind.activation, total.get())


def _started(at: Definition, channel: Expr) -> Register:
    """A sum that begins with the bias."""
    dtype = at.results[0].dtype
    return at.emitter.register(1, dtype, at.read(2, [channel]) if len(at.operands) > 2 else at.number(0, dtype))


def _add_product(at: Definition, total: Register, x: Index, weight: Index) -> None:
    """Add x * weight; 0 where x is outside."""
    seen = at.inside(0, x, at.number(0, at.operands[0].dtype))
    total.set(total.get() + seen * at.read(1, weight))


@element.register
def _(kind: kinds.FullyConnected, at: Definition, index: Index) -> Expr:
    total = _started(at, index[-1])
    with at.emitter.loop(0, at.operands[0].shape[-1]) as k:
        _add_product(at, total, [*index[:-1], k], [index[-1], k])
    return _activated(at, kind.activation, total.get())


@element.register
def _(kind: kinds.BatchMatMul, at: Definition, index: Index) -> Expr:
    leading, row, column = index[:-2], index[-2], index[-1]
    dtype = at.results[0].dtype
    total = at.emitter.register(1, dtype, at.number(0, dtype))
    with at.emitter.loop(0, at.operands[0].shape[-2 if kind.transpose_a else -1]) as k:
        a = at.spread(0, [*leading, *((k, row) if kind.transpose_a else (row, k))])
        b = at.spread(1, [*leading, *((column, k) if kind.transpose_b else (k, column))])
        total.set(total.get() + a * b)
    return at.bind(total.get(), dtype)


def _activated(at: Definition, activation: kinds.Activation, value: Expr) -> Expr:
    """NaN comes through, see `float_math`."""
    dtype = at.results[0].dtype
    if activation == "none":
        return value
    value = at.bind(maximum(at.number(0, dtype), value), dtype)
    return value if activation == "relu" else minimum(at.number(6, dtype), value)
