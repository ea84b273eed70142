"""Which steps are worth being divided among threads.

Another core has to see that a step has begun, fetch what the first one has written, and tell that it is done: some
hundred nanoseconds each, whatever the step computes. A step of a few microseconds is over before that.
"""

from __future__ import annotations

import math

from edgec.backends.tvm.kernels.elementwise import Arithmetic
from edgec.backends.tvm.program import Place, Program, Step

_VECTOR = 64
"""Bytes: the unit of work is an instruction on a vector of the longest kind. On shorter ones there are more of them."""

_INSTRUCTIONS = 4
"""On a vector that is read or written, if it is not multiplied by weights."""

_REAL = 20
"""The same where real numbers are computed: a vector of bytes becomes four of float32, which become bytes again."""

WORTH = 16 * 1024
"""Instructions of a step that is divided: some microseconds."""


def is_divided(step: Step, program: Program) -> bool:
    """Whether threads share the step's units."""
    return step.kernel.units > 1 and work(step, program) >= WORTH


def work(step: Step, program: Program) -> int:
    """About how many vectors a step multiplies, reads or writes. A product reads all its weights for each pixel."""
    constants = sum(place.size for place in step.operands if place.memory == "constants")
    values = [_pixels_and_bytes(place, program) for place in step.operands if place.memory != "constants"]
    pixels = max(pixels for pixels, _ in values[-step.written :])
    instructions = _REAL if isinstance(step.kernel, Arithmetic) else _INSTRUCTIONS
    return pixels * constants // _VECTOR + sum(size for _, size in values) * instructions // _VECTOR


def _pixels_and_bytes(place: Place, program: Program) -> tuple[int, int]:
    """Of the value that a place is in."""
    if place.memory == "arena":
        storage = program.storages[place.value]
        return math.prod(storage.shape[:3]), storage.size
    border = (program.inputs if place.memory == "input" else program.outputs)[place.index]
    return math.prod(border.shape[:-1]), border.nbytes
