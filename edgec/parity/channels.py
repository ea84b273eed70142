"""Error along one axis of an output: per channel, and per row (the vectors that run along the axis).

Everything here is accumulated step by step, so that memory does not grow with the number of samples.
"""

from __future__ import annotations

import math

import numpy as np

CAP_DB = 120.0
"""Decibels are clamped to ±this: an exact match is 120 dB, finite in JSON, and beyond what float32 can tell."""

FLOOR = 1e-4
"""A channel below this share of the largest channel's energy is not judged: it carries no signal worth the name ..."""

SCORE_PEAK = 0.1
"""... unless it reads like a score: values within 0..1 that reach this. Boxes in pixels beside scores have 10^7 times
their energy, and the scores are what the detector decides by."""

DEAD_DB = 3.0
"""Below this SQNR half of a channel's variance is noise."""

ENOUGH = 16
"""Values that a channel must have been seen with before its SQNR is worth a sentence."""

QUIET_ROW = 1e-3
"""Rows whose norm is below this share of the largest norm (padding) have no direction to compare."""


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise), clamped to ±CAP_DB; no noise at all is +CAP_DB."""
    if noise <= 0:
        return CAP_DB
    if signal <= 0:
        return -CAP_DB
    return float(min(CAP_DB, max(-CAP_DB, 10 * math.log10(signal / noise))))


class AxisStatistics:
    """Running statistics of the error along `axis`.

    Per channel c: the count, mean and centred energy M2 of the reference (merged as in Chan, Golub & LeVeque 1979), its
    extremes, and the energy of the error. Per row: the cosine between reference and candidate.
    """

    def __init__(self, axis: int, channels: int) -> None:
        self.axis = axis
        self.count = 0
        self.mean = np.zeros(channels)
        self.energy = np.zeros(channels)
        self.noise = np.zeros(channels)
        self.minimum = np.full(channels, np.inf)
        self.maximum = np.full(channels, -np.inf)
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """One step's output, float64, same shapes."""
        a = np.moveaxis(reference, self.axis, 0).reshape(reference.shape[self.axis], -1)
        b = np.moveaxis(candidate, self.axis, 0).reshape(a.shape)
        count = a.shape[1]
        mean = a.mean(axis=1)
        delta = mean - self.mean
        total = self.count + count
        self.energy += ((a - mean[:, None]) ** 2).sum(axis=1) + delta**2 * (self.count * count / total)
        self.mean += delta * (count / total)
        self.count = total
        self.noise += ((a - b) ** 2).sum(axis=1)
        np.minimum(self.minimum, a.min(axis=1), out=self.minimum)
        np.maximum(self.maximum, a.max(axis=1), out=self.maximum)
        if len(a) >= 2:
            norm_a, norm_b = np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0)
            with np.errstate(invalid="ignore", divide="ignore"):
                cosine = (a * b).sum(axis=0) / (norm_a * norm_b)
            cosine[norm_b == 0] = 0.0
            self._rows.append((norm_a, cosine))

    def judged(self) -> np.ndarray:
        """Which channels carry a signal, bool[C]."""
        scores = (self.minimum >= -1e-6) & (self.maximum <= 1 + 1e-6) & (self.maximum - self.minimum >= SCORE_PEAK)
        loud = self.energy > FLOOR * self.energy.max(initial=0.0)
        return np.asarray(loud | (scores & (self.energy > 0)))

    def sqnr(self) -> np.ndarray | None:
        """SQNR of each channel in dB, float64[C]: the energy of the reference about its mean over that of the error.

        None when the channels were seen with too few values.
        """
        if self.count < ENOUGH:
            return None
        pairs = zip(self.energy, self.noise, strict=True)
        return np.array([decibels(signal, noise) for signal, noise in pairs])

    def pooled_sqnr(self) -> float | None:
        """SQNR of all channels together in dB, each about its own mean; None when each was seen with one value only.

        What all samples have in common proves nothing: a candidate that always gives the reference's mean is at 0 dB.
        """
        return decibels(float(self.energy.sum()), float(self.noise.sum())) if self.count >= 2 else None

    def cosines(self) -> np.ndarray:
        """The cosine of every row that has a direction, float64[rows]."""
        if not self._rows:
            return np.zeros(0)
        norms = np.concatenate([norm for norm, _ in self._rows])
        values = np.concatenate([cosine for _, cosine in self._rows])
        return np.asarray(np.clip(values[norms > QUIET_ROW * norms.max(initial=0.0)], -1.0, 1.0))

    def spread(self) -> float:
        """How unlike the channels are: the standard deviation of log10 of their mean squares."""
        power = self.energy / max(self.count, 1) + self.mean**2
        top = power.max(initial=0.0)
        if top <= 0:
            return 0.0
        return float(np.std(np.log10(np.maximum(power, top * 1e-12))))
