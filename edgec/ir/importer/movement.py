"""Importing: operators whose results are elements of their operands, and those that make constants of shapes.

Shapes are static, so Shape, Size, Range and their like are constants, and so are the axes and ranges computed from
them. An index that is computed at run time may be negative in ONNX: it is brought into bounds by floor_mod.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from edgec.ir.importer.elementwise import cast
from edgec.ir.importer.handlers import imports
from edgec.ir.importer.node import NodeImport
from edgec.ir.kinds import (
    ArgReduce,
    Binary,
    BroadcastTo,
    Concat,
    Gather,
    GatherND,
    OneHot,
    Pad,
    Reshape,
    ScatterND,
    Select,
    Slice,
    Split,
    Tile,
    TopK,
    Transpose,
)
from edgec.ir.kinds.elementwise import BinaryFunction

Shape = tuple[int, ...]

_DATA_DEPENDENT = "how large its result is depends on values at run time"
_STATIC_ONLY = "Export the model without it; where its operand is a constant, simplify the model first."


def axis_of(item: NodeImport, value: int, rank: int) -> int:
    """A non-negative axis of a tensor of that rank. Refuses one that is out of bounds."""
    if not -rank <= value < rank:
        item.refuse(f"it has no axis {value}: its operand has rank {rank}", "Export the model again.")
    return value % rank


def axes_of(item: NodeImport, position: int, rank: int) -> Shape | None:
    """The node's axes, from the operand at `position` or its attribute "axes", non-negative and in the order given;
    None where it has none."""
    if item.has(position):
        given: Sequence[int] | None = [int(axis) for axis in item.required_constant(position, "axes").reshape(-1)]
    else:
        given = item.attribute("axes")
    return None if given is None else tuple(axis_of(item, int(axis), rank) for axis in given)


# --- shapes ---


@imports("Reshape")
def reshape(item: NodeImport) -> None:
    x = item.operand(0)
    wanted = item.constant(1)
    if wanted is None:
        declared = item.model.shape(item.outputs[0])
        if declared is None:
            item.required_constant(1, "new shape")
        _reshape(item, x, declared or ())
        return
    size = item.type(x).shape
    shape = [int(dimension) for dimension in wanted.reshape(-1)]
    if not item.attribute("allowzero", 0):
        shape = [size[index] if dimension == 0 else dimension for index, dimension in enumerate(shape)]
    if -1 in shape:
        known = int(np.prod([dimension for dimension in shape if dimension != -1], dtype=np.int64))
        shape[shape.index(-1)] = item.type(x).size // known if known else 0
    _reshape(item, x, tuple(shape))


def _reshape(item: NodeImport, x: str, shape: Shape, output: str | None = None) -> str:
    if output is None:
        return item.add_arranged(Reshape(shape), x, lambda data: data.reshape(shape))
    return item.add(Reshape(shape), [x], output)


@imports("Flatten")
def flatten(item: NodeImport) -> None:
    shape = item.type(item.operand(0)).shape
    axis = item.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    _reshape(item, item.operand(0), (_size(shape[:axis]), _size(shape[axis:])))


@imports("Squeeze")
def squeeze(item: NodeImport) -> None:
    shape = item.type(item.operand(0)).shape
    axes = axes_of(item, 1, len(shape))
    if axes is None:
        axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    for axis in axes:
        if shape[axis] != 1:
            item.refuse(f"it takes away axis {axis}, which has {shape[axis]} elements", "Export the model again.")
    _reshape(item, item.operand(0), tuple(size for axis, size in enumerate(shape) if axis not in axes))


@imports("Unsqueeze")
def unsqueeze(item: NodeImport) -> None:
    shape = list(item.type(item.operand(0)).shape)
    count = len(item.required_constant(1, "axes").reshape(-1)) if item.has(1) else len(item.attribute("axes", ()))
    for axis in sorted(axes_of(item, 1, len(shape) + count) or ()):
        shape.insert(axis, 1)
    _reshape(item, item.operand(0), tuple(shape))


@imports("Transpose")
def transpose(item: NodeImport) -> None:
    rank = item.type(item.operand(0)).rank
    order = tuple(item.attribute("perm", range(rank)[::-1]))
    item.add_arranged(Transpose(order), item.operand(0), lambda data: data.transpose(order))


@imports("Expand")
def expand(item: NodeImport) -> None:
    """To the shape that both shapes broadcast to: an operand larger than what is asked for stays as it is."""
    shape = item.type(item.operand(0)).shape
    wanted = tuple(int(size) for size in item.required_constant(1, "new shape").reshape(-1))
    _spread(item, item.operand(0), tuple(np.broadcast_shapes(shape, wanted)))


def _spread(item: NodeImport, x: str, shape: Shape, output: str | None = None) -> str:
    if item.type(x).shape == shape and output is not None:
        return x
    if item.type(x).shape == shape:
        item.rename(x)
        return item.outputs[0]
    return item.add(BroadcastTo(shape), [x], output)


@imports("Tile")
def tile(item: NodeImport) -> None:
    repeats = tuple(int(times) for times in item.required_constant(1, "repeats").reshape(-1))
    if all(times == 1 for times in repeats):
        item.rename(item.operand(0))
    else:
        item.add(Tile(repeats), [item.operand(0)])


@imports("Shape")
def shape_of(item: NodeImport) -> None:
    shape = item.type(item.operand(0)).shape
    _constant(item, np.array(shape[slice(item.attribute("start", 0), item.attribute("end"))], np.int64))


@imports("Size")
def size_of(item: NodeImport) -> None:
    _constant(item, np.array(item.type(item.operand(0)).size, np.int64))


# --- constants ---


@imports("Constant")
def constant(item: NodeImport) -> None:
    (attribute,) = item.node.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        _constant(item, numpy_helper.to_array(value))
    elif attribute.name in ("value_float", "value_floats"):
        _constant(item, np.array(value, np.float32))
    elif attribute.name in ("value_int", "value_ints"):
        _constant(item, np.array(value, np.int64))
    else:
        what = "a sparse tensor" if attribute.name == "sparse_value" else "text"
        item.refuse(f"its value is {what}", "Export the model with dense constants of numbers.")


@imports("ConstantOfShape")
def constant_of_shape(item: NodeImport) -> None:
    shape = tuple(int(size) for size in item.required_constant(0, "shape").reshape(-1))
    tensor = item.attribute("value")
    value = numpy_helper.to_array(tensor).reshape(()) if tensor is not None else np.array(0, np.float32)
    _spread(item, item.add_constant("value", value), shape)


@imports("Range")
def range_of(item: NodeImport) -> None:
    """How many elements there are depends on all three operands."""
    names = ("start", "limit", "delta")
    start, limit, delta = (item.required_constant(index, name).reshape(()) for index, name in enumerate(names))
    count = max(int(np.ceil((limit.astype(np.float64) - start) / delta)), 0)
    _constant(item, (start + np.arange(count) * delta).astype(start.dtype))


@imports("NonZero")
def non_zero(item: NodeImport) -> None:
    value = item.constant(0)
    if value is None:
        item.refuse(_DATA_DEPENDENT, _STATIC_ONLY)
    _constant(item, np.array(np.nonzero(value), np.int64).reshape(value.ndim, -1))


@imports("EyeLike")
def eye_like(item: NodeImport) -> None:
    of = item.type(item.operand(0))
    to = item.attribute("dtype")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(to) if to is not None else np.dtype(of.dtype)
    rows, columns = of.shape
    _constant(item, np.eye(rows, columns, item.attribute("k", 0), dtype))


def _constant(item: NodeImport, data: np.ndarray) -> None:
    """The node's result is a constant."""
    item.write_constant(item.outputs[0], data)


# --- pieces ---


@imports("Concat")
def concat(item: NodeImport) -> None:
    operands = [name for name in item.node.input if item.type(name).size or item.constant_named(name) is None]
    if not operands:
        _constant(item, np.concatenate([item.constant_named(name) for name in item.node.input], item.attribute("axis")))
    elif len(operands) == 1:
        item.rename(operands[0])
    else:
        item.add(Concat(axis_of(item, item.attribute("axis"), item.type(operands[0]).rank)), operands)


@imports("Split")
def split(item: NodeImport) -> None:
    x = item.operand(0)
    shape = item.type(x).shape
    axis = axis_of(item, item.attribute("axis", 0), len(shape))
    if item.has(1):
        sizes = [int(size) for size in item.required_constant(1, "sizes").reshape(-1)]
    else:
        parts = item.attribute("num_outputs") or len(item.outputs)
        largest = -(-shape[axis] // parts)
        sizes = [min(largest, shape[axis] - largest * index) for index in range(parts)]
    if len(sizes) == 1:
        item.rename(x)
        return
    names = [name or item.between(f"part{index}") for index, name in enumerate(item.outputs)]
    for name, size in zip(names, sizes, strict=True):
        if size == 0:
            item.write_constant(name, np.zeros((*shape[:axis], 0, *shape[axis + 1 :]), item.type(x).dtype))
    parts = [(name, size) for name, size in zip(names, sizes, strict=True) if size]
    if len(parts) == 1:
        item.rename(x, parts[0][0])
    else:
        item.add(Split(axis, tuple(size for _, size in parts)), [x], [name for name, _ in parts])


@imports("Slice")
def slice_(item: NodeImport) -> None:
    x = item.operand(0)
    shape = item.type(x).shape
    starts, ends = ([int(i) for i in item.required_constant(p, w).reshape(-1)] for p, w in ((1, "starts"), (2, "ends")))
    axes = axes_of(item, 3, len(shape)) if item.has(3) else tuple(range(len(starts)))
    steps = [int(step) for step in item.required_constant(4, "steps").reshape(-1)] if item.has(4) else [1] * len(starts)
    ranges = [(0, size, 1) for size in shape]
    for axis, start, end, step in zip(axes or (), starts, ends, steps, strict=True):
        ranges[axis] = slice(start, end, step).indices(shape[axis])
    _slice(item, x, ranges)


def _slice(item: NodeImport, x: str, ranges: Sequence[tuple[int, int, int]], output: str | None = None) -> str:
    if all(taken == (0, size, 1) for taken, size in zip(ranges, item.type(x).shape, strict=True)):
        if output is not None:
            return x
        item.rename(x)
        return item.outputs[0]
    begin, end, stride = (tuple(taken[index] for taken in ranges) for index in range(3))
    return item.add(Slice(begin, end, stride), [x], output)


@imports("Pad")
def pad(item: NodeImport) -> None:
    """Padding below zero cuts off, and does so first. wrap, and mirrors wider than the tensor, are gathered."""
    x = item.operand(0)
    shape = item.type(x).shape
    pads = [int(size) for size in item.required_constant(1, "pads").reshape(-1)]
    axes = axes_of(item, 3, len(shape)) if item.has(3) else tuple(range(len(shape)))
    before, after = [0] * len(shape), [0] * len(shape)
    for index, axis in enumerate(axes or ()):
        before[axis], after[axis] = pads[index], pads[index + len(pads) // 2]
    mode = item.attribute("mode", "constant")
    value = item.required_constant(2, "value") if item.has(2) and mode == "constant" else np.zeros(1)
    kept = [(max(-b, 0), size - max(-a, 0), 1) for b, size, a in zip(before, shape, after, strict=True)]
    before, after = [max(size, 0) for size in before], [max(size, 0) for size in after]
    if any(end <= begin for begin, end, _ in kept):
        item.refuse("its negative pads leave nothing of its operand", "Take it out of the model.")
    if not any(before) and not any(after):
        _slice(item, x, kept)
        return
    x = _slice(item, x, kept, item.between("cut"))
    shape = item.type(x).shape
    mirrored = mode == "reflect" and any(max(pair) >= n for *pair, n in zip(before, after, shape, strict=True))
    if mode == "wrap" or mirrored:
        _gather_padding(item, x, list(zip(before, after, strict=True)), mode)
    elif mode in ("constant", "reflect", "edge"):
        item.add(Pad(tuple(before), tuple(after), mode, float(value.reshape(-1)[0])), [x])
    else:
        item.refuse(f"its mode is {mode!r}", "Use one of constant, reflect, edge and wrap.")


def _gather_padding(item: NodeImport, x: str, widths: Sequence[tuple[int, int]], mode: str) -> None:
    padded = [axis for axis, width in enumerate(widths) if any(width)]
    for axis in padded:
        source = np.pad(np.arange(item.type(x).shape[axis]), widths[axis], mode)  # type: ignore[call-overload]
        indices = item.add_constant("indices", source.astype(np.int32))
        x = item.add(Gather(axis), [x, indices], None if axis == padded[-1] else item.between("padded"))


# --- indices ---


@imports("Gather")
def gather(item: NodeImport) -> None:
    x = item.operand(0)
    axis = axis_of(item, item.attribute("axis", 0), item.type(x).rank)
    item.add(Gather(axis), [x, _in_bounds(item, item.operand(1), item.type(x).shape[axis])])


def _in_bounds(item: NodeImport, indices: str, size: int | Sequence[int]) -> str:
    """Indices that are not negative. size: of the dimension; of every dimension that the last axis names."""
    data = item.constant_named(indices)
    sizes = np.array(size, item.type(indices).dtype)
    if data is not None:
        if (data >= 0).all():
            return indices
        return item.add_constant("indices", np.where(data < 0, data + sizes, data))
    maker = item.builder.producer(indices)
    if maker is not None and isinstance(maker.kind, (ArgReduce, TopK)):
        return indices
    return item.add(Binary("floor_mod"), [indices, item.add_constant("size", sizes)], item.between("indices"))


def _grid(shape: Shape, axis: int, dtype: str) -> np.ndarray:
    """The position along `axis` of every element of a tensor, with one more dimension at the end."""
    position = np.arange(shape[axis], dtype=dtype).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.ascontiguousarray(np.broadcast_to(position, shape))[..., None]


def _positions(item: NodeImport, indices: str, axis: int, size: int) -> str:
    """What GatherElements and ScatterElements mean: the element's own position, but `indices` along `axis`."""
    of = item.type(indices)
    indices = _in_bounds(item, indices, size)
    data = item.constant_named(indices)
    parts = [_grid(of.shape, i, of.dtype) for i in range(of.rank)]
    if data is not None:
        parts[axis] = data[..., None]
        return item.add_constant("positions", np.concatenate(parts, -1))
    unsqueezed = _reshape(item, indices, (*of.shape, 1), item.between("column"))
    names = [unsqueezed if i == axis else item.add_constant("grid", part) for i, part in enumerate(parts)]
    if len(names) == 1:
        return unsqueezed
    return item.add(Concat(of.rank), names, item.between("positions"))


@imports("GatherElements")
def gather_elements(item: NodeImport) -> None:
    x, indices = item.operand(0), item.operand(1)
    axis = axis_of(item, item.attribute("axis", 0), item.type(x).rank)
    item.add(GatherND(), [x, _positions(item, indices, axis, item.type(x).shape[axis])])


@imports("GatherND")
def gather_nd(item: NodeImport) -> None:
    """The batch dimensions become columns of the indices."""
    x, indices = item.operand(0), item.operand(1)
    batch, shape, of = item.attribute("batch_dims", 0), item.type(x).shape, item.type(indices)
    indices = _in_bounds(item, indices, shape[batch : batch + of.shape[-1]])
    if batch:
        columns = [_grid(of.shape[:-1], axis, of.dtype) for axis in range(batch)]
        data = item.constant_named(indices)
        if data is not None:
            indices = item.add_constant("indices", np.concatenate([*columns, data], -1))
        else:
            grid = item.add_constant("grid", np.concatenate(columns, -1))
            indices = item.add(Concat(of.rank - 1), [grid, indices], item.between("positions"))
    item.add(GatherND(), [x, indices])


@imports("ScatterND")
def scatter_nd(item: NodeImport) -> None:
    x, indices, updates = item.operand(0), item.operand(1), item.operand(2)
    depth = item.type(indices).shape[-1]
    _scatter(item, x, _in_bounds(item, indices, item.type(x).shape[:depth]), updates)


@imports("ScatterElements", "Scatter")
def scatter_elements(item: NodeImport) -> None:
    x, indices, updates = item.operand(0), item.operand(1), item.operand(2)
    axis = axis_of(item, item.attribute("axis", 0), item.type(x).rank)
    _scatter(item, x, _positions(item, indices, axis, item.type(x).shape[axis]), updates)


_REDUCTIONS: dict[str, BinaryFunction] = {"add": "add", "mul": "mul", "max": "maximum", "min": "minimum"}


def _scatter(item: NodeImport, x: str, positions: str, updates: str) -> None:
    """With a reduction: what is there is gathered, and put back. That needs positions that differ."""
    reduction = item.attribute("reduction", "none")
    if reduction != "none":
        data = item.constant_named(positions)
        if data is None or len(np.unique(data.reshape(-1, data.shape[-1]), axis=0)) < data[..., 0].size:
            why = "are computed at run time" if data is None else "are not all different"
            item.refuse(
                f"it reduces ({reduction}) into positions that {why}",
                "Export the model without `reduction`, or choose another --backend.",
            )
        there = item.add(GatherND(), [x, positions], item.between("there"))
        updates = item.add(Binary(_REDUCTIONS[reduction]), [there, updates], item.between("updates"))
    item.add(ScatterND(), [x, positions, updates])


@imports("OneHot")
def one_hot(item: NodeImport) -> None:
    """Negative indices count from the end; what is out of bounds even then is off everywhere."""
    depth = int(item.required_constant(1, "depth").reshape(-1)[0])
    of = item.type(item.operand(0))
    axis = axis_of(item, item.attribute("axis", -1), of.rank + 1)
    indices = item.operand(0)
    if of.dtype not in ("int32", "int64"):
        indices = cast(item, indices, "int64")
    dtype = item.type(indices).dtype
    behind = item.add(Binary("add"), [indices, item.add_constant("depth", np.array(depth, dtype))], item.between("end"))
    below = item.add(Binary("less"), [indices, item.add_constant("zero", np.array(0, dtype))], item.between("negative"))
    indices = item.add(Select(), [below, behind, indices], item.between("indices"))
    values = item.constant(2)
    if values is not None:
        on, off = item.add_constant("on", values[1]), item.add_constant("off", values[0])
        item.add(OneHot(depth, axis), [indices, on, off])
        return
    off, on = (
        _slice(item, item.operand(2), [(index, index + 1, 1)], item.between(name))
        for index, name in enumerate(("off", "on"))
    )
    column = _reshape(item, indices, (*of.shape[:axis], 1, *of.shape[axis:]), item.between("column"))
    places = np.arange(depth, dtype=dtype).reshape([-1 if i == axis else 1 for i in range(of.rank + 1)])
    hit = item.add(Binary("equal"), [column, item.add_constant("places", places)], item.between("hit"))
    item.add(Select(), [hit, on, off])


@imports("Trilu")
def trilu(item: NodeImport) -> None:
    x = item.operand(0)
    of = item.type(x)
    k = int(item.required_constant(1, "diagonal").reshape(-1)[0]) if item.has(1) else 0
    ones = np.ones(of.shape[-2:], np.bool_)
    mask = np.triu(ones, k) if item.attribute("upper", 1) else np.tril(ones, k)
    zero = item.add_constant("zero", np.array(0, of.dtype))
    item.add(Select(), [item.add_constant("mask", mask), x, zero])


@imports("ReverseSequence")
def reverse_sequence(item: NodeImport) -> None:
    """Element t of a sequence of length n is element n - 1 - t, those behind its end stay: gathered by position."""
    x, lengths = item.operand(0), item.operand(1)
    time, batch = item.attribute("time_axis", 0), item.attribute("batch_axis", 1)
    shape = item.type(x).shape[:2]
    dtype = item.type(lengths).dtype
    at, of = (_grid(shape, axis, dtype) for axis in (time, batch))
    length = _reshape(item, lengths, tuple(shape[batch] if i == batch else 1 for i in range(3)), item.between("length"))
    steps: tuple[tuple[BinaryFunction, str, str, str], ...] = (
        ("sub", length, item.add_constant("next", at + 1), "mirrored"),
        ("less", item.add_constant("time", at), length, "inside"),
    )
    mirrored, inside = (item.add(Binary(step), [a, b], item.between(name)) for step, a, b, name in steps)
    turned = item.add(Select(), [inside, mirrored, item.add_constant("time", at)], item.between("turned"))
    columns = [turned, item.add_constant("batch", of)]
    positions = item.add(Concat(2), columns if time == 0 else columns[::-1], item.between("positions"))
    item.add(GatherND(), [x, positions])


@imports("Compress")
def compress(item: NodeImport) -> None:
    kept = item.constant(1)
    if kept is None:
        item.refuse(_DATA_DEPENDENT, _STATIC_ONLY)
    x, axis = item.operand(0), item.attribute("axis")
    if axis is None:
        x, axis = _reshape(item, x, (item.type(x).size,), item.between("flat")), 0
    indices = np.flatnonzero(kept).astype(np.int32)
    if not indices.size:
        item.refuse("its condition keeps nothing", "Take it out of the model.")
    item.add(Gather(axis_of(item, axis, item.type(x).rank)), [x, item.add_constant("indices", indices)])


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
