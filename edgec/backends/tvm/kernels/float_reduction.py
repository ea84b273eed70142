"""Sums, means, products and limits along axes, of float32, and of integers as they are.

Sums are made of several partial ones, those of rows and those of every fourth element, and not of float64: what is lost
is some units of the last place of the sum of magnitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgec.backends.tvm.emitter import Emitter, Expr, Pointer, divided, integer, maximum, minimum, remainder
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.float_expression import in_memory
from edgec.backends.tvm.kernels.float_lines import ACCUMULATORS, Combine, reduced
from edgec.backends.tvm.kernels.float_math import FloatMath

Function = Literal["mean", "sum", "max", "min", "product", "any", "all"]


@dataclass(frozen=True)
class FloatReduction:
    """y = the function of all elements of x along some axes. count: how many.

    outer: what stays, strides of x and y. inner: what is reduced, stride of x. Both without the last dimension.
    size: of the last dimension, whose elements are neighbours in x (and in y, where they stay: with the padding that
    both pixels have). channels: whether it is reduced as well. lanes: of vectors of it.
    """

    function: Function
    dtype: str
    outer: Box
    inner: Box
    size: int
    channels: bool
    count: int
    lanes: int

    @property
    def family(self) -> str:
        return f"float_reduce_{self.function}"

    @property
    def units(self) -> int:
        """A unit is a number of the result, or a vector of channels."""
        return self.outer.count * self._parts

    @property
    def _parts(self) -> int:
        return 1 if self.channels else -(-self.size // self.lanes)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, y = e.pointer("x", in_memory(self.dtype)), e.pointer("y", in_memory(self.dtype))
        begin, end = e.scalar("begin"), e.scalar("end")
        with e.loop(begin, end) as unit:
            source, goes = self.outer.at(e, e.bind(divided(unit, self._parts), "int32"))
            if self.channels:
                e.store(y, goes, self._of_lines(e, x, source))
            else:
                first = minimum(remainder(unit, self._parts) * self.lanes, integer(self.size - self.lanes))
                first = e.bind(first, "int32")
                place = e.bind(source + first, "int32")
                e.store(y, goes + first, self._of_vectors(e, x, place), self.lanes)

    def _of_lines(self, e: Emitter, x: Pointer, source: Expr) -> Expr:
        """All elements of all lines: one number."""
        one, many, dtype = FloatMath(e, 1), FloatMath(e, self.lanes), in_memory(self.dtype)
        total = e.register(1, dtype, self._neutral(one))
        with e.loop(0, self.inner.count) as number:
            (line,) = self.inner.at(e, number)
            place = e.bind(source + line, "int32")
            found = reduced(
                many,
                self.size,
                self._neutral(many),
                self._combine(),
                lambda at: e.load(x, place + at, self.lanes),
                dtype,
            )
            total.set(self._combine()(one, one.bind(total.get(), dtype), found))
        return self._finished(one, total.get())

    def _of_vectors(self, e: Emitter, x: Pointer, source: Expr) -> Expr:
        """One vector of channels, of all pixels."""
        functions, dtype, lanes = FloatMath(e, self.lanes), in_memory(self.dtype), self.lanes
        combine = self._combine()
        rows = Box(self.inner.shape[:-1], tuple(steps[:-1] for steps in self.inner.strides))
        columns, step = (self.inner.shape[-1], self.inner.strides[0][-1]) if self.inner.shape else (1, 0)
        total = e.register(lanes, dtype, self._neutral(functions))
        with e.loop(0, rows.count) as row:
            (line,) = rows.at(e, row)
            place = e.bind(source + line, "int32")
            whole = columns // ACCUMULATORS
            parts = [e.register(lanes, dtype, self._neutral(functions)) for _ in range(ACCUMULATORS if whole else 1)]
            if whole:
                with e.loop(0, whole) as i:
                    for number, part in enumerate(parts):
                        seen = e.load(x, place + (i * ACCUMULATORS + number) * step, lanes)
                        part.set(combine(functions, functions.bind(part.get(), dtype), functions.bind(seen, dtype)))
            for number in range(whole * ACCUMULATORS, columns):
                seen, part = e.load(x, place + number * step, lanes), parts[number % len(parts)]
                part.set(combine(functions, functions.bind(part.get(), dtype), functions.bind(seen, dtype)))
            for part in parts:
                total.set(combine(functions, functions.bind(total.get(), dtype), functions.bind(part.get(), dtype)))
        return self._finished(functions, total.get())

    def _finished(self, functions: FloatMath, total: Expr) -> Expr:
        return total / functions.number(float(self.count)) if self.function == "mean" else total

    def _neutral(self, functions: FloatMath) -> Expr:
        """What changes nothing."""
        dtype = in_memory(self.dtype)
        if self.function in ("sum", "mean", "any"):
            return functions.number(0, dtype)
        if self.function in ("product", "all"):
            return functions.number(1, dtype)
        if self.dtype == "float32":
            return functions.number(float("-inf" if self.function == "max" else "inf"))
        info = np.iinfo(dtype)
        return functions.number(int(info.min if self.function == "max" else info.max), dtype)

    def _combine(self) -> Combine:
        real = self.dtype == "float32"
        if self.function in ("sum", "mean"):
            return lambda functions, a, b: a + b
        if self.function == "product":
            return lambda functions, a, b: a * b
        if self.function in ("max", "any"):
            return FloatMath.larger if real else lambda functions, a, b: maximum(a, b)
        return FloatMath.smaller if real else lambda functions, a, b: minimum(a, b)
