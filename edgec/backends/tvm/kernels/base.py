"""What every kernel is, and what their last steps share.

A kernel is a frozen dataclass: all that its machine code depends on. Two layers with equal kernels share one function.
What differs between equal layers - weights, biases, scales, zero points - lies in the constants that the function is
handed; the first words of those are numbers for the whole layer, see `Word`.

The function is `void kernel(const operands..., result, int32_t begin, int32_t end)`: it does the units of work in
[begin, end) of `units`. Units may be done in any order and by several threads at once. Where two units write the same
byte (tiles overlap rather than have a remainder), they write the same value.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

import numpy as np

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    cast,
    constant,
    maximum,
    minimum,
    reinterpret,
)
from edgec.backends.tvm.isa.base import InstructionSet, StoredGrid

HEADER = 16
"""int32 words before everything else in a kernel's constants: a cache line."""

_LINE = 16  # int32 words of a cache line

_FAR = 65536.0  # steps that no 8-bit grid reaches, whatever its zero point: limiting there changes no result


class Word(IntEnum):
    """Places in the header. Floats are stored as their bits."""

    ZERO_POINT = 0  # of the result, as it is stored
    LOW = 1  # the least and the largest integer that the activation leaves, as they are stored
    HIGH = 2
    INNER_LOW = 3  # limits of the product before a sum that is computed with it, less its zero point
    INNER_HIGH = 4
    A_ZERO_POINT = 5  # of operands, as they are stored
    B_ZERO_POINT = 6
    A_SCALE = 7  # float32
    B_SCALE = 8
    SCALE = 9  # of the result
    FACTOR = 10
    NOTHING = 15  # 0, which LLVM does not know


class Fetching:
    """Fetches constants of a later layer, some cache lines in each unit of work.

    The kernel gets two more parameters: `const int32_t *ahead, int32_t lines`. Lines beyond what was meant may be
    fetched, even where there are none: that has no effect.
    """

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._ahead = emitter.pointer("ahead", "int32")
        self._lines = emitter.scalar("lines")

    def start(self, unit: Expr) -> None:
        """Begin a unit of work."""
        self._first = self._emitter.bind(unit * self._lines, "int32")

    def fetch(self, number: Expr) -> None:
        """Fetch the line with that number within the unit."""
        self._emitter.prefetch(self._ahead, (self._first + number) * _LINE)


class Kernel(Protocol):
    """Machine code to be."""

    @property
    def family(self) -> str:
        """What it is called in symbols and reports."""
        ...

    @property
    def units(self) -> int:
        """How many units of work there are."""
        ...

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        """Write the function's parameters and its body."""
        ...


def number(emitter: Emitter, constants: Pointer, word: Word) -> Expr:
    """An int32 of the header."""
    return emitter.load(constants, int(word))


def real_number(emitter: Emitter, constants: Pointer, word: Word) -> Expr:
    """A float32 of the header."""
    return reinterpret("float32", number(emitter, constants, word))


def result_grid(emitter: Emitter, constants: Pointer, limited: bool) -> StoredGrid:
    """The grid of the result. limited: whether an activation has other limits than the dtype."""
    limits = [number(emitter, constants, word) for word in (Word.LOW, Word.HIGH)] if limited else [None, None]
    return StoredGrid(number(emitter, constants, Word.ZERO_POINT), *limits)


def steps_rounded(emitter: Emitter, isa: InstructionSet, steps: Expr, far: bool) -> Expr:
    """Numbers of steps (float32) to int32. far: whether they may be beyond int32, where rounding is not defined."""
    if far:
        lanes = isa.lanes
        limit = broadcast(constant(_FAR, "float32"), lanes)
        steps = minimum(maximum(steps, broadcast(constant(-_FAR, "float32"), lanes)), limit)
    return emitter.bind(isa.rounded(steps), f"int32x{isa.lanes}")


def real_of(isa: InstructionSet, stored: Expr, zero_point: Expr, scale: Expr) -> Expr:
    """(integer - zero point) * scale, as `edgec.ir.reference.grid.real` computes it, not yet rounded for sure."""
    centred = stored - broadcast(zero_point, isa.lanes)
    return cast(f"float32x{isa.lanes}", centred) * broadcast(scale, isa.lanes)


def bits(value: float | np.float32) -> int:
    """A float32's bits as an int32, for the header."""
    return int(np.float32(value).view(np.int32))


def split(channels: int, lanes: int) -> list[int]:
    """Vectors of `lanes` channels in groups of 4, 2 and 1."""
    vectors, groups = -(-channels // lanes), []
    for size in (4, 2, 1):
        groups += [size] * (vectors // size)
        vectors %= size
    return groups
