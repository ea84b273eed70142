"""Loops over lines of elements that lie one after the other, as vectors: exactly their elements count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    broadcast,
    divided,
    integer,
    minimum,
    ramp,
    remainder,
    select,
    shuffle,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.float_math import FloatMath
from edgec.backends.tvm.storage import SLACK

ACCUMULATORS = 4
"""Independent sums: as many additions are under way at once, and sums of many numbers lose less to rounding."""

Combine = Callable[[FloatMath, Expr, Expr], Expr]
"""Of two vectors, or two numbers: with functions of as many lanes."""

Element = Callable[[Expr], Expr]
"""The vector of what is reduced, at an offset into the line. Lanes behind the line's end may hold anything."""


def reading_lanes(isa: InstructionSet, size: int, itemsize: int = 4) -> int:
    """Lanes of vectors that read a line, and its pixel's padding: up to 64 bytes behind the line (`storage.SLACK`).

    itemsize: bytes of an element.
    """
    lanes, most = 4, min(isa.lanes, SLACK // itemsize)
    while lanes < min(size, most):
        lanes *= 2
    return min(lanes, most)


def writing_lanes(isa: InstructionSet, size: int) -> int:
    """Lanes of the longest vector that a line of `size` elements has place for."""
    lanes = isa.lanes
    while lanes > size:
        lanes //= 2
    return lanes


def reduced(
    functions: FloatMath, size: int, neutral: Expr, combine: Combine, element: Element, dtype: str = "float32"
) -> Expr:
    """One number of all elements of a line. neutral: changes nothing when it is combined."""
    e, lanes = functions.emitter, functions.lanes
    whole, rest = divmod(size, lanes)
    count = ACCUMULATORS if whole >= 2 * ACCUMULATORS else 1
    totals = [e.register(lanes, dtype, neutral) for _ in range(count)]
    if whole // count:
        with e.loop(0, whole // count) as part:
            for number, total in enumerate(totals):
                at = e.bind((part * count + number) * lanes, "int32")
                total.set(combine(functions, functions.bind(total.get(), dtype), functions.bind(element(at), dtype)))
    for number in range(whole % count):
        at = integer((whole - whole % count + number) * lanes)
        total = totals[number]
        total.set(combine(functions, functions.bind(total.get(), dtype), functions.bind(element(at), dtype)))
    if rest:
        inside = ramp(lanes) < broadcast(integer(rest), lanes)
        last = functions.bind(select(inside, element(integer(whole * lanes)), neutral), dtype)
        totals[-1].set(combine(functions, functions.bind(totals[-1].get(), dtype), last))
    made = functions.bind(totals[0].get(), dtype)
    for total in totals[1:]:
        made = functions.bind(combine(functions, made, functions.bind(total.get(), dtype)), dtype)
    return across(functions, made, combine, dtype)


def across(functions: FloatMath, value: Expr, combine: Combine, dtype: str = "float32") -> Expr:
    """One number of all lanes of a vector."""
    lanes = functions.lanes
    while lanes > 1:
        lanes //= 2
        half = FloatMath(functions.emitter, lanes)
        low = half.bind(shuffle([value], range(lanes)), dtype)
        high = half.bind(shuffle([value], range(lanes, 2 * lanes)), dtype)
        value = half.bind(combine(half, low, high), dtype)
    return value


def written(emitter: Emitter, lanes: int, size: int, store: Callable[[Expr], None]) -> None:
    """Call `store` with the offset of every vector of a line; the last one overlaps the one before where it has to."""
    with emitter.loop(0, -(-size // lanes)) as part:
        at = part * lanes
        if size % lanes:
            at = minimum(at, integer(size - lanes))
        store(emitter.bind(at, "int32"))


@dataclass(frozen=True)
class Box:
    """Dimensions that are looped over: sizes, and strides of each value that moves along."""

    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, sizes: Sequence[int], strides: Sequence[Sequence[int]]) -> Box:
        """Without dimensions of one element. strides: of each value, along each dimension."""
        kept = [axis for axis, size in enumerate(sizes) if size != 1]
        return cls(tuple(sizes[axis] for axis in kept), tuple(tuple(one[axis] for axis in kept) for one in strides))

    @property
    def count(self) -> int:
        made = 1
        for size in self.sizes:
            made *= size
        return made

    def places(self, emitter: Emitter, number: Expr) -> list[Expr]:
        """Where each value is at the element with that number."""
        found: list[Expr] = [integer(0)] * len(self.strides)
        left = number
        for axis in reversed(range(len(self.sizes))):
            at = remainder(left, self.sizes[axis]) if axis else left
            left = divided(left, self.sizes[axis])
            found = [place + at * steps[axis] for place, steps in zip(found, self.strides, strict=True)]
        return [emitter.bind(place, "int32") for place in found]
