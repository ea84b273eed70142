"""What moves elements, whatever they are.

Where a result's bytes are some of its operand's as they lie, it is those (`_seen`); else boxes of elements are copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.choice import Choice
from edgec.backends.tvm.kernels.movement import Component, Indexed
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_float, write_moved
from edgec.backends.tvm.lowering.views import View, copy, only_seen, pick, read, scratch, whole_pixels, written
from edgec.backends.tvm.storage import SLACK, image_shape
from edgec.ir import kinds
from edgec.ir.graph import Operation
from edgec.ir.reference.grid import stored
from edgec.ir.reference.windows import nearest

# --- reshapes and transposes ---


@write_moved.register
def _(kind: kinds.Reshape, writer: ProgramWriter, operation: Operation) -> None:
    _reshape(writer, operation)


def _reshape(writer: ProgramWriter, operation: Operation) -> None:
    """The same elements in the same order."""
    source, name = operation.inputs[0], operation.outputs[0]
    x = read(writer, source)
    stored = source not in writer.views
    looked_through = isinstance(operation.kind, kinds.Reshape)  # by those who ask for a border
    same = image_shape(writer.type(source)) == image_shape(writer.type(name))
    if stored and same and (looked_through or not writer.is_padded(name)):
        writer.alias(operation)
        return
    view = x.reshaped(writer.type(name).shape)
    if view is not None and (_seen(writer, operation, view) or only_seen(writer, operation, view)):
        return
    y = written(writer, operation)
    if pieces := _refined(x.joined(), y.joined()):
        copy(writer, *pieces, operation)
        return
    between = scratch(writer, name, x.shape, x.dtype)
    copy(writer, x, between, operation)
    pieces = _refined(between.joined(), y.joined())
    assert pieces is not None, "one dimension divides like any others"
    copy(writer, *pieces, operation)


def _refined(x: View, y: View) -> tuple[View, View] | None:
    """Both in dimensions that they share, where there are such."""
    sizes: list[int] = []
    steps: tuple[list[int], list[int]] = ([], [])
    left, right = list(zip(x.shape, x.strides, strict=True)), list(zip(y.shape, y.strides, strict=True))
    while left and right:
        (a, from_x), (b, to_y) = left.pop(0), right.pop(0)
        size = min(a, b)
        if max(a, b) % size:
            return None
        sizes.append(size)
        steps[0].append(from_x * (a // size))
        steps[1].append(to_y * (b // size))
        if a > size:
            left.insert(0, (a // size, from_x))
        if b > size:
            right.insert(0, (b // size, to_y))
    return x.of(sizes, steps[0]), y.of(sizes, steps[1])


@write_moved.register
def _(kind: kinds.Transpose, writer: ProgramWriter, operation: Operation) -> None:
    shape = writer.type(operation.inputs[0]).shape
    moving = [axis for axis in kind.permutation if shape[axis] > 1]
    if moving == sorted(moving):
        _reshape(writer, operation)
        return
    x = read(writer, operation.inputs[0])
    turned = x.of([x.shape[axis] for axis in kind.permutation], [x.strides[axis] for axis in kind.permutation])
    if not only_seen(writer, operation, turned):
        copy(writer, turned, written(writer, operation), operation)


# --- parts ---


def _seen(writer: ProgramWriter, operation: Operation, part: View, index: int = 0) -> bool:
    """Let a result be a part of its operand where it lies like that, and not written anywhere."""
    name = operation.outputs[index]
    if operation.inputs[0] in writer.views or part.place.memory == "input" or writer.is_padded(name):
        return False
    if writer.storage(operation.inputs[0]).border.any:
        return False
    storage = writer.plain(name)
    wanted = storage.strides(part.shape)
    if any(size > 1 and a != b for size, a, b in zip(part.shape, part.strides, wanted, strict=True)):
        return False
    offset = part.place.offset - writer.corner(operation.inputs[0]).offset
    writer.alias(operation, index, storage, offset)
    return True


def _take(writer: ProgramWriter, operation: Operation, part: View, index: int = 0) -> None:
    """Make a part of the operand a result."""
    if not (_seen(writer, operation, part, index) or only_seen(writer, operation, part, index)):
        copy(writer, part, written(writer, operation, index), operation, operation.outputs[index])


@write_moved.register
def _(kind: kinds.Split, writer: ProgramWriter, operation: Operation) -> None:
    x = read(writer, operation.inputs[0])
    begin = [0] * len(x.shape)
    for index, size in enumerate(kind.sizes):
        if writer.needs(operation.outputs[index]):
            shape = [size if axis == kind.axis else length for axis, length in enumerate(x.shape)]
            _take(writer, operation, x.part(begin, shape), index)
        begin[kind.axis] += size


@write_moved.register
def _(kind: kinds.Slice, writer: ProgramWriter, operation: Operation) -> None:
    x = read(writer, operation.inputs[0])
    _take(writer, operation, x.part(kind.begin, writer.type(operation.outputs[0]).shape, kind.stride))


@write_moved.register
def _(kind: kinds.Reverse, writer: ProgramWriter, operation: Operation) -> None:
    x = read(writer, operation.inputs[0])
    begin = [size - 1 if axis in kind.axes else 0 for axis, size in enumerate(x.shape)]
    step = [-1 if axis in kind.axes else 1 for axis in range(len(x.shape))]
    _take(writer, operation, x.part(begin, x.shape, step))


# --- several, or around ---


@write_moved.register
def _(kind: kinds.Concat, writer: ProgramWriter, operation: Operation) -> None:
    parts = [read(writer, name) for name in operation.inputs]
    y = written(writer, operation)
    begin = [0] * len(y.shape)
    for part in parts:
        copy(writer, part, y.part(begin, part.shape), operation)
        begin[kind.axis] += part.shape[kind.axis]


@write_moved.register
def _(kind: kinds.Pad, writer: ProgramWriter, operation: Operation) -> None:
    x, y = read(writer, operation.inputs[0]), written(writer, operation)
    if kind.mode != "constant":
        around = zip(x.shape, kind.before, kind.after, strict=True)
        indices = [np.pad(np.arange(size), (b, a), kind.mode) if a or b else None for size, b, a in around]
        pick(writer, x, y, indices, operation)
        return
    name = operation.outputs[0]
    value = stored(np.array(kind.value, np.float32), writer.type(name).of_shape(()))
    place = writer.block(writer.as_stored(name, value).tobytes())
    begin, shape = [0] * len(y.shape), list(y.shape)
    for axis, size in enumerate(x.shape):
        for start, count in ((0, kind.before[axis]), (kind.before[axis] + size, kind.after[axis])):
            if count:
                begin[axis], shape[axis] = start, count
                target = y.part(begin, shape)
                filler = View(place, y.dtype, target.shape, (0,) * len(shape), 1)
                copy(writer, filler, target, operation)
        begin[axis], shape[axis] = kind.before[axis], size
    copy(writer, x, y.part(begin, shape), operation)


# --- repeated ---


@write_moved.register
def _(kind: kinds.Tile, writer: ProgramWriter, operation: Operation) -> None:
    x, y = read(writer, operation.inputs[0]), written(writer, operation)
    shape = [size for pair in zip(kind.repeats, x.shape, strict=True) for size in pair]
    from_x = [step for own in x.strides for step in (0, own)]
    to_y = [step for size, own in zip(x.shape, y.strides, strict=True) for step in (size * own, own)]
    copy(writer, x.of(shape, from_x), y.of(shape, to_y), operation)


@write_moved.register
def _(kind: kinds.BroadcastTo, writer: ProgramWriter, operation: Operation) -> None:
    x = read(writer, operation.inputs[0])
    copy(writer, x.spread(kind.shape), written(writer, operation), operation)


@write_moved.register
def _(kind: kinds.ResizeNearest, writer: ProgramWriter, operation: Operation) -> None:
    x, y = read(writer, operation.inputs[0]), written(writer, operation)
    rows, columns = (nearest(x.shape[1 + axis], kind.size[axis], kind) for axis in (0, 1))
    pick(writer, x, y, [None, rows, columns, None], operation)


@write_moved.register
def _(kind: kinds.DepthToSpace, writer: ProgramWriter, operation: Operation) -> None:
    x, y = read(writer, operation.inputs[0]), written(writer, operation)
    copy(writer, *_blocks(x, y, kind.block), operation)


@write_moved.register
def _(kind: kinds.SpaceToDepth, writer: ProgramWriter, operation: Operation) -> None:
    x, y = read(writer, operation.inputs[0]), written(writer, operation)
    deep, wide = _blocks(y, x, kind.block)
    copy(writer, wide, deep, operation)


def _blocks(deep: View, wide: View, block: int) -> tuple[View, View]:
    """An image whose channels are blocks, and that with the blocks spread out, as [N, H, row, W, column, C]."""
    n, h, w, c = deep.shape
    c //= block**2
    shape = (n, h, block, w, block, c)
    image, row, column, channel = deep.strides
    one = deep.of(shape, (image, row, channel * c * block, column, channel * c, channel))
    image, row, column, channel = wide.strides
    return one, wide.of(shape, (image, row * block, row, column * block, column, channel))


# --- one of two ---


@write_moved.register
def _(kind: kinds.Select, writer: ProgramWriter, operation: Operation) -> None:
    views = [read(writer, name) for name in operation.inputs]
    y = written(writer, operation)
    spread = [view.spread(y.shape) for view in views]
    box = Box.of(y.shape or (1,), *(view.strides or (1,) for view in (*spread, y)))
    writer.step(Choice(y.dtype, box), [*(view.place for view in (*spread, y))], operation)


@write_float.register
def _(kind: kinds.OneHot, writer: ProgramWriter, operation: Operation) -> None:
    """`on` where the index is that of the place along the axis, which a table of all places tells."""
    index, on, off = (read(writer, name) for name in operation.inputs)
    y = written(writer, operation)
    rank = len(y.shape)
    along = (*index.strides[: kind.axis], 0, *index.strides[kind.axis :])
    places = [1 if axis == kind.axis else 0 for axis in range(rank)]
    table = writer.block(np.arange(kind.depth, dtype=index.dtype).tobytes() + bytes(SLACK))
    none = (0,) * rank
    box = Box.of(y.shape, along, places, none, none, y.strides)
    operands = [index.place, table, on.place, off.place, y.place]
    writer.step(Choice(y.dtype, box, index.dtype), operands, operation)


# --- by indices ---


@write_moved.register
def _(kind: kinds.Gather, writer: ProgramWriter, operation: Operation) -> None:
    source, positions = operation.inputs
    x, axis, lead = read(writer, source), kind.axis, kind.batch_dims
    known = writer.graph.constant(positions)
    if known is not None:  # as of positions that are computed, those beyond the ends are those at the ends
        known = np.clip(known, 0, x.shape[axis] - 1)
    if known is not None and not lead and known.size == 1:
        begin = [int(known.item()) if at == axis else 0 for at in range(len(x.shape))]
        part = x.part(begin, [1 if at == axis else size for at, size in enumerate(x.shape)])
        strides = (*part.strides[:axis], *(0,) * known.ndim, *part.strides[axis + 1 :])
        _take(writer, operation, part.of(writer.type(operation.outputs[0]).shape, strides))
        return
    y = written(writer, operation)
    if known is not None and not lead and known.ndim == 1:
        pick(writer, x, y, [known if at == axis else None for at in range(len(x.shape))], operation)
        return
    index = read(writer, positions)
    zeros = (0,) * (len(index.shape) - lead)
    moved = x.of(y.shape, (*x.strides[:axis], *zeros, *x.strides[axis + 1 :]))
    entries = (*index.strides[:lead], *(0,) * (axis - lead), *index.strides[lead:], *(0,) * (len(x.shape) - axis - 1))
    _indexed(writer, operation, (moved, index, entries, y), [Component(0, x.strides[axis], x.shape[axis])])


@write_moved.register
def _(kind: kinds.GatherND, writer: ProgramWriter, operation: Operation) -> None:
    x, index, y = read(writer, operation.inputs[0]), read(writer, operation.inputs[1]), written(writer, operation)
    entries, rest, components = _entries(index, x)
    moved = x.of(y.shape, (*(0,) * (len(index.shape) - 1), *rest))
    _indexed(writer, operation, (moved, index, entries, y), components)


@write_moved.register
def _(kind: kinds.ScatterND, writer: ProgramWriter, operation: Operation) -> None:
    x, index, updates = (read(writer, name) for name in operation.inputs)
    y = written(writer, operation)
    copy(writer, x, y, operation)
    entries, rest, components = _entries(index, y)
    target = y.of(updates.shape, (*(0,) * (len(index.shape) - 1), *rest))
    _indexed(writer, operation, (updates, index, entries, target), components, scatters=True)


def _entries(index: View, of: View) -> tuple[tuple[int, ...], tuple[int, ...], list[Component]]:
    """Of indices [..., D] into a tensor: distances of entries for each dimension of what is moved, the tensor's
    strides behind the first D dimensions, and those D."""
    depth = index.shape[-1]
    components = [Component(at * index.strides[-1], of.strides[at], of.shape[at]) for at in range(depth)]
    return (*index.strides[:-1], *(0,) * (len(of.shape) - depth)), of.strides[depth:], components


def _indexed(
    writer: ProgramWriter, operation: Operation, views: tuple[View, View, Sequence[int], View],
    components: list[Component], scatters: bool = False,
) -> None:  # fmt: skip
    x, index, entries, y = views
    shape = y.shape
    if shape and entries[-1] == 0:
        shape = whole_pixels(shape, x, y)
    box = Box.of(shape, x.strides, entries, y.strides)
    kernel = Indexed(x.dtype, x.itemsize, index.dtype, box, tuple(components), scatters)
    writer.step(kernel, [x.place, index.place, y.place], operation)
