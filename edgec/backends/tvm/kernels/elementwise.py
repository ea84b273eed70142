"""Functions of two values, element by element, on 8-bit integers: `edgec.ir.reference.elementwise`."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    cast,
    constant,
    exactly,
    maximum,
    minimum,
    select,
    vector,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Word, number, real_number, real_of, result_grid, split, steps_rounded
from edgec.backends.tvm.kernels.boxes import Box

FUNCTIONS = ("add", "sub", "mul", "div", "maximum", "minimum", "squared_difference", "prelu")


@dataclass(frozen=True)
class Arithmetic:
    """y = clamp(round(function(real(a), real(b)) / sy) + zy), in float32.

    function: of FUNCTIONS; prelu is a where it is not negative, else a * b. box: of a, b and y, which along the last
    dimension are contiguous, in multiples of 16, or (a, b) broadcast. limited: an activation has narrower limits than
    the dtype. far: steps may be beyond int32.
    """

    function: str
    box: Box
    limited: bool = False
    far: bool = False

    @property
    def family(self) -> str:
        return self.function

    @property
    def units(self) -> int:
        """A unit is all of the inner dimensions."""
        return self.box.units(1)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        a, b = e.pointer("a", isa.stored), e.pointer("b", isa.stored)
        constants, y = e.pointer("constants", "int32"), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        size, length = 4 * isa.lanes, self.box.shape[-1]
        grid = result_grid(e, constants, self.limited)
        scale = broadcast(real_number(e, constants, Word.SCALE), isa.lanes)
        grids = (
            (number(e, constants, Word.A_ZERO_POINT), real_number(e, constants, Word.A_SCALE)),
            (number(e, constants, Word.B_ZERO_POINT), real_number(e, constants, Word.B_SCALE)),
        )
        spread = [steps[-1] == 0 for steps in self.box.strides[:2]]

        def reals(which: int, pointer: Pointer, place: Expr, group: int) -> list[Expr]:
            """A group of an operand's real numbers."""
            if spread[which]:
                loaded = [broadcast(cast("int32", e.load(pointer, place)), isa.lanes)]
            else:
                loaded = isa.loaded(e, pointer, place, group)
            floats = vector("float32", isa.lanes)
            made = [e.bind(exactly(floats, real_of(isa, item, *grids[which])), floats) for item in loaded]
            return made * (group // len(made))

        with self.box.places(e, begin, end, 1) as (first, second, goes):
            once = [
                reals(which, pointer, place, 4) if spread[which] else None
                for which, (pointer, place) in enumerate(((a, first), (b, second)))
            ]

            def part(at: Expr | int, group: int) -> None:
                left = once[0] or reals(0, a, first + at, group)
                right = once[1] or reals(1, b, second + at, group)
                steps = [self._of(one, other, isa.lanes) / scale for one, other in zip(left, right, strict=False)]
                rounded = [steps_rounded(e, isa, item, self.far) for item in steps[:group]]
                isa.narrowed(e, rounded, grid, y, goes + at)

            whole, rest = divmod(length, size)
            if whole:
                with e.loop(0, whole) as i:
                    part(i * size, 4)
            done = whole * size
            for group in split(rest, isa.lanes):
                part(done, group)
                done += group * isa.lanes

    def _of(self, a: Expr, b: Expr, lanes: int) -> Expr:
        """The function of two vectors of real numbers."""
        if self.function == "add":
            return a + b
        if self.function == "sub":
            return a - b
        if self.function == "mul":
            return a * b
        if self.function == "div":
            return a / b
        if self.function == "maximum":
            return maximum(a, b)
        if self.function == "minimum":
            return minimum(a, b)
        if self.function == "squared_difference":
            return (a - b) * (a - b)
        assert self.function == "prelu", self.function
        return select(a < broadcast(constant(0.0, "float32"), lanes), a * b, a)
