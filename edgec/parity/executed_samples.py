"""On which of the samples a payload is executed: on all of them natively, on some where a device is emulated.

How many is a matter of work, never of time: a build on a busy machine gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

WORK = 12e9
"""Multiply-accumulates that an emulated device is given for one comparison: 30 samples of EfficientNet-Lite0 (0.385e9
each, 1.2 to 1.5 seconds as a Cortex-A53 or A72)."""

WORK_OF_A_RUN = 5e6
"""What a run of the smallest model costs, in multiply-accumulates: Python is emulated, too."""

FEWEST = 8
"""Samples that are executed whatever they cost."""

GOLDEN_SAMPLES = 3


def golden(count: int) -> list[int]:
    """Positions of the samples that travel in the artifact: the first, the middle and the last of `count`."""
    return sorted({0, count // 2, count - 1})[:GOLDEN_SAMPLES] if count else []


def affordable(macs: int, steps: int) -> int:
    """How many samples an emulated device runs. macs: of one step. steps: how often the model runs for a sample."""
    return max(FEWEST, int(WORK // (max(1, steps) * (macs + WORK_OF_A_RUN))))


def spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` positions, at least the golden ones; spread evenly, in order."""
    if count <= most:
        return list(range(count))
    always = golden(count)
    most = max(most, len(always))
    even = [index * (count - 1) // (most - 1) for index in range(most)]
    return sorted({*_without_nearest(even, count // 2), *always})


def _without_nearest(positions: Sequence[int], middle: int) -> list[int]:
    """The positions but the one that `middle` takes the place of."""
    nearest = min(positions, key=lambda position: abs(position - middle))
    return [position for position in positions if position != nearest]
