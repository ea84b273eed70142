"""Error along one axis of an output: per channel, and per row (the vectors that run along the axis).

Everything here is accumulated step by step, so that memory does not grow with the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgec.parity.decisions import CLEAR

CAP_DB = 120.0
"""Decibels are clamped to ±this: an exact match is 120 dB, finite in JSON, and beyond what float32 can tell."""

FLOOR = 1e-4
"""A channel below this share of the largest channel's energy is not judged: it carries no signal worth the name ..."""

SCORE_PEAK = 0.1
"""... unless it reads like a score: values within 0..1 that reach this. Boxes in pixels beside scores have 10^7 times
their energy, and the scores are what the detector decides by."""

UNLIKE = 20.0
"""Channels whose largest values differ by this factor, with none between them, are unlike things in one output: boxes
in pixels and scores, lengths and angles."""

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
        self.flipped = np.zeros(channels, np.int64)
        self.clear_yes = np.zeros(channels, np.int64)
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
            yes = a > 0.5
            clear = np.abs(a - 0.5) > CLEAR
            self.flipped += ((yes != (b > 0.5)) & clear).sum(axis=1)
            self.clear_yes += (yes & clear).sum(axis=1)
            norm_a, norm_b = np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0)
            with np.errstate(invalid="ignore", divide="ignore"):
                cosine = (a * b).sum(axis=0) / (norm_a * norm_b)
            cosine[norm_b == 0] = 0.0
            self._rows.append((norm_a, cosine))

    def judged(self, slices: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Which channels carry a signal, bool[C]; in each of the slices (see `slices`) measured by its own loudest."""
        scores = self._within_unit() & (self.maximum - self.minimum >= SCORE_PEAK) & (self.energy > 0)
        loud = self.energy > FLOOR * self.energy.max(initial=0.0)
        for part in slices:
            if not self.reads_like_scores(part):  # else some classes just did not occur
                loud[part] = self.energy[part] > FLOOR * self.energy[part].max(initial=0.0)
        return np.asarray(loud | scores)

    def slices(self) -> list[np.ndarray]:
        """The channels in two groups, int[...] each, where they are unlike things, the larger values first; or none.

        What is loud says nothing of what is quiet: with all scores dead, boxes in pixels keep the whole at 30 dB. The
        border is the first gap of UNLIKE from the top; what is below must be large enough to be more than dust.
        """
        peak = np.maximum(np.abs(self.minimum), np.abs(self.maximum))
        if len(peak) < 2 or not np.isfinite(peak).all():
            return []
        order = np.argsort(-peak, kind="stable")
        above, below = peak[order[:-1]], peak[order[1:]]
        gaps = np.flatnonzero(above >= UNLIKE * below)
        if not len(gaps) or below[gaps[0]] < SCORE_PEAK:
            return []
        return [np.sort(order[: gaps[0] + 1]), np.sort(order[gaps[0] + 1 :])]

    def reads_like_scores(self, part: np.ndarray) -> bool:
        """Whether all values of these channels lie within 0..1."""
        return bool(self._within_unit()[part].all())

    def pooled_sqnr_of(self, part: np.ndarray) -> float:
        """`pooled_sqnr` of some channels."""
        return decibels(float(self.energy[part].sum()), float(self.noise[part].sum()))

    def _within_unit(self) -> np.ndarray:
        return np.asarray((self.minimum >= -1e-6) & (self.maximum <= 1 + 1e-6))

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
