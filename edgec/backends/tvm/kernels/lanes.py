"""One number out of all lanes of a vector, and one number rounded as vectors are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from operator import add

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    cast,
    constant,
    integer,
    maximum,
    minimum,
    shuffle,
    vector,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Word, number, split, steps_rounded


def over_lanes(e: Emitter, value: Expr, dtype: str, lanes: int, combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """combine() of all lanes, which may be taken in any order: halves of the vector, halves of those, ..."""
    value = e.bind(value, vector(dtype, lanes))
    while lanes > 1:
        lanes //= 2
        low, high = shuffle([value], range(lanes)), shuffle([value], range(lanes, 2 * lanes))
        value = e.bind(combine(low, high), vector(dtype, lanes))
    return value


def channel_sum(
    e: Emitter, isa: InstructionSet, x: Pointer, places: AbstractContextManager[Expr], channels: int
) -> Expr:
    """The sum of stored integers, of `channels` from each place on: int32."""
    lanes = isa.lanes
    whole, rest = divmod(channels, lanes)
    sums, total = e.register(lanes, "int32", broadcast(integer(0), lanes)), e.register(1, "int32", integer(0))
    with places as place:
        done = 0
        for group, count in repeated(split(whole * lanes, lanes)):
            with e.loop(0, count) as i:
                for item in isa.loaded(e, x, place + done + i * (group * lanes), group):
                    sums.set(sums.get() + item)
            done += count * group * lanes
        if rest:
            with e.loop(0, rest) as i:
                total.set(total.get() + cast("int32", e.load(x, place + whole * lanes + i)))
    return total.get() + over_lanes(e, sums.get(), "int32", lanes, add)


def store_one(
    e: Emitter, isa: InstructionSet, steps: Expr, far: bool, constants: Pointer, y: Pointer, offset: Expr
) -> None:
    """Store round(steps) + zero point of one float32, within LOW and HIGH of the header."""
    # Rounded as a vector: not every processor has an instruction for one number.
    whole = steps_rounded(e, isa, broadcast(steps, isa.lanes), far)
    limited = maximum(shuffle([whole], [0]) + number(e, constants, Word.ZERO_POINT), number(e, constants, Word.LOW))
    e.store(y, offset, cast(isa.stored, minimum(limited, number(e, constants, Word.HIGH))))


def extreme(dtype: str, lowest: bool) -> Expr:
    """The least or the largest 8-bit integer of a dtype."""
    low = -128 if dtype == "int8" else 0
    return constant(low if lowest else low + 255, dtype)


def repeated(groups: Sequence[int]) -> list[tuple[int, int]]:
    """Groups of vectors, the equal ones once, and how many: loops are shorter than what is written out."""
    return [(group, groups.count(group)) for group in dict.fromkeys(groups)]
