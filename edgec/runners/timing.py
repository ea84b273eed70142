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
from edgec.runtime.latencies import LEAST_TURNS, MOST_WAITING, histogram, noisy, percentiles, ratio_interval
from edgec.runtime.machine import waited_seconds

_WARM_UP = 0.2  # of the time
_LEAST_WARM_UPS = 3
_BLOCK = 16  # runs, less where that takes longer than a twentieth of the time
_LEAST_BLOCK = 2
_LEAST_BLOCKS = LEAST_TURNS
_MOST_RUNS = 4000


@dataclass(frozen=True)
class Timing:
    """Milliseconds a run, each side as p25, p50, p75, p95, p99 and "histogram".

    ratio: median of the candidate over median of the baseline, below 1 where the candidate is faster.
    ratio_quartiles: first and third quartile of the same ratio from turn to turn.
    ratio_interval: 95 % confidence interval of the ratio; None of too few turns.
    runs: of each side, those that count.
    """

    candidate: dict[str, Any]
    baseline: dict[str, Any]
    ratio: float
    ratio_quartiles: tuple[float, float]
    ratio_interval: tuple[float, float] | None
    runs: int
    noisy: bool


def in_turns(candidate: Callable[[], Any], baseline: Callable[[], Any], seconds: float) -> Timing:
    """Call both in turns for about `seconds`, at least six blocks each; which goes first alternates."""
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
    waited, spent = waited_seconds(), time.process_time()
    while len(ours) < _LEAST_BLOCKS or (time.perf_counter() - started < seconds and len(ours) * size < _MOST_RUNS):
        sides = [(candidate, ours), (baseline, theirs)]
        for work, times in reversed(sides) if len(ours) % 2 else sides:
            times.append(_block(work, size))
    return summary(ours, theirs, _waiting(waited, spent))


def _waiting(waited: float | None, spent: float) -> float:
    """The share of the time in which this process could run that it waited for a processor which others had, since it
    had waited and spent so many seconds; 0 where the system does not tell."""
    now = waited_seconds()
    if now is None or waited is None:
        return 0.0
    lost = max(now - waited, 0.0)
    return lost / max(lost + time.process_time() - spent, 1e-9)


def summary(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], waiting: float = 0.0) -> Timing:
    """What blocks of times (milliseconds of candidate and baseline, as many of each) amount to.

    waiting: share of the time that was spent waiting for a processor; more than a tenth is noise.
    """
    fast, slow = [np.asarray(block) for block in ours], [np.asarray(block) for block in theirs]
    candidate, baseline = np.concatenate(fast), np.concatenate(slow)
    ratios = [np.median(a) / np.median(b) for a, b in zip(fast, slow, strict=True)]
    low, high = (round(float(value), 4) for value in np.percentile(ratios, [25, 75]))
    return Timing(
        candidate=_side(candidate),
        baseline=_side(baseline),
        ratio=round(float(np.median(candidate) / np.median(baseline)), 4),
        ratio_quartiles=(low, high),
        ratio_interval=ratio_interval(fast, slow),
        runs=len(candidate),
        noisy=noisy(candidate) or noisy(baseline) or waiting > MOST_WAITING,
    )


def probe(contract: Contract) -> dict[str, np.ndarray]:
    """One set of feeds; values matter little for time, but zeros or denormals would."""
    from edgec.calibration_data.sources import random_source

    (sample,) = random_source(contract, 1, 0).read()
    return dict(sample.steps[0])


def _side(times: np.ndarray) -> dict[str, Any]:
    return {**percentiles(times, (25, 50, 75, 95, 99)), "histogram": histogram(times)}


def _block(work: Callable[[], Any], size: int) -> list[float]:
    """Milliseconds of `size` runs, after one that does not count."""
    work()
    times = []
    for _ in range(size):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1e3)
    return times
