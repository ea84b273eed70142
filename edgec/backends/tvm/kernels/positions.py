"""Positions of the largest or smallest elements, of 8-bit integers that are compared as they are.

An element and its position make one number, a key:

    key = value * 2^22 + (2^22 - 1 - position)

so that the largest key is that of the largest value, and of equal ones of the first: keys are compared in vectors, in
any order. For the smallest, -value takes the place of the value. Values are within -255 ... 255: a key is an int32, and
below the largest int32, which is where looking for the k largest begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    Register,
    broadcast,
    cast,
    integer,
    maximum,
    ramp,
    select,
    shuffle,
    vector,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.boxes import Box, line
from edgec.backends.tvm.kernels.lanes import over_lanes
from edgec.backends.tvm.support.windows import MOST_POSITIONS

_LEAST = -(2**31)


def _keys(values: Expr, positions: Expr, lanes: int, *, smallest: bool) -> Expr:
    """values, positions: int32."""
    if smallest:
        values = broadcast(integer(0), lanes) - values
    most, last = (broadcast(integer(number), lanes) for number in (MOST_POSITIONS, MOST_POSITIONS - 1))
    return values * most + (last - positions)


def _position(key: Expr, lanes: int = 1) -> Expr:
    mask = broadcast(integer(MOST_POSITIONS - 1), lanes)
    return mask - (key & mask)


@dataclass(frozen=True)
class ArgReduce:
    """kept: what stays of x and y, but for the channels. count, step: of the dimension that vanishes; step is 0 where
    that is the channels. channels: how many there are. dtype: of the result."""

    function: Literal["max", "min"]
    dtype: str
    kept: Box
    count: int
    step: int
    channels: int

    @property
    def family(self) -> str:
        return f"arg_{self.function}"

    @property
    def units(self) -> int:
        """A unit is a pixel."""
        return self.kept.count

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, y = e.pointer("x", isa.stored), e.pointer("y", self.dtype)
        begin, end = e.scalar("begin"), e.scalar("end")
        smallest = self.function == "min"
        with e.loop(begin, end) as unit:
            source, goes = self.kept.at(e, unit)
            if not self.step:
                best = _best(e, isa, x, source, self.channels, smallest=smallest)
                e.store(y, goes, cast(self.dtype, _position(best)))
            for first in range(0, self.channels if self.step else 0, isa.lanes):
                self._channels(e, isa, x, y, source + first, goes + first, min(isa.lanes, self.channels - first))

    def _channels(
        self, e: Emitter, isa: InstructionSet, x: Pointer, y: Pointer, source: Expr, goes: Expr, size: int
    ) -> None:
        """Each of `size` channels for itself."""
        lanes, smallest = isa.lanes, self.function == "min"
        found = e.register(lanes, "int32", broadcast(integer(_LEAST), lanes))
        with e.loop(0, self.count) as i:
            (seen,) = isa.loaded(e, x, source + i * self.step, 1)
            found.set(maximum(found.get(), _keys(seen, broadcast(i, lanes), lanes, smallest=smallest)))
        made = e.bind(cast(vector(self.dtype, lanes), _position(found.get(), lanes)), vector(self.dtype, lanes))
        e.store(y, goes, shuffle([made], range(size)) if size < lanes else made, size)


@dataclass(frozen=True)
class TopK:
    """The k largest of all channels, in falling order, and their positions. kept: of x, y and the positions, but
    for the channels."""

    k: int
    kept: Box
    channels: int

    @property
    def family(self) -> str:
        return "top_k"

    @property
    def units(self) -> int:
        """A unit is a pixel."""
        return self.kept.count

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, y, found = e.pointer("x", isa.stored), e.pointer("y", isa.stored), e.pointer("positions", "int32")
        begin, end = e.scalar("begin"), e.scalar("end")
        with e.loop(begin, end) as unit:
            source, goes, there = self.kept.at(e, unit)
            before = e.register(1, "int32", integer(2**31 - 1))
            with e.loop(0, self.k) as i:
                best = e.bind(_best(e, isa, x, source, self.channels, below=before), "int32")
                e.store(y, goes + i, cast(isa.stored, best >> integer(MOST_POSITIONS.bit_length() - 1)))
                e.store(found, there + i, _position(best))
                before.set(best)


def _best(
    e: Emitter,
    isa: InstructionSet,
    x: Pointer,
    source: Expr,
    channels: int,
    *,
    smallest: bool = False,
    below: Register | None = None,
) -> Expr:
    """The largest key of all channels, of those that are below another one."""
    lanes = isa.lanes if channels >= isa.lanes else 1
    found = e.register(lanes, "int32", broadcast(integer(_LEAST), lanes))
    with line(e, channels, lanes) as at:
        seen = isa.loaded(e, x, source + at, 1)[0] if lanes > 1 else cast("int32", e.load(x, source + at))
        places = broadcast(at, lanes) + ramp(lanes) if lanes > 1 else at
        keys = e.bind(_keys(seen, places, lanes, smallest=smallest), vector("int32", lanes))
        if below is not None:
            keys = select(keys < broadcast(below.get(), lanes), keys, broadcast(integer(_LEAST), lanes))
        found.set(maximum(found.get(), keys))
    return over_lanes(e, found.get(), "int32", lanes, maximum)
