"""Windows that keep the largest or the mean, and images of another size, of float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    cast,
    divided,
    integer,
    maximum,
    minimum,
    remainder,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.boxes import power_below
from edgec.backends.tvm.kernels.float_math import FloatMath
from edgec.backends.tvm.storage import Steps

_GROUP = 4
"""Vectors of channels that a window is run through with at once."""


@dataclass(frozen=True)
class Axis:
    """A window along rows or columns. results: how many. size: of x. taps: of the window. padding: before the first."""

    results: int
    size: int
    taps: int
    stride: int
    dilation: int
    padding: int

    @property
    def is_inside(self) -> bool:
        """Whether no window reaches beyond."""
        last = (self.results - 1) * self.stride - self.padding + (self.taps - 1) * self.dilation
        return self.padding == 0 and last < self.size

    def seen(self, emitter: Emitter, at: Expr) -> tuple[Expr | int, Expr | int]:
        """The taps [first, last) that the result at `at` sees inside of x."""
        if self.is_inside:
            return 0, self.taps
        start = at * self.stride - self.padding
        first = divided(maximum(integer(0) - start, integer(0)) + (self.dilation - 1), self.dilation)
        behind = divided(maximum(integer(self.size - 1 + self.dilation) - start, integer(0)), self.dilation)
        return emitter.bind(first, "int32"), emitter.bind(minimum(behind, integer(self.taps)), "int32")


@dataclass(frozen=True)
class FloatPool:
    """y = the largest of what a window sees, or the mean. Padding is not looked at, nor counted.

    images: of the result. rows, columns: of the windows. x, y: steps. pixel: elements of one, of x and y.
    """

    function: Literal["max", "mean"]
    images: int
    rows: Axis
    columns: Axis
    x: Steps
    y: Steps
    pixel: int

    @property
    def family(self) -> str:
        return f"float_{self.function}_pool_{self.rows.taps}x{self.columns.taps}"

    @property
    def units(self) -> int:
        """A unit is a row."""
        return self.images * self.rows.results

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, lanes = emitter, power_below(self.pixel, isa.lanes)
        x, y = e.pointer("x", "float32"), e.pointer("y", "float32")
        begin, end = e.scalar("begin"), e.scalar("end")
        vectors = -(-self.pixel // lanes)
        with e.loop(begin, end) as unit:
            image, row = divided(unit, self.rows.results), e.bind(remainder(unit, self.rows.results), "int32")
            image = e.bind(image, "int32")
            tops = self.rows.seen(e, row)
            with e.loop(0, self.columns.results) as column:
                lefts = self.columns.seen(e, column)
                corner = image * self.x.image
                corner = corner + (row * self.rows.stride - self.rows.padding) * self.x.row
                corner = corner + (column * self.columns.stride - self.columns.padding) * self.x.column
                corner = e.bind(corner, "int32")
                goes = e.bind(image * self.y.image + row * self.y.row + column * self.y.column, "int32")
                # Whole groups are a loop, what remains follows.
                whole = vectors // _GROUP
                if whole:
                    with e.loop(0, whole) as group:
                        self._group(e, lanes, x, y, corner, goes, tops, lefts, group * (_GROUP * lanes), _GROUP)
                if vectors % _GROUP:
                    first = integer(whole * _GROUP * lanes)
                    self._group(e, lanes, x, y, corner, goes, tops, lefts, first, vectors % _GROUP)

    def _group(
        self, e: Emitter, lanes: int, x: Pointer, y: Pointer, corner: Expr, goes: Expr,
        tops: tuple[Expr | int, Expr | int], lefts: tuple[Expr | int, Expr | int], first: Expr, count: int,
    ) -> None:  # fmt: skip
        """Neighbouring vectors of channels; the last one of a pixel is moved back to its end."""
        functions = FloatMath(e, lanes)
        starts = [
            e.bind(minimum(first + number * lanes, integer(self.pixel - lanes)), "int32") for number in range(count)
        ]
        neutral = functions.number(float("-inf") if self.function == "max" else 0.0)
        found = [e.register(lanes, "float32", neutral) for _ in starts]
        with e.loop(*tops) as i, e.loop(*lefts) as j:
            tap = i * (self.rows.dilation * self.x.row) + j * (self.columns.dilation * self.x.column)
            for start, made in zip(starts, found, strict=True):
                seen = functions.bind(e.load(x, corner + tap + start, lanes))
                known = functions.bind(made.get())
                made.set(functions.larger(known, seen) if self.function == "max" else known + seen)
        for start, made in zip(starts, found, strict=True):
            value = made.get()
            if self.function == "mean":
                value = value / broadcast(self._count(tops, lefts), lanes)
            e.store(y, goes + start, value, lanes)

    def _count(self, tops: tuple[Expr | int, Expr | int], lefts: tuple[Expr | int, Expr | int]) -> Expr:
        """How many pixels a window sees, as a float32."""
        rows = integer(tops[1]) - integer(tops[0])
        return cast("float32", rows * (integer(lefts[1]) - integer(lefts[0])))


@dataclass(frozen=True)
class FloatBilinear:
    """Each result between 4 pixels: first between rows, then between columns,

        (above * (1 - share) + below * share)

    Constants, 3 words for each row, then for each column: both sources' offsets (int32) and the share of the second
    (float32). pixel: elements of one, of x and y.
    """

    images: int
    rows: int
    columns: int
    x_image: int
    y: Steps
    pixel: int

    @property
    def family(self) -> str:
        return "float_bilinear"

    @property
    def units(self) -> int:
        """A unit is a row."""
        return self.images * self.rows

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, lanes = emitter, power_below(self.pixel, isa.lanes)
        functions = FloatMath(e, lanes)
        x, constants, y = e.pointer("x", "float32"), e.pointer("constants", "int32"), e.pointer("y", "float32")
        begin, end = e.scalar("begin"), e.scalar("end")

        def places(number: Expr) -> tuple[Expr, Expr, Expr, Expr]:
            """Both sources, and the share of the first and of the second."""
            one = FloatMath(e, 1)
            first, second = (e.bind(e.load(constants, number * 3 + word), "int32") for word in (0, 1))
            share = one.bind(one.from_bits(e.load(constants, number * 3 + 2)))
            return first, second, one.bind(one.number(1.0) - share), share

        with e.loop(begin, end) as unit:
            image, row = e.bind(divided(unit, self.rows), "int32"), e.bind(remainder(unit, self.rows), "int32")
            above, below, of_above, of_below = places(row)
            source = e.bind(image * self.x_image, "int32")
            with e.loop(0, self.columns) as column:
                left, right, of_left, of_right = places(integer(self.rows) + column)
                goes = e.bind(image * self.y.image + row * self.y.row + column * self.y.column, "int32")
                with e.loop(0, -(-self.pixel // lanes)) as part:
                    at = e.bind(minimum(part * lanes, integer(self.pixel - lanes)), "int32")

                    def between(side: Expr, at: Expr = at) -> Expr:
                        top = e.load(x, source + above + side + at, lanes) * broadcast(of_above, lanes)
                        bottom = e.load(x, source + below + side + at, lanes) * broadcast(of_below, lanes)
                        return functions.bind(top + bottom)

                    made = between(left) * broadcast(of_left, lanes) + between(right) * broadcast(of_right, lanes)
                    e.store(y, goes + at, made, lanes)
