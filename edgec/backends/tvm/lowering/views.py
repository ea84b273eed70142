"""Values seen as elements at distances, whatever their rank, and copying between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.movement import Move
from edgec.backends.tvm.lowering.program_writer import MOVING, ProgramWriter
from edgec.backends.tvm.program import Place
from edgec.backends.tvm.storage import Storage, element_strides, vector_pixel
from edgec.ir import kinds
from edgec.ir.graph import Operation

Indices = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class View:
    """Elements where they lie. place: of the first. strides: in elements, along each dimension.

    pixel: how many elements from the first of the last dimension on may be read or written: padding and all.
    """

    place: Place
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    pixel: int

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    def of(self, shape: Sequence[int], strides: Sequence[int], first: int = 0) -> View:
        """Other dimensions over the same elements, from another first one on (counted in elements)."""
        place = replace(self.place, offset=self.place.offset + first * self.itemsize)
        last = (tuple(shape[-1:]), tuple(strides[-1:]))
        pixel = self.pixel if last == (self.shape[-1:], (1,)) else shape[-1] if shape else 1
        return View(place, self.dtype, tuple(shape), tuple(strides), pixel)

    def part(self, begin: Sequence[int], shape: Sequence[int], step: Sequence[int] | None = None) -> View:
        """A box of it: from `begin` on, every `step`-th element along each dimension."""
        strides = [a * b for a, b in zip(self.strides, step or (1,) * len(shape), strict=True)]
        return self.of(shape, strides, sum(a * b for a, b in zip(begin, self.strides, strict=True)))

    def joined(self) -> View:
        """Without dimensions of one element, and with those as one that follow on each other."""
        made: list[tuple[int, int]] = []
        for size, step in zip(self.shape, self.strides, strict=True):
            if size == 1:
                continue
            if made and made[-1][1] == size * step:
                size *= made.pop()[0]
            made.append((size, step))
        return self.of([size for size, _ in made], [step for _, step in made])

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """The same elements in another shape; None where no strides are those."""
        joined = self.joined()
        left, strides = list(zip(joined.shape, joined.strides, strict=True)), []
        for size in shape:
            if size == 1:
                strides.append(1)
                continue
            whole, step = left.pop(0)
            if whole % size:
                return None
            strides.append(step * (whole // size))
            if whole > size:
                left.insert(0, (whole // size, step))
        return self.of(shape, strides)

    def spread(self, shape: Sequence[int]) -> View:
        """As numpy broadcasts it."""
        more = len(shape) - len(self.shape)
        strides = [0] * more + [
            0 if own == 1 and size != 1 else step
            for own, size, step in zip(self.shape, shape[more:], self.strides, strict=True)
        ]
        return self.of(shape, strides)


def read(writer: ProgramWriter, name: str) -> View:
    """A value: an input where the caller has it, unless it was brought in already."""
    if name in writer.views:
        return writer.views[name]
    shape = writer.type(name).shape
    place, strides = writer.source(name)
    return View(place, writer.stored_dtype(name), shape, element_strides(shape, strides), _pixel(writer, name, place))


def only_seen(writer: ProgramWriter, operation: Operation, view: View, index: int = 0) -> bool:
    """Let a result be no more than a view, where one operation reads it, or some that take parts of it; all of them
    read views. So what several operations move is moved once."""
    name = operation.outputs[index]
    readers = [reader.kind for reader in writer.readers[name]]
    parts = all(isinstance(kind, kinds.Slice | kinds.Split) for kind in readers)
    if name in writer.graph.outputs or not (parts or len(readers) == 1):
        return False
    if not all(isinstance(kind, MOVING) and not isinstance(kind, kinds.Select) for kind in readers):
        return False
    writer.views[name] = view
    return True


def here(writer: ProgramWriter, name: str) -> View:
    """A value in the arena or among the constants, where pixels may be read in whole vectors. Inputs are brought in."""
    writer.storage(name)
    return read(writer, name)


def in_arena(writer: ProgramWriter, name: str) -> View:
    """A value where it lies in the arena or among the constants: its last dimension's elements are neighbours."""
    storage, shape = writer.storage(name), writer.type(name).shape
    return View(writer.corner(name), writer.stored_dtype(name), shape, storage.strides(shape), storage.pixel)


def room(shape: Sequence[int], *views: View) -> int:
    """How many elements of the last dimension can be computed, padding and all: what all pixels of these views have.

    Whole pixels lie one after the other, and nobody reads their padding. Views that are broadcast along the last
    dimension have any number of elements there.
    """
    return max(shape[-1], min(view.pixel for view in views if view.strides[-1]))


def made(writer: ProgramWriter, operation: Operation, index: int = 0) -> View:
    """A result of an operation, which gets its place in the arena, where pixels may be written in whole vectors."""
    writer.declare(operation, index)
    return read(writer, operation.outputs[index])


def written(writer: ProgramWriter, operation: Operation, index: int = 0) -> View:
    """A result of an operation, which gets its place here: the caller's array where nobody else reads it."""
    name = operation.outputs[index]
    shape = writer.type(name).shape
    place, strides = writer.target(operation, index)
    return View(place, writer.stored_dtype(name), shape, element_strides(shape, strides), _pixel(writer, name, place))


def _pixel(writer: ProgramWriter, name: str, place: Place) -> int:
    if place.memory in ("arena", "constants"):
        return writer.storage(name).pixel
    return (1, *writer.type(name).shape)[-1]


def scratch(writer: ProgramWriter, name: str, shape: Sequence[int], dtype: str) -> View:
    """Elements one after the other, on the way to a value."""
    size = int(np.prod(shape, dtype=np.int64))
    place = writer.scratch(name, Storage((1, 1, 1, size), dtype, vector_pixel(size, dtype)))
    return View(place, dtype, tuple(shape), packed_strides(shape), shape[-1] if shape else 1)


def packed_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Of elements that lie one after the other."""
    return tuple(int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape)))


def copy(writer: ProgramWriter, source: View, target: View, operation: Operation, result: str = "") -> None:
    """Copy a box. Both have one shape. result: which of the operation's results it is for; the first, unless told."""
    shape = whole_pixels(source.shape, source, target)
    kernel = Move.of(source.dtype, shape, source.strides, target.strides)
    writer.step(kernel, [source.place, target.place], operation, result=result or operation.outputs[0])


def whole_pixels(shape: Sequence[int], *views: View) -> tuple[int, ...]:
    """The shape with the padding of pixels, where all views have it: so that pixels are copied in whole vectors."""
    if shape and all(view.strides[-1] in (0, 1) for view in views):
        pixels = {view.pixel for view in views if view.strides[-1]}
        if len(pixels) == 1:
            return (*shape[:-1], *pixels)
    return tuple(shape)


def pick(
    writer: ProgramWriter, source: View, target: View, indices: Sequence[Indices | None], operation: Operation
) -> None:
    """target[i, j, ...] = source[indices[0][i], indices[1][j], ...]; None where an index is the same in both."""
    first, strides = 0, list(source.strides)
    tables: list[np.ndarray] = []
    starts: list[int] = []
    for axis, chosen in enumerate(indices):
        starts.append(-1)
        if chosen is None:
            continue
        where = np.asarray(chosen, np.int64)
        if len(where) < 2 or np.all(np.diff(where) == where[1] - where[0]):
            first += int(where[0]) * strides[axis]
            strides[axis] *= int(where[1] - where[0]) if len(where) > 1 else 0
        else:
            starts[-1] = sum(map(len, tables))
            tables.append((where * strides[axis]).astype(np.int32))
    moved = source.of(target.shape, strides, first)
    if not tables:
        copy(writer, moved, target, operation)
        return
    whole = whole_pixels(target.shape, moved, target) if starts[-1] < 0 else target.shape
    kernel = Move.by_tables(source.dtype, whole, strides, target.strides, starts)
    table = writer.block(np.concatenate(tables).tobytes())
    writer.step(kernel, [moved.place, table, target.place], operation)


def shared_box(target: View, *operands: View) -> Box:
    """Operands as they spread to the result, padding of pixels and all."""
    views = [view.spread(target.shape) for view in operands]
    shape = whole_pixels(target.shape, *views, target)
    steps = [*(view.strides for view in views), target.strides]
    if not shape:
        shape, steps = (target.pixel,), [(1,)] * len(steps)
    return Box.of(shape, *steps).divided()
