"""Softmax of 8-bit integers along the channels.

    e[c] = table[max - x[c]],   table[d] = round(2^24 * exp(-d * sx))
    y[c] = clamp(round(float32(e[c]) / float32(sum of e) / sy) + zy)

which is `edgec.ir.reference.normalization`: the exponentials are those of 256 differences, so that no two machines
disagree about them, and the sum is exact. It is taken in double precision, of integers that it holds exactly, because
from there to float32 is one rounding on every processor.

    constants: [header][table, the last difference first][zeros for what lies above the largest element: padding]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    cast,
    constant,
    divided,
    integer,
    maximum,
    remainder,
    shuffle,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import HEADER, Word, real_number, result_grid, split, steps_rounded
from edgec.backends.tvm.kernels.boxes import line
from edgec.backends.tvm.kernels.lanes import extreme, over_lanes, repeated
from edgec.backends.tvm.storage import Steps

_DIFFERENCES = 256
_BLOCK = 64
"""Exponentials that are summed up in int32: each is 2^24 at most."""


@dataclass(frozen=True)
class Softmax:
    """images, rows, columns: of both. x, y: their steps. channels: how many there are. pixel: bytes of a pixel of y.
    far: steps may be beyond int32."""

    images: int
    rows: int
    columns: int
    x: Steps
    y: Steps
    channels: int
    pixel: int
    far: bool = False

    @property
    def family(self) -> str:
        return "softmax"

    @property
    def units(self) -> int:
        """A unit is a pixel."""
        return self.images * self.rows * self.columns

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, lanes = emitter, isa.lanes
        x, constants, y = e.pointer("x", isa.stored), e.pointer("constants", "int32"), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        with e.loop(begin, end) as unit:
            column, row = remainder(unit, self.columns), remainder(divided(unit, self.columns), self.rows)
            image = divided(unit, self.rows * self.columns)
            source, goes = (
                e.bind(image * steps.image + row * steps.row + column * steps.column, "int32")
                for steps in (self.x, self.y)
            )
            largest = cast("int32", self._largest(e, isa, x, source))
            table = e.bind(integer(HEADER + _DIFFERENCES - 1) - largest, "int32")

            def power(place: Expr) -> Expr:
                return e.load(constants, table + cast("int32", e.load(x, place)))

            total = e.bind(broadcast(self._sum(e, source, power), lanes), f"float32x{lanes}")
            scale = broadcast(real_number(e, constants, Word.SCALE), lanes)
            grid, done = result_grid(e, constants, False), 0
            for group, count in repeated(split(self.pixel, lanes)):
                with e.loop(0, count) as i:
                    first = e.bind(done + i * (group * lanes), "int32")
                    rounded = []
                    for positions in isa.order(group).tolist():
                        powers = [power(source + first + position) for position in positions]
                        numbers = cast(f"float32x{lanes}", shuffle(powers, range(lanes)))
                        rounded.append(steps_rounded(e, isa, numbers / total / scale, self.far))
                    isa.narrowed(e, rounded, grid, y, goes + first)
                done += count * group * lanes

    def _largest(self, e: Emitter, isa: InstructionSet, x: Pointer, source: Expr) -> Expr:
        size = 4 * isa.lanes
        while size > self.channels:
            size //= 2
        found = e.register(size, isa.stored, broadcast(extreme(isa.stored, lowest=True), size))
        with line(e, self.channels, size) as at:
            found.set(maximum(found.get(), e.load(x, source + at, size)))
        return e.bind(over_lanes(e, found.get(), isa.stored, size, maximum), isa.stored)

    def _sum(self, e: Emitter, source: Expr, power: Callable[[Expr], Expr]) -> Expr:
        """Of all exponentials, as float32: in int32 as far as that holds them, of those in float64."""
        total = e.register(1, "float64", constant(0.0, "float64"))
        whole, rest = divmod(self.channels, _BLOCK)
        for first, size, count in ((0, _BLOCK, whole), (whole * _BLOCK, rest, 1)):
            with e.loop(0, count if size else 0) as block:
                sums = e.register(1, "int32", integer(0))
                with e.loop(0, size) as i:
                    sums.set(sums.get() + power(source + first + block * size + i))
                total.set(total.get() + cast("float64", sums.get()))
        return e.bind(cast("float32", total.get()), "float32")


def block(words: np.ndarray, exponentials: np.ndarray) -> bytes:
    """The constants. exponentials: int64 [256], of the differences 0, 1, ..."""
    table = np.zeros(2 * _DIFFERENCES, np.int32)
    table[:_DIFFERENCES] = exponentials[::-1]
    return words.tobytes() + table.tobytes()
