"""Whether inputs and outputs still look as they did when the artifact was built.

A window of runs is compared with the profile, tensor by tensor, in four ways:

- PSI, the population stability index, of the elements' histogram: sum of (q - p) ln(q / p). Above 0.25 is what the
  index's users take for a shift that calls for action (Siddiqi, Credit Risk Scorecards, 2006, chapter 8).
- KS, the largest distance between two cumulative distributions (Kolmogorov and Smirnov), of each number that sums up a
  run: mean, spread, roughness, ...
- How many runs have such a number far outside of all that the profile saw.
- How many elements are no finite numbers.

The first two only count where they are more than chance explains, and chance is judged by independent runs, not by
elements: those of one image belong together, and so do the frames of one scene (`worth`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from .effective import effective_runs, varied_runs
from .profile import Known
from .views import BINS, Spread, binned

FALSE_ALARMS = 1e-3
"""The probability of a false alarm in a window of a stream that did not change, over all tests (Bonferroni)."""

PSI_SHIFT = 0.25
KS_SHIFT = 0.2
"""A smaller shift is not worth an alarm, however sure it is."""

MOST_OUTSIDE = 0.5
"""Runs of a window that may lie far outside of what the profile saw."""

_FLOOR = 1e-4  # of shares: an empty bin would make an infinite index
_LEAST_NOT_FINITE = 1e-3  # more than the profile's share
_FEWEST = 5  # independent runs, of which fewer have no mean whose distribution is known
_ALIKE = 0.5  # correlation from which on two inputs in a row show the same thing
_FEW = 16  # elements, of which no correlation is told

_WORDS = {
    "mean": ("its mean is lower", "its mean is higher", "brightness and scaling"),
    "spread": ("its values vary less", "its values vary more", "contrast and scaling"),
    "roughness": (
        "it is smoother",
        "it is rougher",
        "focus, noise and resizing",
    ),
    "peak": ("its largest value is lower", "its largest value is higher", "what the model is shown"),
    "zeros": ("it holds fewer zeros", "it holds more zeros", "length and padding"),
    "channel": (
        "is weaker beside the others",
        "is stronger beside the others",
        "the order of channels (RGB or BGR) and white balance",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One tensor in one window.

    psi: of the elements; psi_times: how many times the chi-square distance that chance explains at most theirs is.
    ks: by statistic; ks_chance: what chance explains at most.
    outside: the largest share of runs that have a statistic far outside of the profile. not_finite: share of elements.
    reasons: what is other than chance explains, in words; none where nothing is. check: what may be behind it.
    """

    tensor: str
    role: str
    runs: int
    psi: float
    psi_times: float
    ks: Mapping[str, float]
    ks_chance: Mapping[str, float]
    outside: float
    not_finite: float
    reasons: tuple[str, ...]
    check: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "tensor": self.tensor,
            "role": self.role,
            "runs": self.runs,
            "psi": round(self.psi, 4),
            "psi_times": round(self.psi_times, 3) if math.isfinite(self.psi_times) else None,
            "ks": {name: round(value, 4) for name, value in self.ks.items()},
            "ks_chance": {name: round(value, 4) for name, value in self.ks_chance.items()},
            "outside": round(self.outside, 4),
            "not_finite": round(self.not_finite, 6),
            "reasons": list(self.reasons),
            "check": list(self.check),
        }


class Window:
    """What was seen of one tensor in the current window, in memory that does not grow."""

    def __init__(self, known: Known, runs: int) -> None:
        self.known = known
        self._shares = np.zeros((runs, len(known.counts)))
        self._summaries = np.zeros((runs, len(known.statistics)))
        self._not_finite = np.zeros(runs)
        self._outside = np.zeros(runs)
        self._filled = 0
        self._last: np.ndarray | None = None

    def add(self, array: np.ndarray) -> bool:
        """Look at a tensor of one run. Returns whether it is another thing than in the run before."""
        values, summary = self.known.view.look(array)
        counts, finite = self._binned(values)
        at = self._filled
        self._shares[at] = counts / max(1, int(counts.sum()))
        self._summaries[at] = summary
        self._not_finite[at] = 1 - finite.size / values.size
        if (elements := self.known.elements) is not None and finite.size:
            far = (finite < elements.minimum) | (finite > elements.maximum)
            self._outside[at] = np.count_nonzero(far) / finite.size
        self._filled += 1
        new = self._last is None or not _alike(self._last, values)
        self._last = values.copy() if values.base is not None else values
        return new

    def _binned(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The counts of all bins, and the finite elements."""
        if self.known.elements is None:
            return np.bincount(values, minlength=BINS), values
        finite = values[np.isfinite(values)]
        return binned(finite, self.known.elements.edges), finite

    def judge(self, new_runs: int, tests: int) -> Finding:
        """Compare with the profile, and begin the next window.

        new_runs: in how many runs the inputs were not those of the run before. tests: how many are made in all.
        """
        usable = np.isfinite(self._summaries[: self._filled]).all(axis=1)
        shares, summaries = self._shares[: self._filled][usable], self._summaries[: self._filled][usable]
        not_finite = float(self._not_finite[: self._filled].mean())
        outside = float(self._outside[: self._filled].mean())
        self._filled = 0
        return _Comparison(self.known, shares, summaries, new_runs, FALSE_ALARMS / tests).finding(outside, not_finite)


@dataclass(frozen=True)
class _Comparison:
    """shares: float64[runs, bins], summaries: float64[runs, statistics]; chance: probability of a false alarm."""

    known: Known
    shares: np.ndarray
    summaries: np.ndarray
    new_runs: int
    chance: float

    def finding(self, beyond: float, not_finite: float) -> Finding:
        names = self.known.view.statistics
        psi, psi_times, ks, ks_chance, far = 0.0, 0.0, {}, {}, {}
        reasons, checks = [], []
        if beyond > MOST_OUTSIDE:
            reasons.append(f"{beyond:.0%} of its elements lie outside of all that the profile saw")
            checks.append("normalization")
        if len(self.shares):
            psi, psi_times = self._psi()
            if psi >= PSI_SHIFT and psi_times > 1:
                reasons.append(
                    f"its values are distributed otherwise (PSI {psi:.2f}, {_times(psi_times)} what chance explains)"
                )
        for index, name in enumerate(names if len(self.shares) else ()):
            spread, column = self.known.statistics[index], self.summaries[:, index]
            ks[name], ks_chance[name] = self._ks(index)
            far[name] = _far_outside(spread, column)
            rises = bool(np.median(column) > _median(spread))
            words = _words(name)
            if ks[name] >= KS_SHIFT and ks[name] > ks_chance[name]:
                bounds = f"(KS {ks[name]:.2f}, by chance up to {min(1.0, ks_chance[name]):.2f})"
                reasons.append(f"{words[rises]} than in the profile {bounds}")
                checks.append(words[2])
            elif far[name] > MOST_OUTSIDE:
                reasons.append(f"{words[rises]} than in any run of the profile, by more than those differ")
                checks.append(words[2])
        if not_finite > self.known.not_finite + _LEAST_NOT_FINITE:
            reasons.append(f"{not_finite:.1%} of its elements are NaN or infinite")
            checks.append("what makes the input: a division by zero, a sensor that gives nothing")
        return Finding(
            tensor=self.known.view.name,
            role=self.known.view.role,
            runs=len(self.shares),
            psi=psi,
            psi_times=psi_times,
            ks=ks,
            ks_chance=ks_chance,
            outside=max([beyond, *far.values()]),
            not_finite=not_finite,
            reasons=tuple(reasons),
            check=tuple(dict.fromkeys(checks)),
        )

    @cached_property
    def _regular(self) -> np.ndarray:
        return effective_runs(self.summaries)

    def _worth(self, variance_ratio: float, autocorrelated: float) -> float:
        """How many independent runs the window is worth.

        As many as differ, either in what is compared (as much as the profile's do) or in their elements; but no more
        than their autocorrelation leaves. A camera that sees one scene gives one run, whatever its frame rate.
        """
        varied = varied_runs(len(self.shares), variance_ratio, self.known.worth)
        return min(autocorrelated, max(varied, float(min(self.new_runs, len(self.shares)))))

    def _psi(self) -> tuple[float, float]:
        """PSI, and how many times what chance explains the chi-square distance, sum of (q - p)^2 / p, is.

        PSI is that distance in second order, and says how large a shift is; near empty bins it grows without bound, so
        what is tested is the distance. Its null distribution, a sum of eigenvalues times chi-squares, is taken for a
        scaled chi-square with the same two moments (Rao and Scott 1981; Satterthwaite 1946).
        """
        expected = self.known.counts / self.known.counts.sum()
        mean = self.shares.mean(axis=0)
        p, q = np.maximum(expected, _FLOOR), np.maximum(mean, _FLOOR)
        psi = float(((q - p) * np.log(q / p)).sum())
        distance = float(((q - p) ** 2 / p).sum())
        trace, square = self.known.design
        if not trace > 0 or not square > 0:
            return psi, math.inf if distance > 0 else 0.0
        held = expected > 0
        variance = float((self.shares[:, held].var(axis=0) / expected[held]).sum())
        worth = self._worth(variance / trace, float(self._regular.min(initial=len(self.shares))))
        if worth < _FEWEST:
            return psi, 0.0
        bound = square / trace * _chi_square(trace**2 / square, self.chance) * (1 / worth + 1 / self.known.worth)
        return psi, distance / bound

    def _ks(self, index: int) -> tuple[float, float]:
        """KS of a statistic at the profile's edges, and what chance explains: Smirnov's limit for the distance at all
        places, sqrt(-ln(chance / 2) / 2) sqrt(1/n + 1/m)."""
        spread, column = self.known.statistics[index], self.summaries[:, index]
        known = np.cumsum(spread.counts)[:-1] / spread.counts.sum()
        seen = np.cumsum(binned(column, spread.edges))[:-1] / len(column)
        distance = float(np.abs(known - seen).max(initial=0.0))
        deviation = self.known.deviations[index]
        ratio = float(column.var()) / deviation**2 if deviation > 0 else 1.0
        worth = self._worth(ratio, float(self._regular[index]))
        limit = math.sqrt(-math.log(self.chance / 2) / 2)
        return distance, limit * math.sqrt(1 / worth + 1 / self.known.worth)


def _far_outside(spread: Spread, column: np.ndarray) -> float:
    """The share of runs that lie outside of the profile's range by more than the range is wide."""
    width = max(spread.maximum - spread.minimum, 1e-3 * max(1.0, abs(spread.minimum), abs(spread.maximum)))
    return float(((column < spread.minimum - width) | (column > spread.maximum + width)).mean())


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio < 100 else "more than 100 times"


def _median(spread: Spread) -> float:
    """The edge nearest to half of the mass; the middle of a distribution without edges."""
    if not len(spread.edges):
        return (spread.minimum + spread.maximum) / 2
    shares = np.cumsum(spread.counts)[:-1] / spread.counts.sum()
    return float(spread.edges[int(np.abs(shares - 0.5).argmin())])


def _words(name: str) -> tuple[str, str, str]:
    kind, _, number = name.partition(" ")
    less, more, check = _WORDS[kind]
    prefix = f"channel {number} " if number else ""
    return prefix + less, prefix + more, check


def _chi_square(freedom: float, tail: float) -> float:
    """The value that a chi-square of so many degrees of freedom exceeds with probability `tail` (Wilson and Hilferty,
    The Distribution of Chi-Square, PNAS 17, 1931); of small tails up to 8 % too large, which errs on the quiet side."""
    z = NormalDist().inv_cdf(1 - tail)
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + z * math.sqrt(part)) ** 3)


def _alike(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether two inputs in a row show the same thing: equal ids in most places, or elements that are correlated."""
    if now.dtype.kind != "f":
        return bool(np.count_nonzero(before == now) > _ALIKE * now.size)
    if now.size < _FEW:
        return True  # too few to tell; what is compared has to vary by itself
    a, b = before - before.mean(), now - now.mean()
    power = float(a @ a) * float(b @ b)
    if not math.isfinite(power):
        return False
    return power <= 0 or float(a @ b) > _ALIKE * math.sqrt(power)


def count_tests(tensors: Sequence[Known]) -> int:
    """How many tests a window takes: each may raise a false alarm."""
    return sum(1 + len(known.statistics) for known in tensors)
