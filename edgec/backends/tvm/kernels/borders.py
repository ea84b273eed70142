"""Zero points around an image."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.backends.tvm.emitter import Emitter, Expr, Pointer, broadcast, cast, integer
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Word, number
from edgec.ir.kinds.windows import Padding2D

_WORD = 4  # bytes; borders are a multiple of that, because pixels are


@dataclass(frozen=True)
class Border:
    """Fills the border of an image. rows, columns: with the border. pixel: bytes of a pixel.

    All bytes of a border's pixel are filled, those behind the last channel too.
    """

    images: int
    rows: int
    columns: int
    pixel: int
    border: Padding2D

    @property
    def family(self) -> str:
        return "border"

    @property
    def units(self) -> int:
        """A unit is an image: a border is a few kilobytes."""
        return self.images

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        constants = e.pointer("constants", "int32")
        y = e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        row, size = self.columns * self.pixel, 4 * isa.lanes
        zero_point = cast(isa.stored, number(e, constants, Word.ZERO_POINT))
        filler = e.bind(broadcast(zero_point, size), f"{isa.stored}x{size}")
        small = e.bind(broadcast(zero_point, _WORD), f"{isa.stored}x{_WORD}")
        b = self.border

        def fill(start: Expr, count: int) -> None:
            _fill(e, y, start, count, (filler, size), (small, _WORD))

        with e.loop(begin, end) as image:
            first = e.bind(image * (self.rows * row), "int32")
            if b.top:
                fill(first, b.top * row)
            if b.bottom:
                fill(first + (self.rows - b.bottom) * row, b.bottom * row)
            inside = first + b.top * row
            for column, count in ((0, b.left), (self.columns - b.right, b.right)):
                if count:
                    with e.loop(0, self.rows - b.top - b.bottom) as i:
                        fill(inside + i * row + column * self.pixel, count * self.pixel)


def _fill(e: Emitter, y: Pointer, start: Expr, count: int, long: tuple[Expr, int], short: tuple[Expr, int]) -> None:
    """`count` bytes from `start` on."""
    whole, rest = divmod(count, long[1])
    if whole:
        with e.loop(0, whole) as i:
            e.store(y, start + i * long[1], long[0], long[1])
    for word in range(rest // short[1]):
        e.store(y, start + integer(whole * long[1] + word * short[1]), short[0], short[1])
