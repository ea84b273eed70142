"""Statistics that take one sample at a time and never grow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_BINS = 128  # even; the histogram is symmetric around zero
_SMALLEST = 2.0**-100  # smaller values share a bin with zero: the width of a bin must not underflow


class ChannelStatistics:
    """Minimum, maximum, mean and deviation of each channel; float64 [channels] each."""

    def __init__(self, channels: int) -> None:
        self.minimum = np.full(channels, np.inf)
        self.maximum = np.full(channels, -np.inf)
        self.mean = np.zeros(channels)
        self._squares = np.zeros(channels)  # sum of squared distances from the mean
        self._count = 0

    def add(self, values: np.ndarray) -> None:
        """values: float64 [n, channels]. Merges as in Chan, Golub, LeVeque: "Updating formulae" (1979)."""
        n = len(values)
        if n == 0:
            return
        mean = values.mean(axis=0)
        delta = mean - self.mean
        total = self._count + n
        self._squares += ((values - mean) ** 2).sum(axis=0) + delta**2 * (self._count * n / total)
        self.mean = self.mean + delta * (n / total)
        self._count = total
        self.minimum = np.minimum(self.minimum, values.min(axis=0))
        self.maximum = np.maximum(self.maximum, values.max(axis=0))

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation of each channel."""
        result: np.ndarray = np.sqrt(self._squares / max(1, self._count))
        return result

    def to_json(self) -> list[dict[str, float]]:
        columns = zip(self.minimum, self.maximum, self.mean, self.deviation, strict=True)
        return [{"min": float(a), "max": float(b), "mean": float(c), "std": float(d)} for a, b, c, d in columns]


class Histogram:
    """Counts in equal bins over [-reach, reach], where reach is a power of two that grows with the data."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self._reach = 0.0  # 0 until a value differs from 0
        self._zeros = 0

    def add(self, values: np.ndarray) -> None:
        """values: float64 [n], finite."""
        largest = float(np.abs(values).max(initial=0.0))
        if largest == 0 and self._reach == 0:
            self._zeros += values.size
            return
        wanted = 2.0 ** (math.floor(math.log2(max(largest, _SMALLEST))) + 1)  # above `largest`
        if self._reach == 0:
            self._reach = wanted
            self._counts[_BINS // 2] += self._zeros
            self._zeros = 0
        while self._reach < wanted:
            self._counts = _merged(self._counts)
            self._reach *= 2
        width = 2 * self._reach / _BINS
        places = np.floor(values / width).astype(np.int64) + _BINS // 2
        self._counts += np.bincount(np.clip(places, 0, _BINS - 1), minlength=_BINS)

    def to_json(self) -> dict[str, Any]:
        """{"low", "high", "counts"}: equal bins between low and high, without the empty ones at the ends."""
        if self._reach == 0:
            return {"low": 0.0, "high": 0.0, "counts": [self._zeros]}
        width = 2 * self._reach / _BINS
        filled = np.flatnonzero(self._counts)
        first, last = int(filled[0]), int(filled[-1]) + 1
        return {
            "low": (first - _BINS // 2) * width,
            "high": (last - _BINS // 2) * width,
            "counts": self._counts[first:last].tolist(),
        }


def _merged(counts: np.ndarray) -> np.ndarray:
    """The same counts in bins twice as wide."""
    pairs = counts.reshape(-1, 2).sum(axis=1)
    return np.pad(pairs, _BINS // 4)
