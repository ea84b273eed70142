"""Windows that keep the largest or the mean, on 8-bit integers."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    broadcast,
    cast,
    divided,
    integer,
    maximum,
    minimum,
    remainder,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import (
    Word,
    number,
    real_number,
    result_grid,
    split,
    steps_rounded,
)
from edgec.backends.tvm.kernels.lanes import extreme
from edgec.backends.tvm.storage import Steps


@dataclass(frozen=True)
class MaxPool:
    """y = the largest integer that the window sees; padding is not looked at, so it never wins.

    images, rows, columns: of the result. height, width: of x. x, y: from pixel to pixel. kernel, stride, dilation: rows
    and columns. top, left: padding. pixel: bytes of a pixel.
    """

    images: int
    rows: int
    columns: int
    height: int
    width: int
    x: Steps
    y: Steps
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    top: int
    left: int
    pixel: int

    @property
    def family(self) -> str:
        return f"max_pool_{self.kernel[0]}x{self.kernel[1]}"

    @property
    def units(self) -> int:
        """A unit is a row."""
        return self.images * self.rows

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, y = e.pointer("x", isa.stored), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        with e.loop(begin, end) as unit:
            image, row = divided(unit, self.rows), remainder(unit, self.rows) if self.images > 1 else unit
            with e.loop(0, self.columns) as column:
                first_row, last_row = _seen(
                    e, row, self.stride[0], self.top, self.dilation[0], self.kernel[0], self.height
                )
                first, last = _seen(e, column, self.stride[1], self.left, self.dilation[1], self.kernel[1], self.width)
                corner = row * (self.stride[0] * self.x.row) + column * (self.stride[1] * self.x.column)
                start = e.bind(
                    image * self.x.image + corner - (self.top * self.x.row + self.left * self.x.column), "int32"
                )
                goes = e.bind(image * self.y.image + row * self.y.row + column * self.y.column, "int32")
                done = 0
                for group in split(self.pixel, isa.lanes):
                    size = group * isa.lanes
                    found = e.register(size, isa.stored, broadcast(extreme(isa.stored, True), size))
                    with e.loop(first_row, last_row) as i, e.loop(first, last) as j:
                        tap = i * (self.dilation[0] * self.x.row) + j * (self.dilation[1] * self.x.column)
                        found.set(maximum(found.get(), e.load(x, start + tap + done, size)))
                    e.store(y, goes + done, found.get(), size)
                    done += size


def _seen(e: Emitter, at: Expr, stride: int, padding: int, dilation: int, taps: int, size: int) -> tuple[Expr, Expr]:
    """The taps of a window that lie inside of the image, [first, last), for the result at `at`."""
    start = at * stride - padding
    first = divided(maximum(integer(0) - start, integer(0)) + (dilation - 1), dilation)
    last = divided(maximum(integer(size - 1 + dilation) - start, integer(0)), dilation)
    return e.bind(first, "int32"), e.bind(minimum(last, integer(taps)), "int32")


@dataclass(frozen=True)
class AveragePool:
    """y = clamp(round(float32(sum of (x - zx)) / float32(count) * (sx / sy)) + zy), each operation in float32.

    Both are of what lies inside of the image. The fields are those of `MaxPool`. far: steps may be beyond int32.
    """

    images: int
    rows: int
    columns: int
    height: int
    width: int
    x: Steps
    y: Steps
    kernel: tuple[int, int]
    stride: tuple[int, int]
    top: int
    left: int
    pixel: int
    far: bool = False

    @property
    def family(self) -> str:
        return f"average_pool_{self.kernel[0]}x{self.kernel[1]}"

    @property
    def units(self) -> int:
        """A unit is a row."""
        return self.images * self.rows

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, lanes = emitter, isa.lanes
        x, constants, y = e.pointer("x", isa.stored), e.pointer("constants", "int32"), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        with e.loop(begin, end) as unit:
            image, row = divided(unit, self.rows), remainder(unit, self.rows)
            rows = _seen(e, row, self.stride[0], self.top, 1, self.kernel[0], self.height)
            with e.loop(0, self.columns) as column:
                columns = _seen(e, column, self.stride[1], self.left, 1, self.kernel[1], self.width)
                count = e.bind((rows[1] - rows[0]) * (columns[1] - columns[0]), "int32")
                begins = e.bind(integer(0) - number(e, constants, Word.A_ZERO_POINT) * count, "int32")
                corner = row * (self.stride[0] * self.x.row) + column * (self.stride[1] * self.x.column)
                before = self.top * self.x.row + self.left * self.x.column
                start = e.bind(image * self.x.image + corner - before, "int32")
                goes = e.bind(image * self.y.image + row * self.y.row + column * self.y.column, "int32")
                done = 0
                for group in split(self.pixel, lanes):
                    sums = [e.register(lanes, "int32", broadcast(begins, lanes)) for _ in range(group)]
                    with e.loop(*rows) as i, e.loop(*columns) as j:
                        seen = isa.loaded(e, x, start + i * self.x.row + j * self.x.column + done, group)
                        for total, item in zip(sums, seen, strict=True):
                            total.set(total.get() + item)
                    divisor = broadcast(cast("float32", count), lanes)
                    factor = broadcast(real_number(e, constants, Word.FACTOR), lanes)
                    steps = [cast(f"float32x{lanes}", total.get()) / divisor * factor for total in sums]
                    rounded = [steps_rounded(e, isa, item, self.far) for item in steps]
                    isa.narrowed(e, rounded, result_grid(e, constants, False), y, goes + done)
                    done += group * lanes
