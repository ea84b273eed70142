"""Whether a series of values has a trend: one that chance does not explain, and that is large enough to matter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

SIGNIFICANCE = 0.01
LEAST_VALUES = 10
"""Of fewer values, no trend is told from chance."""


@dataclass(frozen=True)
class Trend:
    """per_hour: slope, in the values' unit. change: what that makes from the first value to the last.

    chance: probability of a series without a trend to look like this one (two-sided).
    """

    per_hour: float
    change: float
    chance: float

    @property
    def significant(self) -> bool:
        return self.chance < SIGNIFICANCE

    def to_json(self) -> dict[str, Any]:
        return {"per_hour": self.per_hour, "change": self.change, "chance": round(self.chance, 6)}


def trend(seconds: np.ndarray, values: np.ndarray) -> Trend | None:
    """The trend of values float64[n] at seconds float64[n], which ascend; None of fewer than LEAST_VALUES.

    The test is that of Mann (Econometrica 13, 1945) and Kendall (Rank Correlation Methods, 1975), with the correction
    for ties; the slope is that of Theil and Sen (Sen, JASA 63, 1968), the median of the slopes between all pairs.
    Both know ranks and medians only: a few stalls make no trend.
    """
    count = len(values)
    if count < LEAST_VALUES:
        return None
    first, second = np.triu_indices(count, 1)
    rises = values[second] - values[first]
    slope = float(np.median(rises / (seconds[second] - seconds[first])))
    _, ties = np.unique(values, return_counts=True)
    variance = (count * (count - 1) * (2 * count + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    score = float(np.sign(rises).sum())
    chance = math.erfc(max(0.0, abs(score) - 1) / math.sqrt(2 * variance)) if variance > 0 else 1.0
    return Trend(slope * 3600, slope * float(seconds[-1] - seconds[0]), chance)
