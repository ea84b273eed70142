"""Softmax, its logarithm, and LayerNorm, of float32.

softmax:     y = exp(x - max) / sum of exp(x - max)
log_softmax: y = (x - max) - log(sum of exp(x - max))
LayerNorm:   y = (x - mean) / sqrt(mean of (x - mean)^2 + epsilon) * gain + offset
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.backends.tvm.emitter import Emitter, Expr, Pointer, broadcast
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.boxes import Box, line, power_below
from edgec.backends.tvm.kernels.float_lines import reading_lanes, reduced
from edgec.backends.tvm.kernels.float_math import FloatMath


@dataclass(frozen=True)
class FloatSoftmax:
    """Along lines. lines: strides of x and y from one to the next. size: elements of a line. room: elements of a line
    of x and of y, padding and all. logarithm: of the result."""

    lines: Box
    size: int
    room: int
    logarithm: bool

    @property
    def family(self) -> str:
        return "float_log_softmax" if self.logarithm else "float_softmax"

    @property
    def units(self) -> int:
        """A unit is a line."""
        return self.lines.count

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, y = e.pointer("x", "float32"), e.pointer("y", "float32")
        begin, end = e.scalar("begin"), e.scalar("end")
        many, one = FloatMath(e, reading_lanes(isa, self.size)), FloatMath(e, 1)
        lanes = power_below(self.room, isa.lanes)
        some = FloatMath(e, lanes)
        with e.loop(begin, end) as unit:
            source, goes = self.lines.at(e, unit)
            most = reduced(
                many,
                self.size,
                many.number(float("-inf")),
                FloatMath.larger,
                lambda at: e.load(x, source + at, many.lanes),
            )

            def centred(functions: FloatMath, at: Expr) -> Expr:
                seen = e.load(x, source + at, functions.lanes)
                return functions.bind(seen - broadcast(most, functions.lanes))

            total = reduced(many, self.size, many.number(0.0), _sum, lambda at: many.exp(centred(many, at)))
            last = one.log(total) if self.logarithm else one.bind(one.number(1.0) / total)

            with line(e, self.room, lanes) as at:
                value = centred(some, at)
                spread = broadcast(last, lanes)
                e.store(y, goes + at, value - spread if self.logarithm else some.exp(value) * spread, lanes)


@dataclass(frozen=True)
class FloatLayerNorm:
    """Of groups of lines. groups: strides of x and y from one to the next. lines: of a group, strides of x, y and the
    gain (and the offset). size, room: as in `FloatSoftmax`. offset: whether one is added."""

    groups: Box
    lines: Box
    size: int
    room: int
    epsilon: float
    offset: bool

    @property
    def family(self) -> str:
        return "float_layer_norm"

    @property
    def units(self) -> int:
        """A unit is a group."""
        return self.groups.count

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, gain = e.pointer("x", "float32"), e.pointer("gain", "float32")
        offset = e.pointer("offset", "float32") if self.offset else None
        y = e.pointer("y", "float32")
        begin, end = e.scalar("begin"), e.scalar("end")
        many, one = FloatMath(e, reading_lanes(isa, self.size)), FloatMath(e, 1)
        count = one.number(float(self.size * self.lines.count))
        with e.loop(begin, end) as unit:
            source, goes = self.groups.at(e, unit)
            mean = one.bind(self._total(e, many, x, source, None) / count)
            squares = self._total(e, many, x, source, mean)
            factor = one.bind(one.number(1.0) / one.square_root(squares / count + one.number(self.epsilon)))
            lanes = power_below(self.room, isa.lanes)
            with e.loop(0, self.lines.count) as number:
                places = self.lines.at(e, number)
                with line(e, self.room, lanes) as at:
                    value = e.load(x, source + places[0] + at, lanes) - broadcast(mean, lanes)
                    value = value * broadcast(factor, lanes) * e.load(gain, places[2] + at, lanes)
                    if offset is not None:
                        value = value + e.load(offset, places[2] + at, lanes)
                    e.store(y, goes + places[1] + at, value, lanes)

    def _total(self, e: Emitter, many: FloatMath, x: Pointer, source: Expr, mean: Expr | None) -> Expr:
        """Of all elements of a group; with a mean, of the squares of their distances from it."""
        one = FloatMath(e, 1)
        total = e.register(1, "float32", one.number(0.0))
        with e.loop(0, self.lines.count) as number:
            place = e.bind(source + self.lines.at(e, number)[0], "int32")

            def element(at: Expr) -> Expr:
                seen = e.load(x, place + at, many.lanes)
                if mean is None:
                    return seen
                distance = many.bind(seen - broadcast(mean, many.lanes))
                return distance * distance

            total.set(total.get() + reduced(many, self.size, many.number(0.0), _sum, element))
        return one.bind(total.get())


def _sum(functions: FloatMath, a: Expr, b: Expr) -> Expr:
    return a + b
