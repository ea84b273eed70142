"""Timing two ways of computing the same thing, fairly: in turns, so that a busy moment hits both.

A turn is a block of runs, and its first run does not count: it finds the caches full of the other side's weights, which
is not how a device runs one model again and again. (Taking turns run by run made an INT8 model that is twice as fast
look 1.0 to 1.3 times as fast.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.contract import Contract

NOISY = 0.25
"""Quartiles of either side that lie further apart than this share of the median mean that the machine was busy."""

_WARM_UP = 0.2  # of the time
_LEAST_WARM_UPS = 3
_BLOCK = 16  # runs, less where that takes longer than a twentieth of the time
_LEAST_BLOCK = 2
_LEAST_BLOCKS = 4
_MOST_RUNS = 4000


@dataclass(frozen=True)
class Timing:
    """Milliseconds a run, each side as p25, p50, p75, p95, p99.

    ratio: median of the candidate over median of the baseline, below 1 where the candidate is faster.
    ratio_quartiles: first and third quartile of the same ratio from turn to turn.
    runs: of each side, those that count.
    """

    candidate: dict[str, float]
    baseline: dict[str, float]
    ratio: float
    ratio_quartiles: tuple[float, float]
    runs: int
    noisy: bool


def in_turns(candidate: Callable[[], Any], baseline: Callable[[], Any], seconds: float) -> Timing:
    """Call both in turns for about `seconds`, at least four blocks each; which goes first alternates."""
    started = time.perf_counter()
    warm = 0
    while warm < _LEAST_WARM_UPS or time.perf_counter() - started < seconds * _WARM_UP:
        candidate()
        baseline()
        warm += 1
    each = (time.perf_counter() - started) / warm / 2
    size = max(_LEAST_BLOCK, min(_BLOCK, int(seconds / 20 / max(each, 1e-9))))
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    while len(ours) < _LEAST_BLOCKS or (time.perf_counter() - started < seconds and len(ours) * size < _MOST_RUNS):
        sides = [(candidate, ours), (baseline, theirs)]
        for work, times in reversed(sides) if len(ours) % 2 else sides:
            times.append(_block(work, size))
    return summary(ours, theirs)


def summary(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Timing:
    """What blocks of times (milliseconds of candidate and baseline, as many of each) amount to."""
    candidate, baseline = np.concatenate(ours), np.concatenate(theirs)
    a, b = _percentiles(candidate), _percentiles(baseline)
    ratios = [np.median(fast) / np.median(slow) for fast, slow in zip(ours, theirs, strict=True)]
    low, high = (round(float(value), 4) for value in np.percentile(ratios, [25, 75]))
    noisy = any((side["p75"] - side["p25"]) > NOISY * side["p50"] for side in (a, b))
    return Timing(a, b, round(float(np.median(candidate) / np.median(baseline)), 4), (low, high), len(candidate), noisy)


def probe(contract: Contract) -> dict[str, np.ndarray]:
    """One set of feeds; values matter little for time, but zeros or denormals would."""
    from edgec.calibration_data.sources import random_source

    (sample,) = random_source(contract, 1, 0).read()
    return dict(sample.steps[0])


def _percentiles(times: np.ndarray) -> dict[str, float]:
    levels = (25, 50, 75, 95, 99)
    values = np.percentile(times, levels)
    return {f"p{level}": round(float(value), 4) for level, value in zip(levels, values, strict=True)}


def _block(work: Callable[[], Any], size: int) -> list[float]:
    """Milliseconds of `size` runs, after one that does not count."""
    work()
    times = []
    for _ in range(size):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1e3)
    return times
