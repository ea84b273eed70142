"""What is counted about each layer while both models run: errors by channel, and what the data makes of a grid."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgec.diagnosis.layers import Grid
from edgec.parity.channels import DEAD_DB, decibels

_STILL = 1e-12
"""A channel whose variance is below this share of its mean square does not move: there is nothing to lose in it."""


@dataclass
class ErrorMeter:
    """The error of one tensor, per channel.

    A tensor without channels is one channel. Sums are float64 [C]: of values, of their squares, of squared errors.
    """

    axis: int | None
    count: int = 0
    total: np.ndarray = field(default_factory=lambda: np.zeros(1))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(1))
    noise: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """One run; both arrays have the same shape."""
        a, b = (self._rows(value) for value in (reference, candidate))
        self.count += a.shape[1]
        with np.errstate(invalid="ignore", over="ignore"):
            self.total = self.total + a.sum(axis=1)
            self.squares = self.squares + np.einsum("ij,ij->i", a, a)
            error = np.subtract(a, b)
            self.noise = self.noise + np.einsum("ij,ij->i", error, error)

    def _rows(self, value: np.ndarray) -> np.ndarray:
        array = np.asarray(value, np.float64)
        if self.axis is None or array.ndim == 0:
            return array.reshape(1, -1)
        return np.moveaxis(array, self.axis, 0).reshape(array.shape[self.axis], -1)

    @property
    def overall_db(self) -> float:
        """SQNR of the whole tensor: energy over energy of the error."""
        return decibels(float(self.squares.sum()), _finite(self.noise.sum()))

    @property
    def rms(self) -> float:
        """Root of the mean squared error."""
        return float(np.sqrt(_finite(self.noise.sum()) / max(self.count * len(self.noise), 1)))

    def channels_db(self) -> np.ndarray:
        """SQNR of every channel that moves, about its own mean; NaN for those that do not. float64 [C]"""
        mean = self.total / max(self.count, 1)
        energy = self.squares - self.count * mean**2
        still = (energy <= _STILL * self.squares) | (self.squares == 0) | (self.count < 2)
        found = [decibels(float(e), _finite(n)) for e, n in zip(energy, self.noise, strict=True)]
        return np.where(still, np.nan, np.array(found))

    @property
    def typical_db(self) -> float:
        """SQNR of the median channel: one channel of enormous values can't hide what became of the others."""
        channels = self.channels_db()
        moving = channels[~np.isnan(channels)]
        return float(np.median(moving)) if moving.size else self.overall_db

    @property
    def db(self) -> float:
        """What the layer is judged by: the lower of both."""
        return min(self.overall_db, self.typical_db)

    @property
    def dead(self) -> tuple[int, ...]:
        """Channels that hold more noise than signal, the worst first."""
        channels = self.channels_db()
        order = np.argsort(np.where(np.isnan(channels), np.inf, channels), kind="stable")
        return tuple(int(i) for i in order if channels[i] < DEAD_DB)

    @property
    def moving(self) -> int:
        """How many channels move at all."""
        return int((~np.isnan(self.channels_db())).sum())


def _finite(noise: float) -> float:
    return float(noise) if np.isfinite(noise) else np.finfo(np.float64).max


@dataclass
class RangeMeter:
    """Values of one float tensor beside the grid that the twin rounds it to."""

    grid: Grid | None
    axis: int | None
    count: int = 0
    runs: int = 0
    clipped: int = 0
    squares: float = 0.0
    minimum: np.ndarray = field(default_factory=lambda: np.full(1, np.inf))
    maximum: np.ndarray = field(default_factory=lambda: np.full(1, -np.inf))

    def add(self, value: np.ndarray) -> None:
        """One run's values."""
        array = np.asarray(value, np.float32)
        axis = None if self.axis is None or array.ndim == 0 else self.axis
        rows = array.reshape(1, -1) if axis is None else np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
        self.count += array.size
        self.runs += 1
        self.squares += float(np.einsum("ij,ij->", rows, rows, dtype=np.float64))
        self.minimum = np.minimum(self.minimum, rows.min(axis=1, initial=np.inf))
        self.maximum = np.maximum(self.maximum, rows.max(axis=1, initial=-np.inf))
        if self.grid is not None:  # what rounds to the last step is not clipped
            half = self.grid.step / 2 * (1 + 1e-6)
            self.clipped += int(((array < self.grid.low - half) | (array > self.grid.high + half)).sum())

    @property
    def low(self) -> float:
        return float(self.minimum.min())

    @property
    def high(self) -> float:
        return float(self.maximum.max())

    @property
    def peaks(self) -> np.ndarray:
        """The largest magnitude of each channel, float32 [C]."""
        return np.asarray(np.maximum(np.abs(self.minimum), np.abs(self.maximum)))

    @property
    def clipped_share(self) -> float:
        return self.clipped / self.count if self.count else 0.0

    @property
    def beyond(self) -> float:
        """How far the farthest value lies outside of the grid, as a share of the grid's width; 0 for none."""
        if self.grid is None or not self.count:
            return 0.0
        return max(self.grid.low - self.low, self.high - self.grid.high, 0.0) / (self.grid.high - self.grid.low)

    @property
    def steps_used(self) -> int:
        """Steps of the grid between the least and the greatest value, those on the grid counted."""
        if self.grid is None or not self.count:
            return 0
        low, high = max(self.low, self.grid.low), min(self.high, self.grid.high)
        return max(0, round((high - low) / self.grid.step)) + 1 if high >= low else 1


def histogram(values: np.ndarray, low: float, high: float, bins: int) -> np.ndarray:
    """Counts of `values` in `bins` equal parts of [low, high]; what lies beyond is in the first and the last."""
    counts, _ = np.histogram(np.clip(np.asarray(values, np.float64), low, high), bins=bins, range=(low, high))
    return np.asarray(counts, np.int64)
