"""Positions of limits along an axis, and running sums, of float32 and of integers as they are.

Other elements than those along the axis are neighbours in vectors, where the axis is not the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    broadcast,
    cast,
    divided,
    integer,
    minimum,
    remainder,
    select,
    vector,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.float_math import FloatMath


@dataclass(frozen=True)
class Along:
    """What both kernels share. outer: all dimensions but the axis and the last one, strides of x and y.
    length: of the axis. x, y: strides along it. size: of the last dimension, 1 where that is the axis. lanes: of its
    vectors."""

    outer: Box
    length: int
    x: int
    y: int
    size: int
    lanes: int
    dtype: str

    @property
    def units(self) -> int:
        """A unit is a vector of neighbours."""
        return self.outer.count * -(-self.size // self.lanes)

    def places(self, emitter: Emitter, unit: Expr) -> tuple[Expr, Expr]:
        """Where a unit's first vector is in x and y."""
        parts = -(-self.size // self.lanes)
        source, goes = self.outer.at(emitter, emitter.bind(divided(unit, parts), "int32"))
        first = minimum(remainder(unit, parts) * self.lanes, integer(self.size - self.lanes))
        first = emitter.bind(first, "int32")
        return emitter.bind(source + first, "int32"), emitter.bind(goes + first, "int32")


@dataclass(frozen=True)
class FloatArgReduction:
    """The first position of the largest or smallest; NaN is before all others, as in numpy."""

    along: Along
    function: Literal["max", "min"]
    result: str

    @property
    def family(self) -> str:
        return f"float_arg_{self.function}"

    @property
    def units(self) -> int:
        return self.along.units

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, a = emitter, self.along
        x, y = e.pointer("x", a.dtype), e.pointer("y", self.result)
        begin, end = e.scalar("begin"), e.scalar("end")
        functions = FloatMath(e, a.lanes)
        with e.loop(begin, end) as unit:
            source, goes = a.places(e, unit)
            best = e.register(a.lanes, a.dtype, e.load(x, source, a.lanes))
            where = e.register(a.lanes, "int32", functions.number(0, "int32"))
            with e.loop(1, a.length) as i:
                seen = functions.bind(e.load(x, source + i * a.x, a.lanes), a.dtype)
                known = functions.bind(best.get(), a.dtype)
                position = functions.bind(where.get(), "int32")
                where.set(self._chosen(e, seen, known, broadcast(i, a.lanes), position))
                best.set(self._chosen(e, seen, known, seen, known))
            e.store(y, goes, cast(vector(self.result, a.lanes), where.get()), a.lanes)

    def _chosen(self, emitter: Emitter, seen: Expr, known: Expr, new: Expr, old: Expr) -> Expr:
        """What belongs to the better element: `new` to the one that is seen, `old` to the one that is known."""
        better = select(seen > known if self.function == "max" else seen < known, new, old)
        if self.along.dtype != "float32":
            return better
        functions = FloatMath(emitter, self.along.lanes)
        return select(functions.is_nan(known), old, select(functions.is_nan(seen), new, better))


@dataclass(frozen=True)
class FloatCumSum:
    """y[i] = sum of x[0 ... i], or of those before only (exclusive), or from the other end (reverse)."""

    along: Along
    exclusive: bool
    reverse: bool

    @property
    def family(self) -> str:
        return "float_cumsum"

    @property
    def units(self) -> int:
        return self.along.units

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, a = emitter, self.along
        x, y = e.pointer("x", a.dtype), e.pointer("y", a.dtype)
        begin, end = e.scalar("begin"), e.scalar("end")
        functions = FloatMath(e, a.lanes)
        with e.loop(begin, end) as unit:
            source, goes = a.places(e, unit)
            total = e.register(a.lanes, a.dtype, functions.number(0, a.dtype))
            with e.loop(0, a.length) as i:
                at = integer(a.length - 1) - i if self.reverse else i
                before = functions.bind(total.get(), a.dtype)
                total.set(before + e.load(x, source + at * a.x, a.lanes))
                e.store(y, goes + at * a.y, before if self.exclusive else total.get(), a.lanes)
