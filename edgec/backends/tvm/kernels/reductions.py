"""Sums, means, largest and smallest elements along axes, of 8-bit integers.

    mean: y = clamp(round(float32(sum of (x - zx)) / float32(count) * (sx / sy)) + zy)
    sum:  y = clamp(round(float32(sum of (x - zx)) * (sx / sy)) + zy)      each operation in float32
    max, min: the largest or smallest integer; x and y are on one grid

which is `edgec.ir.reference.reductions` to the bit: the sums are exact, in whatever order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

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
    minimum,
    remainder,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Word, number, real_number, result_grid, steps_rounded
from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.lanes import channel_sum, extreme, over_lanes, store_one

Function = Literal["mean", "sum", "max", "min"]


@dataclass(frozen=True)
class Reduce:
    """kept: of x and y, what stays, but for the channels; taken: (size, step of x) of each dimension that vanishes,
    likewise. channels: how many there are. pixel: bytes of a pixel, where channels stay, and
    each is reduced for itself; None where they vanish too.
    """

    function: Function
    kept: Box
    taken: tuple[tuple[int, int], ...]
    channels: int
    pixel: int | None
    far: bool = False

    @property
    def family(self) -> str:
        return f"reduce_{self.function}"

    @property
    def places(self) -> int:
        """How many results there are, or pixels of them."""
        return self.kept.count

    @property
    def count(self) -> int:
        """How many elements become one."""
        return math.prod(size for size, _ in self.taken) * (1 if self.pixel else self.channels)

    @property
    def units(self) -> int:
        """A unit is a result, or a vector of channels of a result: as many units as there may be, with any vectors."""
        return self.places * (self.pixel // _UNIT if self.pixel else 1)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, constants, y = e.pointer("x", isa.stored), e.pointer("constants", "int32"), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        blocks = self.pixel // _UNIT if self.pixel else 1
        with e.loop(begin, end) as unit:
            source, goes = self.kept.at(e, divided(unit, blocks))
            channel = remainder(unit, blocks) * _UNIT
            source, goes = e.bind(source + channel, "int32"), e.bind(goes + channel, "int32")
            write = self._channels if self.pixel else self._whole
            write(e, isa, (x, constants, y), source, goes)

    @property
    def _adds(self) -> bool:
        return self.function in ("mean", "sum")

    @property
    def _extreme(self) -> Callable[[Expr, Expr], Expr]:
        return maximum if self.function == "max" else minimum

    def _steps(self, e: Emitter, constants: Pointer, total: Expr, lanes: int) -> Expr:
        """Sums in steps of the result's grid."""
        real = cast(f"float32x{lanes}" if lanes > 1 else "float32", total)
        if self.function == "mean":
            real = real / broadcast(constant(float(self.count), "float32"), lanes)
        return real * broadcast(real_number(e, constants, Word.FACTOR), lanes)

    def _shift(self, e: Emitter, constants: Pointer) -> Expr:
        """What a sum begins with, so that it is one of x - zx."""
        return integer(0) - number(e, constants, Word.A_ZERO_POINT) * integer(self.count)

    @contextmanager
    def _elements(self, e: Emitter, start: Expr) -> Iterator[Expr]:
        """Statements for every pixel that is taken."""
        with ExitStack() as loops:
            place = start
            for size, step in self.taken:
                place = place + loops.enter_context(e.loop(0, size)) * step
            yield e.bind(place, "int32")

    def _channels(
        self, e: Emitter, isa: InstructionSet, memory: tuple[Pointer, Pointer, Pointer], source: Expr, goes: Expr
    ) -> None:
        """16 channels, each for itself."""
        x, constants, y = memory
        lanes, vectors = isa.lanes, _UNIT // isa.lanes
        if not self._adds:
            found = e.register(_UNIT, isa.stored, broadcast(extreme(isa.stored, self.function == "max"), _UNIT))
            with self._elements(e, source) as place:
                found.set(self._extreme(found.get(), e.load(x, place, _UNIT)))
            e.store(y, goes, found.get(), _UNIT)
            return
        sums = [e.register(lanes, "int32", broadcast(self._shift(e, constants), lanes)) for _ in range(vectors)]
        with self._elements(e, source) as place:
            for total, item in zip(sums, isa.loaded(e, x, place, vectors), strict=True):
                total.set(total.get() + item)
        steps = [self._steps(e, constants, total.get(), lanes) for total in sums]
        rounded = [steps_rounded(e, isa, item, self.far) for item in steps]
        isa.narrowed(e, rounded, result_grid(e, constants, False), y, goes)

    def _whole(
        self, e: Emitter, isa: InstructionSet, memory: tuple[Pointer, Pointer, Pointer], source: Expr, goes: Expr
    ) -> None:
        """All channels, to one number."""
        x, constants, y = memory
        if self._adds:
            total = self._shift(e, constants) + channel_sum(e, isa, x, self._elements(e, source), self.channels)
            store_one(e, isa, self._steps(e, constants, total, 1), self.far, constants, y, goes)
            return
        lowest, combine = extreme(isa.stored, self.function == "max"), self._extreme
        parts = _parts(self.channels, 4 * isa.lanes)
        found = {size: e.register(size, isa.stored, broadcast(lowest, size)) for size in {size for _, size, _ in parts}}
        with self._elements(e, source) as place:
            for first, size, count in parts:
                with e.loop(0, count) as i:
                    seen = e.load(x, place + first + i * size, size)
                    found[size].set(combine(found[size].get(), seen))
        best = lowest
        for size, register in found.items():
            best = combine(best, over_lanes(e, register.get(), isa.stored, size, combine))
        e.store(y, goes, best)


_UNIT = 16
"""Channels of a unit where channels stay: pixels are multiples of it."""


def _parts(size: int, most: int) -> list[tuple[int, int, int]]:
    """A line in vectors of at most `most`, a power of 2, without reaching beyond: (first, lanes, how many)."""
    found, done, lanes = [], 0, most
    while done < size:
        if count := (size - done) // lanes:
            found.append((done, lanes, count))
            done += count * lanes
        lanes //= 2
    return found
