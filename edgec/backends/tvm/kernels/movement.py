"""Copying elements from one arrangement to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    cast,
    constant,
    maximum,
    minimum,
    select,
    shuffle,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.boxes import Box, line, power_below

_LONGEST = 64  # bytes of a load
_TILE = 16  # bytes of a row of a tile that is transposed: a vector that every instruction set has

FAR = 1 << 62
"""A stride of no operand."""


@dataclass(frozen=True)
class Move:
    """y[i, j, ...] = x[i, j, ...] for a box of elements. box: of x and y.

    tables: for each dimension where its offsets in x begin in a table of int32, which then is the second operand; -1
    for one with a stride. tiled: x is contiguous along the last dimension but one, and y along the last.
    flips: the highest bit of every byte changes, which is what tells int8 from uint8 with 128 added.
    """

    dtype: str
    itemsize: int
    box: Box
    tables: tuple[int, ...] = ()
    tiled: bool = False
    flips: bool = False

    @classmethod
    def of(cls, dtype: str, shape: Sequence[int], x: Sequence[int], y: Sequence[int], *, flips: bool = False) -> Move:
        """With strides only, in an order that suits vectors."""
        order = sorted(range(len(shape)), key=lambda axis: -y[axis])
        box = Box.of(*([steps[axis] for axis in order] for steps in (shape, x, y)))
        box, tiled = _ordered(box)
        return cls(dtype, np.dtype(dtype).itemsize, box if tiled else box.divided(), tiled=tiled, flips=flips)

    @classmethod
    def by_tables(
        cls, dtype: str, shape: Sequence[int], x: Sequence[int], y: Sequence[int], tables: Sequence[int]
    ) -> Move:
        """tables: where each dimension's offsets begin; -1 where there is a stride."""
        apart = [axis for axis, start in enumerate(tables) if start >= 0]
        # Dimensions with tables are told by their strides, which are those of nothing else.
        marked = [FAR + start if start >= 0 else step for step, start in zip(x, tables, strict=True)]
        box = Box.of(shape, marked, y, apart=apart)
        starts = tuple(step - FAR if step >= FAR else -1 for step in box.strides[0])
        strides = tuple(0 if step >= FAR else step for step in box.strides[0])
        return cls(dtype, np.dtype(dtype).itemsize, Box(box.shape, (strides, box.strides[1])), starts)

    @property
    def family(self) -> str:
        return "transpose" if self.tiled else "pick" if self.tables else "move"

    @property
    def units(self) -> int:
        """A unit is all of the inner dimensions."""
        return self.box.units(self._inner)

    @property
    def _inner(self) -> int:
        return 2 if self.tiled else 1

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x = e.pointer("x", self.dtype)
        table = e.pointer("table", "int32") if self.tables else None
        y = e.pointer("y", self.dtype)
        begin, end = e.scalar("begin"), e.scalar("end")

        def offset(operand: int, axis: int, index: Expr) -> Expr:
            if operand == 0 and table is not None and self.tables[axis] >= 0:
                return e.load(table, index + self.tables[axis])
            return index * self.box.strides[operand][axis]

        with self.box.places(e, begin, end, self._inner, offset) as (source, goes):
            if self.tiled:
                self._tiles(e, x, y, source, goes)
            else:
                self._line(e, x, y, source, goes, table)

    def _line(self, e: Emitter, x: Pointer, y: Pointer, source: Expr, goes: Expr, table: Pointer | None) -> None:
        size = self.box.shape[-1]
        if table is not None and self.tables[-1] >= 0:
            with e.loop(0, size) as i:
                value = e.load(x, source + e.load(table, i + self.tables[-1]))
                e.store(y, goes + i * self.box.strides[1][-1], value)
            return
        from_x, from_y = (steps[-1] for steps in self.box.strides)
        copied(e, (x, source, from_x), (y, goes, from_y), size, self.itemsize, self._stored)

    def _tiles(self, e: Emitter, x: Pointer, y: Pointer, source: Expr, goes: Expr) -> None:
        """Tiles of x, whose rows become the columns of tiles of y."""
        wide, high = self.box.shape[-2:]
        from_row, to_row = self.box.strides[0][-1], self.box.strides[1][-2]
        most = _TILE // self.itemsize
        columns, rows = power_below(wide, most), power_below(high, most)
        with line(e, high, rows) as row, line(e, wide, columns) as column:
            first = e.bind(source + row * from_row + column, "int32")
            target = e.bind(goes + column * to_row + row, "int32")
            loaded = [e.bind(e.load(x, first + i * from_row, columns), f"{self.dtype}x{columns}") for i in range(rows)]
            for i, made in enumerate(transposed(e, loaded, self.dtype, columns, most)):
                e.store(y, target + i * to_row, self._stored(made, rows), rows)

    def _stored(self, value: Expr, lanes: int) -> Expr:
        return (
            value ^ broadcast(constant(-128 if self.dtype == "int8" else 128, self.dtype), lanes)
            if self.flips
            else value
        )


def _ordered(box: Box) -> tuple[Box, bool]:
    """The dimension last along which both are contiguous; or, in tiles, those along which x is, and then y."""
    x, y = box.strides
    together = [axis for axis in range(box.rank) if (x[axis], y[axis]) == (1, 1)]
    if together:
        return box.last(together[0]), False
    to = next((axis for axis in range(box.rank) if y[axis] == 1), None)
    if to is None:
        return box, False
    if x[to] != 0:
        start = next((axis for axis in range(box.rank) if x[axis] == 1), None)
        if start is not None:
            return box.last(start).last(to - 1 if to > start else to), True
    return box.last(to), False


def copied(
    e: Emitter, source: tuple[Pointer, Expr, int], target: tuple[Pointer, Expr, int], size: int, itemsize: int,
    function: Callable[[Expr, int], Expr] = lambda value, lanes: value,
) -> None:  # fmt: skip
    """A line of elements: pointer, offset and stride of both sides. function: of elements and how many they are."""
    (x, start, from_x), (y, goes, to_y) = source, target
    vectors = to_y == 1 and from_x in (0, 1)
    lanes = power_below(size, _LONGEST // itemsize) if vectors else 1
    filler = broadcast(e.bind(function(e.load(x, start), 1), y.dtype), lanes) if from_x == 0 else None
    with line(e, size, lanes) as at:
        value = function(e.load(x, start + at * from_x, lanes), lanes) if filler is None else filler
        e.store(y, goes + at * to_y, value, lanes)


def transposed(e: Emitter, rows: Sequence[Expr], dtype: str, columns: int, most: int) -> list[Expr]:
    """The columns of a matrix as vectors. rows: vectors of `columns` elements; both numbers are powers of 2, not above
    `most`, the elements of a vector.

    Interleaving row i with row i + n/2 for all i halves the number of rows; when one is left, it is the matrix read by
    columns. Rows longer than a vector are kept in pieces.
    """
    count, length = len(rows), columns
    pieces = [[row] for row in rows]
    while len(pieces) > 1:
        half = len(pieces) // 2
        made = []
        for a, b in zip(pieces[:half], pieces[half:], strict=True):
            joined: list[Expr] = []
            for one, other in zip(a, b, strict=True):
                turns = [lane for at in range(length) for lane in (at, length + at)]
                parts = [turns] if 2 * length <= most else [turns[:length], turns[length:]]
                joined += [e.bind(shuffle([one, other], part), f"{dtype}x{len(part)}") for part in parts]
            made.append(joined)
        pieces = made
        length = min(2 * length, most)
    found = []
    for piece in pieces[0]:
        if length == count:
            found.append(piece)
        else:
            found += [shuffle([piece], range(at, at + count)) for at in range(0, length, count)]
    return found


@dataclass(frozen=True)
class Component:
    """A position along one dimension that is read from a tensor of indices. at: which element of an entry it is, in
    elements. stride: elements of the dimension. size: of it, which negative indices count from."""

    at: int
    stride: int
    size: int


@dataclass(frozen=True)
class Indexed:
    """y[...] = x[...] where one of both is also moved by positions that are read. box: of x, of the indices, and of y.

    Negative positions count from the end. Positions beyond the ends are those at the ends: nothing else is ever read or
    written. scatters: the positions are of y; then there is one unit, because of two equal positions the last wins.
    """

    dtype: str
    itemsize: int
    index: str
    box: Box
    components: tuple[Component, ...]
    scatters: bool = False

    @property
    def family(self) -> str:
        return "scatter" if self.scatters else "gather"

    @property
    def units(self) -> int:
        return 1 if self.scatters else self.box.units(1)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, indices, y = e.pointer("x", self.dtype), e.pointer("indices", self.index), e.pointer("y", self.dtype)
        begin, end = e.scalar("begin"), e.scalar("end")
        if self.scatters:
            count = self.box.units(1)
            begin, end = begin * count, end * count
        size = self.box.shape[-1]
        from_x, from_index, to_y = (steps[-1] for steps in self.box.strides)
        with self.box.places(e, begin, end, 1) as (source, entry, goes):
            if from_index == 0:
                source, goes = self._moved(e, indices, source, entry, goes)
                copied(e, (x, source, from_x), (y, goes, to_y), size, self.itemsize)
                return
            with e.loop(0, size) as i:
                one, other = self._moved(e, indices, source + i * from_x, entry + i * from_index, goes + i * to_y)
                e.store(y, other, e.load(x, one))

    def _moved(self, e: Emitter, indices: Pointer, source: Expr, entry: Expr, goes: Expr) -> tuple[Expr, Expr]:
        place = goes if self.scatters else source
        for item in self.components:
            index = e.load(indices, entry + item.at)
            zero, last = constant(0, self.index), constant(item.size - 1, self.index)
            index = e.bind(index, self.index)
            index = select(index < zero, index + constant(item.size, self.index), index)
            index = minimum(maximum(index, zero), last)
            place = place + cast("int32", index) * item.stride
        place = e.bind(place, "int32")
        return (source, place) if self.scatters else (place, goes)
