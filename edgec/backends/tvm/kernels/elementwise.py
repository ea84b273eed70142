"""Operations that compute each element for itself, on 8-bit integers."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.backends.tvm.emitter import Emitter, Expr, broadcast, divided, exactly, remainder
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import (
    Word,
    number,
    real_number,
    real_of,
    result_grid,
    split,
    steps_rounded,
)
from edgec.backends.tvm.storage import Steps


@dataclass(frozen=True)
class Sum:
    """y = clamp(round((real(a) + real(b)) / sy) + zy) of two values of one shape: `edgec.ir.reference.elementwise`.

    images, rows: of all three. a, b, y: their steps. length: bytes of a row.
    limited: an activation has narrower limits than the dtype. far: steps may be beyond int32.
    """

    images: int
    rows: int
    length: int
    a: Steps
    b: Steps
    y: Steps
    limited: bool = False
    far: bool = False

    @property
    def family(self) -> str:
        return "sum"

    @property
    def units(self) -> int:
        """A unit is a row."""
        return self.images * self.rows

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        a, b = e.pointer("a", isa.stored), e.pointer("b", isa.stored)
        constants = e.pointer("constants", "int32")
        y = e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        floats, size = f"float32x{isa.lanes}", 4 * isa.lanes
        grid = result_grid(e, constants, self.limited)
        scale = broadcast(real_number(e, constants, Word.SCALE), isa.lanes)
        operands = (
            (a, number(e, constants, Word.A_ZERO_POINT), real_number(e, constants, Word.A_SCALE)),
            (b, number(e, constants, Word.B_ZERO_POINT), real_number(e, constants, Word.B_SCALE)),
        )

        def part(places: list[Expr], group: int) -> None:
            reals = []
            for (pointer, zero_point, factor), place in zip(operands, places[:2], strict=True):
                stored = isa.loaded(e, pointer, place, group)
                reals.append([exactly(floats, real_of(isa, item, zero_point, factor)) for item in stored])
            steps = [(first + second) / scale for first, second in zip(*reals, strict=True)]
            isa.narrowed(e, [steps_rounded(e, isa, item, self.far) for item in steps], grid, y, places[2])

        with e.loop(begin, end) as unit:
            image, row = divided(unit, self.rows), remainder(unit, self.rows)
            starts = [e.bind(image * at.image + row * at.row, "int32") for at in (self.a, self.b, self.y)]
            whole, rest = divmod(self.length, size)
            if whole:
                with e.loop(0, whole) as i:
                    part([start + i * size for start in starts], 4)
            done = whole * size
            for group in split(rest, isa.lanes):
                part([start + done for start in starts], group)
                done += group * isa.lanes
