"""Variants of one kernel, compiled into one library and timed in turns: what runs in a worker."""

from __future__ import annotations

import ctypes
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgec import toolchain
from edgec.backends.tvm.generating import object_file
from edgec.backends.tvm.isa import named
from edgec.backends.tvm.kernels.base import HEADER, Kernel
from edgec.backends.tvm.storage import ALIGNMENT
from edgec.targets import Target

PATIENCE = 60.0
"""Seconds for all variants of one kernel, which take a few; on a board, for compiling them, and for timing them."""

_FEW, _MANY = 9, 31
"""Rounds: of all variants, and of those that are left."""

_LEFT = 3
"""Variants that are measured again, so that the luckiest of many is not taken for the fastest."""

LONG = 40_000
"""Nanoseconds of calls that one reading of the clock takes at least."""

_BETWEEN = 256 * 1024
"""Bytes of constants that calls go through in turns: in a model, weights do not come from the first-level cache."""


FILLING = 0x3F
"""Every byte of constants behind their first words. Each kernel wants weights in an order and a number of its own, and
what it computes of them is of no interest, but what it takes for factors is: denormal numbers take far longer to be
multiplied. As float32 these bytes are 0.747."""


@dataclass(frozen=True)
class Operand:
    """What a kernel is called with: at an offset of the arena, or constants of its own.

    size: bytes of constants. header: the first of them, which hold for the whole layer; `FILLING` follows.
    """

    offset: int = 0
    size: int = 0
    header: bytes = b""

    @classmethod
    def of_constants(cls, constants: bytes, size: int) -> Operand:
        """Constants of a kernel, and as many bytes as its variants want."""
        return cls(size=size, header=constants[: 4 * HEADER])


@dataclass(frozen=True)
class Timed:
    """The fastest of some variants, by its number, and nanoseconds of one call: of the default, and of that one. Both
    were measured in turns, and only such figures can be compared."""

    best: int
    default_time: float
    best_time: float


def fastest(
    default: Kernel, variants: Sequence[Kernel], operands: Sequence[Operand], arena: int, isa: str, target: Target
) -> Timed:
    """Compile and time variants of a kernel, at least one. arena: bytes."""
    kernels = dict(enumerate((default, *variants)))
    symbols = {f"variant{number}": kernel for number, kernel in kernels.items()}
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "kernels.o"
        made.write_bytes(object_file(symbols, named(isa), target))
        toolchain.find(target).link([made], made.with_suffix(".so"), target)
        library = ctypes.CDLL(str(made.with_suffix(".so")))
    memory = Memory(operands, arena)
    calls = {number: memory.caller(library[f"variant{number}"], kernel.units) for number, kernel in kernels.items()}
    return chosen(
        len(variants), lambda numbers, rounds: in_turns({number: calls[number] for number in numbers}, rounds)
    )


def chosen(count: int, measure: Callable[[Sequence[int], int], Mapping[int, float]]) -> Timed:
    """The fastest of `count` variants. measure: nanoseconds of the kernels of those numbers, in so many rounds; number
    0 is the default's, the variants follow."""
    times = measure(range(count + 1), _FEW)
    left = sorted(range(1, count + 1), key=lambda number: times[number])[:_LEFT]
    times = measure([0, *left], _MANY)
    best = min(left, key=lambda number: times[number])
    return Timed(best - 1, times[0], times[best])


def copies_of(operands: Sequence[Operand]) -> int:
    """How often constants are laid into memory."""
    return min(16, -(-_BETWEEN // max(sum(operand.size for operand in operands), 1)))


class Memory:
    """An arena, and constants as often as it takes."""

    def __init__(self, operands: Sequence[Operand], arena: int) -> None:
        self._arena = _aligned(arena)
        self._arena.fill(1)
        self._rows = [[self._address(operand) for operand in operands] for _ in range(copies_of(operands))]

    def _address(self, operand: Operand) -> int:
        if not operand.size:
            return int(self._arena.ctypes.data) + operand.offset
        block = _aligned(operand.size)
        block[: operand.size] = FILLING
        block[: len(operand.header)] = np.frombuffer(operand.header, np.uint8)
        self._blocks = [*getattr(self, "_blocks", []), block]
        return int(block.ctypes.data)

    def caller(self, function: Callable[..., object], units: int) -> Callable[[int, bool], int]:
        """A function that calls a kernel some times, and tells the nanoseconds; doing nothing, where it is idle."""
        rows = [[*map(ctypes.c_void_p, row)] for row in self._rows]

        def call(count: int, idle: bool) -> int:
            begin, end = ctypes.c_int32(0), ctypes.c_int32(0 if idle else units)
            began = time.perf_counter_ns()
            for number in range(count):
                function(*rows[number % len(rows)], begin, end)
            return time.perf_counter_ns() - began

        return call


def in_turns(calls: dict[int, Callable[[int, bool], int]], rounds: int) -> dict[int, float]:
    """Nanoseconds of one call of each: medians, less what calling takes."""
    counts = {}
    for number, call in calls.items():
        call(2, False)
        counts[number] = max(1, min(2000, LONG // max(1, call(1, False))))
    most = max(counts.values())
    seen: dict[int, list[float]] = {number: [] for number in calls}
    idle = []
    for _ in range(rounds):
        for number, call in calls.items():
            seen[number].append(call(most, False) / most)
            idle.append(call(most, True) / most)
    nothing = statistics.median(idle)
    return {number: max(1.0, statistics.median(values) - nothing) for number, values in seen.items()}


def _aligned(size: int) -> np.ndarray:
    """uint8, with slack on both sides, which kernels may read."""
    memory = np.zeros(size + 4 * ALIGNMENT, np.uint8)
    return memory[ALIGNMENT + -memory.ctypes.data % ALIGNMENT :]
