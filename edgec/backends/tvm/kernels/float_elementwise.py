"""One pass over memory that computes an expression of each element, operands broadcast as in numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgec.backends.tvm.emitter import Emitter, Expr, broadcast, integer, minimum, vector
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.boxes import Box, line, power_below
from edgec.backends.tvm.kernels.float_expression import Expression, in_memory
from edgec.backends.tvm.kernels.float_math import FloatMath

_LINE = 4096
"""Elements of a unit, where all lie one after the other: the last unit overlaps the one before."""


@dataclass(frozen=True)
class Elementwise:
    """y[i, j, ...] = expression(x[i, j, ...] for each operand).

    box: of the operands, then of the result.
    """

    expression: Expression
    box: Box

    @property
    def family(self) -> str:
        return f"float_{self.expression.label}"

    @property
    def units(self) -> int:
        """A unit is a part of the only line, or a line, or all lines of the last two dimensions."""
        shape = self.box.shape
        return -(-shape[0] // _LINE) if len(shape) == 1 else math.prod(shape[: self._shared])

    @property
    def _shared(self) -> int:
        return max(1, self.box.rank - 2)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        dtypes = [in_memory(dtype) for dtype in self.expression.operands]
        pointers = [e.pointer(f"x{number}", dtype) for number, dtype in enumerate(dtypes)]
        y = e.pointer("y", in_memory(self.expression.dtype))
        begin, end = e.scalar("begin"), e.scalar("end")
        shape, strides = self.box.shape, self.box.strides
        *x, y_step = (steps[-1] for steps in strides)
        contiguous = y_step == 1 and all(step in (0, 1) for step in x)
        lanes = power_below(shape[-1], isa.lanes) if contiguous else 1
        functions = FloatMath(e, lanes)

        def elements(starts: Sequence[Expr], at: Expr) -> None:
            values = []
            for pointer, dtype, start, step in zip(pointers, dtypes, starts, x, strict=False):
                read = lanes if step else 1
                value = e.load(pointer, start + at * step, read)
                values.append(e.bind(broadcast(value, lanes) if read < lanes else value, vector(dtype, lanes)))
            e.store(y, starts[-1] + at * y_step, self.expression.emit(functions, values), lanes)

        with e.loop(begin, end) as unit:
            if len(shape) == 1:
                size = min(shape[0], _LINE)
                first = e.bind(minimum(unit * size, integer(shape[0] - size)), "int32")
                with line(e, size, lanes) as at:
                    elements([integer(0)] * len(strides), e.bind(first + at, "int32"))
                return
            starts = Box(shape[: self._shared], strides).at(e, unit)
            if self._shared == len(shape) - 1:
                with line(e, shape[-1], lanes) as at:
                    elements(starts, at)
                return
            with e.loop(0, shape[-2]) as i, line(e, shape[-1], lanes) as at:
                elements([start + i * steps[-2] for start, steps in zip(starts, strides, strict=True)], at)
