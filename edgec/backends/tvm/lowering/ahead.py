"""Fetching the next layer's weights while this one computes.

A layer's weights are read once per inference, and those of a whole model do not fit into the second-level cache. So a
layer that computes much asks for a few cache lines of the next one's weights in every unit of work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgec.backends.tvm.kernels.dense import Dense
from edgec.backends.tvm.kernels.depthwise import FETCHES, Depthwise
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
                step = _fetching(step, kernel, following)
            found.append(step)
            constants = [place for place in step.operands if place.memory == "constants"]
            following = constants[0] if constants else None  # a product of activations has none
        else:
            found.append(step)
    return tuple(reversed(found))


def _fetching(step: Step, kernel: Dense | Depthwise, following: Place) -> Step:
    """The step, fetching for a later one: a share of its constants in each unit of work."""
    lines = -(-following.size // LINE)
    if isinstance(kernel, Dense):
        made: Dense | Depthwise = replace(kernel, ahead=True)
        share = min(lines // kernel.units + 1, kernel.fetches)
    else:
        # Powers of two, so that layers that are else equal stay equal.
        of_tile = min(1 << (lines // (kernel.units * kernel.tiles)).bit_length(), FETCHES)
        made, share = replace(kernel, ahead=of_tile), of_tile * kernel.tiles
    return replace(step, kernel=made, ahead=Ahead(following, share))
