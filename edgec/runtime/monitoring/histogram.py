"""Latencies in bounded memory: a histogram whose quantiles are known to about one percent, and that can be merged.

Bins grow by a factor of 2^(1/32), as those of Prometheus' native histograms with schema 5 do. A quantile is off by
(g - 1) / (g + 1) of its value at most, g being that factor: 1.09 % (Masson, Rim and Lee, DDSketch, VLDB 2019, section
2.1). Two histograms have the same bins, whatever they hold, so adding their counts loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

PER_OCTAVE = 32
FACTOR = 2 ** (1 / PER_OCTAVE)
ERROR = (FACTOR - 1) / (FACTOR + 1)
LEAST, MOST = -20, 12
"""Powers of two, in seconds: 0.95 us to 68 min. What is beyond lies in the outer bins; the extremes are exact."""

_BINS = (MOST - LEAST) * PER_OCTAVE + 1  # one for all up to 2^LEAST


class Latencies:
    """Counts of durations in seconds. Bin i holds those above 2^(LEAST + (i - 1) / 32), up to 2^(LEAST + i / 32)."""

    def __init__(self) -> None:
        self.counts = [0] * _BINS
        self.count = 0
        self.total = 0.0
        self.least = math.inf
        self.most = 0.0

    def add(self, seconds: float) -> None:
        """Count one. A clock that went backwards gives no negative durations: such a one counts as the least."""
        index = 0
        if seconds > 0:
            part, octave = math.frexp(seconds)  # part is from 0.5 to 1; which octave it is shall not be rounded
            above = max(1, math.ceil((math.log2(part) + 1) * PER_OCTAVE)) if part > 0.5 else 0
            index = (octave - 1 - LEAST) * PER_OCTAVE + above
        self.counts[0 if index < 0 else index if index < _BINS else _BINS - 1] += 1
        self.count += 1
        self.total += seconds
        if seconds < self.least:
            self.least = seconds
        if seconds > self.most:
            self.most = seconds

    def merge(self, other: Latencies) -> None:
        """Add what another one has counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts)]
        self.count += other.count
        self.total += other.total
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)

    def quantile(self, share: float) -> float | None:
        """The value that a share of all does not exceed, off by ERROR of it at most; None of nothing.

        That is the value at place floor(share * (count - 1)) of the sorted ones: the lower of two neighbours.
        """
        if not self.count:
            return None
        place = math.floor(share * (self.count - 1))
        index = next(index for index, seen in enumerate(accumulate(self.counts)) if seen > place)
        upper = upper_bound(index)
        middle = 2 * upper / (FACTOR + 1) if index else upper
        return min(max(middle, self.least), self.most)

    def cumulative(self) -> list[tuple[float, int]]:
        """(seconds, how many took at most so long) for each power of two, exactly."""
        found, seen = [], 0
        for index, count in enumerate(self.counts[:-1]):
            seen += count
            if index % PER_OCTAVE == 0:
                found.append((upper_bound(index), seen))
        return found

    def to_json(self) -> dict[str, Any]:
        """Milliseconds, rounded to what the histogram knows of them; only the counts that are not zero."""
        quantiles = {f"p{level}": self.quantile(level / 100) for level in (50, 95, 99)}
        return {
            "runs": self.count,
            **{name: None if value is None else _milliseconds(value) for name, value in quantiles.items()},
            "mean": _milliseconds(self.total / self.count) if self.count else None,
            "least": _milliseconds(self.least) if self.count else None,
            "most": _milliseconds(self.most) if self.count else None,
            "error": round(ERROR, 4),
            "seconds": self.total,
            "counts": {str(index): count for index, count in enumerate(self.counts) if count},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Latencies:
        """What `to_json` wrote, to be merged with others. The extremes are as rounded as they were written."""
        made = cls()
        for index, count in document["counts"].items():
            made.counts[int(index)] = count
        made.count, made.total = document["runs"], document["seconds"]
        if made.count:
            made.least, made.most = document["least"] / 1e3, document["most"] / 1e3
        return made


def upper_bound(index: int) -> float:
    """The most seconds that bin `index` holds."""
    return float(2 ** (LEAST + index / PER_OCTAVE))


def _milliseconds(seconds: float) -> float:
    return float(f"{seconds * 1e3:.5g}")
