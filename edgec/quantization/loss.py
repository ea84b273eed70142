"""How bad a candidate is: one number that a search can lower.

What fails on a few samples fails by chance: on networks that amplify rounding, another recipe fails on others. So every
sample counts by the root of its noise over signal. A text recognizer and a text detector were quantized in 24 ways each
and judged on 24 and 16 samples. Which of two ways does better on 120 lines and 48 pages that nobody had seen was
foreseen in 90 % of all pairs by the mean of roots, in 86 and 81 % by the mean noise over signal, and in 86 and 79 % by
the SQNR.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgec.parity.metrics import OutputComparison

CHANNELS = 0.1
"""Weight of the channels. A detector's scores are next to nothing beside its boxes in pixels, and must not drown."""


def loss_of(comparisons: Sequence[OutputComparison], samples: Sequence[float]) -> float:
    """The loss of a candidate, 0 to 1: the square of the mean root of its samples' losses, and the mean loss of the
    channels of the outputs that prove something.

    samples: what each sample has lost, 0 to 1 (`HeldOut.judged`).
    """
    whole = (sum(math.sqrt(item) for item in samples) / len(samples)) ** 2 if samples else 0.0
    channels = [item.channel_nsr for item in comparisons if item.degenerate is None and item.kind != "state"]
    known = [value for value in channels if value is not None]
    if not known:
        return whole
    return (1 - CHANNELS) * whole + CHANNELS * sum(known) / len(known)
