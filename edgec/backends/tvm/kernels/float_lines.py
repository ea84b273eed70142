"""Lines of elements that lie one after the other, read as vectors: exactly their elements count."""

from __future__ import annotations

from collections.abc import Callable

from edgec.backends.tvm.emitter import Expr, broadcast, integer, ramp, select, shuffle
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
