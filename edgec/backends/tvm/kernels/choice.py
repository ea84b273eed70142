"""One of two elements, whichever a condition chooses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.emitter import Emitter, Expr, Pointer, broadcast, constant, select, vector
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.boxes import Box, line, power_below

_LONGEST = 64  # bytes of a load


@dataclass(frozen=True)
class Choice:
    """y = a where the condition holds, else b. box: of the operands and y.

    dtype: of a, b and y. compared: the condition is that two integers of that dtype are equal, which are the first two
    operands; where it is empty, the condition is the first operand, a bool.
    """

    dtype: str
    box: Box
    compared: str = ""

    @property
    def family(self) -> str:
        return "one_hot" if self.compared else "select"

    @property
    def units(self) -> int:
        """A unit is all of the inner dimensions."""
        return self.box.units(1)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        names = [("one", self.compared), ("other", self.compared)] if self.compared else [("condition", "uint8")]
        names += [("a", self.dtype), ("b", self.dtype)]
        operands = [e.pointer(name, dtype) for name, dtype in names]
        y = e.pointer("y", self.dtype)
        begin, end = e.scalar("begin"), e.scalar("end")
        size, steps = self.box.shape[-1], [each[-1] for each in self.box.strides]
        together = steps[-1] == 1 and all(step in (0, 1) for step in steps)
        widest = max(np.dtype(dtype).itemsize for _, dtype in names)
        lanes = power_below(size, _LONGEST // widest) if together else 1
        with self.box.places(e, begin, end, 1) as (*places, goes), line(e, size, lanes) as at:

            def element(pointer: Pointer, place: Expr, step: int) -> Expr:
                if step == 0:
                    return broadcast(e.bind(e.load(pointer, place), pointer.dtype), lanes)
                return e.bind(e.load(pointer, place + at * step, lanes), vector(pointer.dtype, lanes))

            loaded = [element(*item) for item in zip(operands, places, steps[:-1], strict=True)]
            *condition, a, b = loaded
            no = broadcast(constant(0, "uint8"), lanes)
            holds = condition[0] == condition[1] if self.compared else condition[0] != no
            e.store(y, goes + at * steps[-1], select(holds, a, b), lanes)
