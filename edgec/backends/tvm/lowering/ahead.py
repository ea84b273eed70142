"""Fetching the next layer's weights while this one computes.

A layer's weights are read once per inference, and those of a whole model do not fit into the second-level cache. So a
layer that computes much asks for a few cache lines of the next one's weights in every unit of work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgec.backends.tvm.kernels.dense import Dense
from edgec.backends.tvm.kernels.depthwise import Depthwise
from edgec.backends.tvm.program import Ahead, Place, Step

LINE = 64
"""Bytes of a cache line."""

_WORTH = 16 * 1024
"""Bytes of constants that are worth it: fewer come fast enough by themselves."""


def looking_ahead(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps, with those that compute products fetching for the next one that has many constants."""
    found: list[Step] = []
    following: Place | None = None
    for step in reversed(steps):
        kernel = step.kernel
        if isinstance(kernel, Dense | Depthwise):
            if following is not None and following.size >= _WORTH:
                lines = min(-(-following.size // LINE // kernel.units) + 1, kernel.fetches)
                found.append(replace(step, kernel=replace(kernel, ahead=True), ahead=Ahead(following, lines)))
            else:
                found.append(step)
            constants = [place for place in step.operands if place.memory == "constants"]
            following = constants[0] if constants else None  # a product of activations has none
        else:
            found.append(step)
    return tuple(reversed(found))
