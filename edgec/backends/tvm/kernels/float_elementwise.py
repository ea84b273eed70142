"""One pass over memory that computes an expression of each element, operands broadcast as in numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgec.backends.tvm.emitter import Emitter, Expr, broadcast, divided, integer, minimum, remainder, vector
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.float_expression import Expression, in_memory
from edgec.backends.tvm.kernels.float_math import FloatMath

_LINE = 4096
"""Elements of a unit, where all lie one after the other: the last unit overlaps the one before."""


@dataclass(frozen=True)
class Elementwise:
    """y[i, j, ...] = expression(x[i, j, ...] for each operand).

    shape: of the result. x: strides of each operand in elements, 0 where it is broadcast. y: strides of the result.
    """

    expression: Expression
    shape: tuple[int, ...]
    x: tuple[tuple[int, ...], ...]
    y: tuple[int, ...]

    @classmethod
    def of(cls, expression: Expression, shape: Sequence[int], strides: Sequence[Sequence[int]]) -> Elementwise:
        """strides: of the operands, then of the result. Dimensions are made one where they are in all of them."""
        sizes, together = merged(shape, strides)
        return cls(expression, sizes, together[:-1], together[-1])

    @property
    def family(self) -> str:
        return f"float_{self.expression.label}"

    @property
    def units(self) -> int:
        """A unit is a part of the only line, or a line, or all lines of the last two dimensions."""
        if len(self.shape) == 1:
            return -(-self.shape[0] // _LINE)
        return math.prod(self.shape[: self._shared])

    @property
    def _shared(self) -> int:
        return max(1, len(self.shape) - 2)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        dtypes = [in_memory(dtype) for dtype in self.expression.operands]
        pointers = [e.pointer(f"x{number}", dtype) for number, dtype in enumerate(dtypes)]
        y = e.pointer("y", in_memory(self.expression.dtype))
        begin, end = e.scalar("begin"), e.scalar("end")
        strides = (*self.x, self.y)
        contiguous = self.y[-1] == 1 and all(steps[-1] in (0, 1) for steps in self.x)
        lanes = widest(isa, self.shape[-1]) if contiguous else 1
        functions = FloatMath(e, lanes)

        def elements(starts: Sequence[Expr], at: Expr) -> None:
            values = []
            for pointer, dtype, start, steps in zip(pointers, dtypes, starts, self.x, strict=False):
                read = lanes if steps[-1] else 1
                value = e.load(pointer, start + at * steps[-1], read)
                values.append(e.bind(broadcast(value, lanes) if read < lanes else value, vector(dtype, lanes)))
            e.store(y, starts[-1] + at * self.y[-1], self.expression.emit(functions, values), lanes)

        def line(starts: Sequence[Expr], first: Expr, size: int) -> None:
            with e.loop(0, -(-size // lanes)) as part:
                at = part * lanes
                if size % lanes:
                    at = minimum(at, integer(size - lanes))
                elements(starts, e.bind(first + at, "int32"))

        with e.loop(begin, end) as unit:
            if len(self.shape) == 1:
                size = min(self.shape[0], _LINE)
                first = minimum(unit * size, integer(self.shape[0] - size))
                line([integer(0)] * len(strides), e.bind(first, "int32"), size)
                return
            starts: list[Expr] = [integer(0)] * len(strides)
            left = unit
            for axis in reversed(range(self._shared)):
                place = remainder(left, self.shape[axis]) if axis else left
                left = divided(left, self.shape[axis])
                starts = [start + place * steps[axis] for start, steps in zip(starts, strides, strict=True)]
            starts = [e.bind(start, "int32") for start in starts]
            if self._shared == len(self.shape) - 1:
                line(starts, integer(0), self.shape[-1])
                return
            with e.loop(0, self.shape[-2]) as i:
                line(
                    [start + i * steps[-2] for start, steps in zip(starts, strides, strict=True)],
                    integer(0),
                    self.shape[-1],
                )


def merged(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The same box with fewer dimensions: those of one element left out, and those that lie alike everywhere made one.

    strides: one for each dimension, of each value.
    """
    made: list[tuple[int, tuple[int, ...]]] = []
    for size, *steps in zip(shape, *strides, strict=True):
        if size == 1:
            continue
        if made and made[-1][1] == tuple(size * step for step in steps):
            size *= made.pop()[0]
        made.append((size, tuple(steps)))
    made = made or [(1, (0,) * (len(strides) - 1) + (1,))]
    return tuple(size for size, _ in made), tuple(
        tuple(column) for column in zip(*(steps for _, steps in made), strict=True)
    )


def widest(isa: InstructionSet, length: int) -> int:
    """Lanes of the longest vector that is no longer than a line: a power of 2."""
    lanes = isa.lanes
    while lanes > length:
        lanes //= 2
    return lanes
