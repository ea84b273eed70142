"""Timing two ways of computing the same thing, fairly: in turns, so that a busy moment hits both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.contract import Contract

NOISY = 0.25
"""Quartiles of either side that lie further apart than this share of the median mean that the machine was busy."""

_WARM_UP = 0.2  # of the time
_LEAST_WARM_UPS = 3
_LEAST_RUNS = 10
_MOST_RUNS = 2000


@dataclass(frozen=True)
class Timing:
    """Milliseconds a run, each side as p25, p50, p75, p95, p99.

    ratio: median of the baseline over median of the candidate, above 1 where the candidate is faster.
    ratio_quartiles: first and third quartile of the ratio of neighbouring runs.
    """

    candidate: dict[str, float]
    baseline: dict[str, float]
    ratio: float
    ratio_quartiles: tuple[float, float]
    runs: int
    noisy: bool


def in_turns(candidate: Callable[[], Any], baseline: Callable[[], Any], seconds: float) -> Timing:
    """Call both in turns for about `seconds` (at least 13 times each); which goes first alternates."""
    started = time.perf_counter()
    warm = 0
    while warm < _LEAST_WARM_UPS or time.perf_counter() - started < seconds * _WARM_UP:
        candidate()
        baseline()
        warm += 1
    pairs: list[tuple[float, float]] = []
    while len(pairs) < _LEAST_RUNS or (time.perf_counter() - started < seconds and len(pairs) < _MOST_RUNS):
        if len(pairs) % 2:
            slow = _milliseconds(baseline)
            pairs.append((_milliseconds(candidate), slow))
        else:
            pairs.append((_milliseconds(candidate), _milliseconds(baseline)))
    return summary(np.array(pairs))


def summary(pairs: np.ndarray) -> Timing:
    """What pairs of times amount to: float64[runs, 2], milliseconds of candidate and baseline."""
    ours, theirs = _percentiles(pairs[:, 0]), _percentiles(pairs[:, 1])
    low, high = np.percentile(pairs[:, 1] / pairs[:, 0], [25, 75])
    noisy = any((side["p75"] - side["p25"]) > NOISY * side["p50"] for side in (ours, theirs))
    ratio = round(theirs["p50"] / ours["p50"], 4)
    return Timing(ours, theirs, ratio, (round(float(low), 4), round(float(high), 4)), len(pairs), noisy)


def probe(contract: Contract) -> dict[str, np.ndarray]:
    """One set of feeds; values matter little for time, but zeros or denormals would."""
    from edgec.calibration_data.sources import random_source

    (sample,) = random_source(contract, 1, 0).read()
    return dict(sample.steps[0])


def _percentiles(times: np.ndarray) -> dict[str, float]:
    levels = (25, 50, 75, 95, 99)
    values = np.percentile(times, levels)
    return {f"p{level}": round(float(value), 4) for level, value in zip(levels, values, strict=True)}


def _milliseconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3
