"""Functions of 8-bit integers, as tables that the reference executor filled when the model was compiled."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    cast,
    maximum,
    minimum,
    reinterpret,
    shuffle,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Word, number
from edgec.backends.tvm.kernels.boxes import Box, line, power_below


@dataclass(frozen=True)
class Table:
    """y = table[x] of bytes; the table's index is the stored byte, as uint8. box: of x and y, contiguous along the last
    dimension, in multiples of 16."""

    box: Box

    @property
    def family(self) -> str:
        return "table"

    @property
    def units(self) -> int:
        """A unit is all of the inner dimensions."""
        return self.box.units(1)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, size, length = emitter, 4 * isa.lanes, self.box.shape[-1]
        x, table, y = e.pointer("x", isa.stored), e.pointer("table", isa.stored), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        lookup = isa.lookup(e, table)
        with self.box.places(e, begin, end, 1) as (source, goes):
            if lookup is None:
                with e.loop(0, length) as i:
                    e.store(y, goes + i, e.load(table, index_of(e.load(x, source + i))))
                return
            lanes = power_below(length, size)
            with line(e, length, lanes) as at:
                indices = e.load(x, source + at, lanes)
                if lanes < size:  # a part of a vector: TVM makes no vector longer than what it is made from
                    indices = shuffle([indices] * (size // lanes), [*range(lanes)] * (size // lanes))
                found = lookup(indices)
                e.store(y, goes + at, found if lanes == size else shuffle([found], range(lanes)), lanes)


@dataclass(frozen=True)
class PairTable:
    """y = table[a][b] of bytes: what no other kernel computes. box: of a, b and y; y is contiguous."""

    box: Box

    @property
    def family(self) -> str:
        return "pair_table"

    @property
    def units(self) -> int:
        """A unit is all of the inner dimensions."""
        return self.box.units(1)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        a, b = e.pointer("a", isa.stored), e.pointer("b", isa.stored)
        table, y = e.pointer("table", isa.stored), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        from_a, from_b, _ = (steps[-1] for steps in self.box.strides)
        with self.box.places(e, begin, end, 1) as (first, second, goes), e.loop(0, self.box.shape[-1]) as i:
            row, column = e.load(a, first + i * from_a), e.load(b, second + i * from_b)
            e.store(y, goes + i, e.load(table, index_of(row) * 256 + index_of(column)))


@dataclass(frozen=True)
class Limit:
    """y = the integer of x, limited. box: of x and y, contiguous along the last dimension, in multiples of 16."""

    box: Box

    @property
    def family(self) -> str:
        return "limit"

    @property
    def units(self) -> int:
        """A unit is all of the inner dimensions."""
        return self.box.units(1)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, length = emitter, self.box.shape[-1]
        x, constants, y = e.pointer("x", isa.stored), e.pointer("constants", "int32"), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        lanes = power_below(length, 4 * isa.lanes)
        low, high = (_stored(e, constants, word, isa.stored, lanes) for word in (Word.LOW, Word.HIGH))
        with self.box.places(e, begin, end, 1) as (source, goes), line(e, length, lanes) as at:
            e.store(y, goes + at, minimum(maximum(e.load(x, source + at, lanes), low), high), lanes)


@dataclass(frozen=True)
class Extreme:
    """y = the larger, or the smaller, of the integers of a and b, all on one grid. box: of a, b and y; all are
    contiguous along the last dimension, in multiples of 16, or broadcast."""

    box: Box
    largest: bool

    @property
    def family(self) -> str:
        return "maximum" if self.largest else "minimum"

    @property
    def units(self) -> int:
        """A unit is all of the inner dimensions."""
        return self.box.units(1)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, length = emitter, self.box.shape[-1]
        a, b, y = e.pointer("a", isa.stored), e.pointer("b", isa.stored), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        lanes = power_below(length, 4 * isa.lanes)
        better = maximum if self.largest else minimum
        with self.box.places(e, begin, end, 1) as (first, second, goes), line(e, length, lanes) as at:
            operands = []
            for pointer, place, steps in ((a, first, self.box.strides[0]), (b, second, self.box.strides[1])):
                contiguous = steps[-1] == 1
                value = e.load(pointer, place + at, lanes) if contiguous else broadcast(e.load(pointer, place), lanes)
                operands.append(value)
            e.store(y, goes + at, better(*operands), lanes)


def index_of(stored: Expr) -> Expr:
    """A stored byte as an index, int32."""
    return cast("int32", reinterpret("uint8", stored))


def _stored(e: Emitter, constants: Pointer, word: Word, dtype: str, lanes: int) -> Expr:
    return e.bind(broadcast(cast(dtype, number(e, constants, word)), lanes), f"{dtype}x{lanes}")
