"""Between float32 and stored integers.

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
    shuffle,
    vector,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Word, number, real_number, result_grid
from edgec.backends.tvm.kernels.boxes import Box, line, power_below
from edgec.backends.tvm.storage import Steps

Strides = tuple[int, int, int, int]
"""Elements from one image, row, column, channel of an array to the next."""

_FAR = 65536.0
_BLOCK = 16  # elements: bytes of the shortest group that every instruction set narrows


@dataclass(frozen=True)
class Quantize:
    """Of lines. box: of x and y, both contiguous along the last dimension."""

    box: Box

    @property
    def family(self) -> str:
        return "quantize"

    @property
    def units(self) -> int:
        """A unit is all of the inner dimensions."""
        return self.box.units(1)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, length = emitter, self.box.shape[-1]
        x, constants, y = e.pointer("x", "float32"), e.pointer("constants", "int32"), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        with self.box.places(e, begin, end, 1) as (source, goes):
            if length < _BLOCK:
                with e.loop(0, length) as i:
                    value = _integers(e, constants, e.load(x, source + i), 1, _rounded)
                    e.store(y, goes + i, cast(isa.stored, value))
                return
            vectors = _BLOCK // isa.lanes
            order = isa.order(vectors)
            with line(e, length, _BLOCK) as at:
                loaded = [
                    e.bind(e.load(x, source + at + v * isa.lanes, isa.lanes), vector("float32", isa.lanes))
                    for v in range(vectors)
                ]
                if (order.ravel() != range(_BLOCK)).any():
                    loaded = [shuffle(loaded, lanes) for lanes in order]
                rounded = [isa.rounded(_steps(e, constants, value, isa.lanes)) for value in loaded]
                named = [e.bind(item, vector("int32", isa.lanes)) for item in rounded]
                isa.narrowed(e, named, result_grid(e, constants, False), y, goes + at, _BLOCK)


@dataclass(frozen=True)
class QuantizePixels:
    """Of a few channels that are planes: one pixel in each lane, its channels put side by side in a word.

    shape: [N, H, W, C] of the result, whose pixels take 4 bytes; there are as many columns as lanes, or more. x: of the
    caller's array. y: steps of the result.
    """

    shape: tuple[int, int, int, int]
    x: Strides
    y: Steps

    @property
    def family(self) -> str:
        return "quantize_pixels"

    @property
    def units(self) -> int:
        """A unit is a row."""
        return self.shape[0] * self.shape[1]

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, lanes = emitter, isa.lanes
        x, constants, y = e.pointer("x", "float32"), e.pointer("constants", "int32"), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        _, rows, columns, channels = self.shape
        with e.loop(begin, end) as unit:
            image, row = divided(unit, rows), remainder(unit, rows)
            source = e.bind(image * self.x[0] + row * self.x[1], "int32")
            target = e.bind(image * self.y.image + row * self.y.row, "int32")
            with line(e, columns, lanes) as column:
                pixels = None
                for channel in range(channels):
                    value = e.load(x, source + column + channel * self.x[3], lanes)
                    stored = _integers(e, constants, value, lanes, isa.rounded) & broadcast(integer(255), lanes)
                    placed = stored << broadcast(integer(8 * channel), lanes)
                    pixels = e.bind(placed if pixels is None else pixels | placed, vector("int32", lanes))
                bytes_ = reinterpret(vector(isa.stored, 4 * lanes), pixels)
                e.store(y, target + column * self.y.column, bytes_, 4 * lanes)


def _steps(e: Emitter, constants: Pointer, value: Expr, lanes: int) -> Expr:
    """Numbers in steps of the result. Those beyond 16 bits are limited before they are rounded, because rounding is not
    defined for all of them; that changes nothing."""
    steps = value / broadcast(real_number(e, constants, Word.SCALE), lanes)
    steps = maximum(steps, broadcast(constant(-_FAR, "float32"), lanes))
    return minimum(steps, broadcast(constant(_FAR, "float32"), lanes))


def _integers(e: Emitter, constants: Pointer, value: Expr, lanes: int, rounded: Callable[[Expr], Expr]) -> Expr:
    """Numbers to integers on the grid of the result, int32."""
    integers = rounded(_steps(e, constants, value, lanes)) + broadcast(number(e, constants, Word.ZERO_POINT), lanes)
    integers = maximum(integers, broadcast(number(e, constants, Word.LOW), lanes))
    return minimum(integers, broadcast(number(e, constants, Word.HIGH), lanes))


@dataclass(frozen=True)
class Dequantize:
    """Of lines. box: of x and y, both contiguous along the last dimension."""

    box: Box

    @property
    def family(self) -> str:
        return "dequantize"

    @property
    def units(self) -> int:
        """A unit is all of the inner dimensions."""
        return self.box.units(1)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, length = emitter, self.box.shape[-1]
        x, constants, y = e.pointer("x", isa.stored), e.pointer("constants", "int32"), e.pointer("y", "float32")
        begin, end = e.scalar("begin"), e.scalar("end")
        lanes = power_below(length, _BLOCK)
        zero_point = broadcast(number(e, constants, Word.A_ZERO_POINT), lanes)
        scale = broadcast(real_number(e, constants, Word.A_SCALE), lanes)
        with self.box.places(e, begin, end, 1) as (source, goes), line(e, length, lanes) as at:
            stored = cast(vector("int32", lanes), e.load(x, source + at, lanes))
            e.store(y, goes + at, cast(vector("float32", lanes), stored - zero_point) * scale, lanes)


def _rounded(steps: Expr) -> Expr:
    """A float32 within int32 to an int32, half to even."""
    return cast("int32", intrinsic("float32", "llvm.rint", steps))
