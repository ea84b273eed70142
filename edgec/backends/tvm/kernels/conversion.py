"""Between the caller's float32 and stored integers. The caller's arrays are in the model's order of dimensions.

quantize:   y = clamp(round(x / sy) + zy)
dequantize: y = float32(x - zx) * sx
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    cast,
    constant,
    divided,
    integer,
    intrinsic,
    maximum,
    minimum,
    reinterpret,
    remainder,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Word, number, real_number
from edgec.backends.tvm.storage import Steps

Strides = tuple[int, int, int, int]
"""Elements from one image, row, column, channel of an array to the next."""

_FAR = 65536.0


@dataclass(frozen=True)
class Quantize:
    """shape: [N, H, W, C] of the result. x: of the caller's array. y: steps of the result."""

    shape: tuple[int, int, int, int]
    x: Strides
    y: Steps

    @property
    def family(self) -> str:
        return "quantize"

    @property
    def units(self) -> int:
        """A unit is a row."""
        return self.shape[0] * self.shape[1]

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, constants, y = e.pointer("x", "float32"), e.pointer("constants", "int32"), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        _, rows, columns, channels = self.shape
        lanes = isa.lanes if self._in_pixels(isa) else 1
        with e.loop(begin, end) as unit:
            image, row = divided(unit, rows), remainder(unit, rows)
            source = e.bind(image * self.x[0] + row * self.x[1], "int32")
            target = e.bind(image * self.y.image + row * self.y.row, "int32")
            with e.loop(0, -(-columns // lanes)) as tile:
                column = tile * lanes
                if columns % lanes:
                    column = minimum(column, integer(columns - lanes))
                column = e.bind(column, "int32")
                if lanes == 1:
                    with e.loop(0, channels) as channel:
                        value = e.load(x, source + column * self.x[2] + channel * self.x[3])
                        goes = target + column * self.y.column + channel
                        e.store(y, goes, cast(isa.stored, self._stored(e, constants, value, 1, _rounded)))
                else:
                    self._pixels(e, isa, x, constants, y, source + column, target + column * self.y.column)

    def _in_pixels(self, isa: InstructionSet) -> bool:
        """Whether whole pixels of 4 bytes can be made at once, of channels that are planes."""
        return self.y.column == 4 and self.x[2] == 1 and self.shape[2] >= isa.lanes

    def _pixels(
        self, e: Emitter, isa: InstructionSet, x: Pointer, constants: Pointer, y: Pointer, source: Expr, target: Expr
    ) -> None:
        """One pixel in each lane: its channels are put side by side in a word."""
        lanes, words = isa.lanes, f"int32x{isa.lanes}"
        pixels = None
        for channel in range(self.shape[3]):
            value = e.load(x, source + channel * self.x[3], lanes)
            stored = self._stored(e, constants, value, lanes, isa.rounded) & broadcast(integer(255), lanes)
            placed = stored << broadcast(integer(8 * channel), lanes)
            pixels = e.bind(placed if pixels is None else pixels | placed, words)
        e.store(y, target, reinterpret(f"{isa.stored}x{4 * lanes}", pixels), 4 * lanes)

    def _stored(self, e: Emitter, constants: Pointer, value: Expr, lanes: int, rounded: Callable[[Expr], Expr]) -> Expr:
        """Numbers to integers on the grid of the result, int32. Numbers beyond 16 bits are limited before they are
        rounded, because rounding is not defined for all of them; that changes nothing."""
        steps = value / broadcast(real_number(e, constants, Word.SCALE), lanes)
        steps = maximum(steps, broadcast(constant(-_FAR, "float32"), lanes))
        steps = minimum(steps, broadcast(constant(_FAR, "float32"), lanes))
        integers = rounded(steps) + broadcast(number(e, constants, Word.ZERO_POINT), lanes)
        integers = maximum(integers, broadcast(number(e, constants, Word.LOW), lanes))
        return minimum(integers, broadcast(number(e, constants, Word.HIGH), lanes))


@dataclass(frozen=True)
class Dequantize:
    """shape: [N, H, W, C] of x. x: its steps. y: strides of the caller's array."""

    shape: tuple[int, int, int, int]
    x: Steps
    y: Strides

    @property
    def family(self) -> str:
        return "dequantize"

    @property
    def units(self) -> int:
        """A unit is a row."""
        return self.shape[0] * self.shape[1]

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, constants, y = e.pointer("x", isa.stored), e.pointer("constants", "int32"), e.pointer("y", "float32")
        begin, end = e.scalar("begin"), e.scalar("end")
        _, rows, columns, channels = self.shape
        lanes = isa.lanes if self.y[3] == 1 and channels >= isa.lanes else 1
        with e.loop(begin, end) as unit:
            image, row = divided(unit, rows), remainder(unit, rows)
            source = e.bind(image * self.x.image + row * self.x.row, "int32")
            target = e.bind(image * self.y[0] + row * self.y[1], "int32")
            with e.loop(0, columns) as column, e.loop(0, -(-channels // lanes)) as tile:
                channel = tile * lanes
                if channels % lanes:
                    channel = minimum(channel, integer(channels - lanes))
                channel = e.bind(channel, "int32")
                place = source + column * self.x.column + channel
                stored = isa.loaded(e, x, place, 1)[0] if lanes > 1 else cast("int32", e.load(x, place))
                centred = stored - broadcast(number(e, constants, Word.A_ZERO_POINT), lanes)
                floats = f"float32x{lanes}" if lanes > 1 else "float32"
                real = cast(floats, centred) * broadcast(real_number(e, constants, Word.A_SCALE), lanes)
                e.store(y, target + column * self.y[2] + channel * self.y[3], real, lanes)


def _rounded(steps: Expr) -> Expr:
    """A float32 within int32 to an int32, half to even."""
    return cast("int32", intrinsic("float32", "llvm.rint", steps))
