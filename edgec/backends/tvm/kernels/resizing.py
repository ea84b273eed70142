"""Resizing with bilinear interpolation, of 8-bit integers.

    left  = (x[above, left] - zx) * (1 - v) + (x[below, left] - zx) * v         v: the row's share of what is below
    right = likewise
    y = clamp(round((left * (1 - h) + right * h) * (sx / sy)) + zy)             h: the column's share of what is right

which is `edgec.ir.reference.windows`: each operation in float32, rounded by itself. Positions and shares are tables:

    constants: [header][above][below][1 - v][v] of each row, [left][right][1 - h][h] of each column

with the four numbers of a row or column side by side, and positions in bytes of x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    cast,
    divided,
    exactly,
    integer,
    reinterpret,
    remainder,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import (
    HEADER,
    Word,
    number,
    real_number,
    result_grid,
    split,
    steps_rounded,
)
from edgec.backends.tvm.storage import Steps

_NUMBERS = 4  # of a row or column


@dataclass(frozen=True)
class Bilinear:
    """images, rows, columns: of the result. x: bytes from image to image. y: its steps. pixel: bytes of a pixel.
    far: steps may be beyond int32."""

    images: int
    rows: int
    columns: int
    x: int
    y: Steps
    pixel: int
    far: bool = False

    @property
    def family(self) -> str:
        return "bilinear"

    @property
    def units(self) -> int:
        """A unit is a row."""
        return self.images * self.rows

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, lanes = emitter, isa.lanes
        x, constants, y = e.pointer("x", isa.stored), e.pointer("constants", "int32"), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        zero_point = e.bind(broadcast(number(e, constants, Word.A_ZERO_POINT), lanes), f"int32x{lanes}")
        factor = e.bind(broadcast(real_number(e, constants, Word.FACTOR), lanes), f"float32x{lanes}")
        grid = result_grid(e, constants, False)
        with e.loop(begin, end) as unit:
            image, row = divided(unit, self.rows), remainder(unit, self.rows)
            rows, from_above, from_below = self._table(e, constants, integer(HEADER) + row * _NUMBERS, lanes)
            source = e.bind(image * self.x, "int32")
            with e.loop(0, self.columns) as column:
                first = integer(HEADER + _NUMBERS * self.rows) + column * _NUMBERS
                columns, from_left, from_right = self._table(e, constants, first, lanes)
                goes = e.bind(image * self.y.image + row * self.y.row + column * self.y.column, "int32")
                done = 0
                for group in split(self.pixel, lanes):
                    sides = []
                    for side in columns:
                        seen = [isa.loaded(e, x, source + at + side + done, group) for at in rows]
                        above, below = ([cast(f"float32x{lanes}", item - zero_point) for item in part] for part in seen)
                        pairs = zip(above, below, strict=True)
                        sides.append([_between(e, a, b, from_above, from_below, lanes) for a, b in pairs])
                    values = [_between(e, a, b, from_left, from_right, lanes) for a, b in zip(*sides, strict=True)]
                    rounded = [steps_rounded(e, isa, value * factor, self.far) for value in values]
                    isa.narrowed(e, rounded, grid, y, goes + done)
                    done += group * lanes

    def _table(self, e: Emitter, constants: Pointer, first: Expr, lanes: int) -> tuple[list[Expr], Expr, Expr]:
        """The two positions, and the share of each."""
        places = [e.bind(e.load(constants, first + at), "int32") for at in (0, 1)]
        floats = f"float32x{lanes}"
        shares = [
            e.bind(broadcast(reinterpret("float32", e.load(constants, first + at)), lanes), floats) for at in (2, 3)
        ]
        return places, shares[0], shares[1]


def _between(e: Emitter, a: Expr, b: Expr, share_of_a: Expr, share_of_b: Expr, lanes: int) -> Expr:
    floats = f"float32x{lanes}"
    return e.bind(exactly(floats, a * share_of_a) + exactly(floats, b * share_of_b), floats)


def tables(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray], columns: tuple[np.ndarray, np.ndarray, np.ndarray], x: Steps
) -> bytes:
    """What lies behind the header. rows, columns: both sources of each, int64, and the share of the second, float32."""
    made = []
    for (first, second, share), step in ((rows, x.row), (columns, x.column)):
        places = [(item * step).astype(np.int32) for item in (first, second)]
        shares = [item.astype(np.float32).view(np.int32) for item in (1 - share, share)]
        made.append(np.stack([*places, *shares], 1).tobytes())
    return b"".join(made)
