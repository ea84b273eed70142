"""What times of runs amount to: percentiles, a histogram, the ratio of two sides with its confidence interval, and
whether the machine was quiet enough to say so.

Times come in turns: blocks of runs, one after the other, which lie close together. Runs of one turn resemble each other
more than those of another, because what else the machine does lasts longer than a run; so what is drawn anew to see how
far chance reaches is turns, never single runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

NOISY = 0.25
"""Quartiles that lie further apart than this share of the median mean that the machine was busy."""

MOST_WAITING = 0.1
"""Threads that wait longer than this share of the time in which they could run are timed with others' work."""

CONFIDENCE = 0.95
LEAST_TURNS = 6
"""Fewer turns have no interval: of n values, even the whole range holds the median with a probability of 1 - 2^(1-n)
only, which is less than 95 % up to five."""

ALIKE = 0.05
"""An interval that holds 1 and lies within this share of it shows that two sides are as good as equally fast."""

_RESAMPLES = 2000
_BINS = 40
_MOST_RUNS = 4000  # of a side that are drawn from; of more, each turn is represented by its quantiles


def percentiles(times: np.ndarray, levels: Sequence[int] = (50, 90, 95, 99)) -> dict[str, float]:
    """{"p50": ..., ...} of times float64[n], in their unit."""
    values = np.percentile(times, levels)
    return {f"p{level}": round(float(value), 4) for level, value in zip(levels, values)}


def histogram(times: np.ndarray) -> dict[str, list[Any]]:
    """{"edges_ms": float[b + 1], "counts": int[b]} of times float64[n] in milliseconds; every run is counted.

    Bins are equally wide up to p99, as wide as Freedman and Diaconis (1981) advise: 2 IQR / n^(1/3), at most 40 of
    them. What is beyond p99 lies in one more bin, which reaches up to the slowest run: a few stalls would else leave
    all others in one bin.
    """
    least, most = float(times.min()), float(times.max())
    end = float(np.percentile(times, 99))
    if not end > least:
        return {"edges_ms": [_short(least), _short(most)], "counts": [len(times)]}
    low, high = np.percentile(times, [25, 75])
    width = 2 * float(high - low) / len(times) ** (1 / 3)
    bins = max(1, min(_BINS, math.ceil((end - least) / width))) if width > 0 else _BINS
    edges = np.linspace(least, end, bins + 1)
    if most > end:
        edges = np.append(edges, most)
    counts, _ = np.histogram(times, edges)
    return {"edges_ms": [_short(float(edge)) for edge in edges], "counts": [int(count) for count in counts]}


def noisy(times: np.ndarray) -> bool:
    """Whether the quartiles of times float64[n] lie too far apart for their median to be more than rough."""
    low, middle, high = np.percentile(times, [25, 50, 75])
    return bool(high - low > NOISY * middle)


def ratio_interval(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """95 % confidence interval of median(ours) / median(theirs); None of fewer than LEAST_TURNS turns.

    ours, theirs: the turns of both sides, times float64[runs of the turn]; turns of one index were neighbours in time.

    Turns are drawn with replacement, both sides of a turn together, and the ratio of the medians of all their runs is
    taken: the cluster bootstrap (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8; for
    benchmarks: Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013, section 6). The interval is
    the percentile interval, expanded for few turns as Hesterberg advises (What Teachers Should Know About the
    Bootstrap, The American Statistician 69, 2015, section 5.2). The draws are the same every time.
    """
    count = min(len(ours), len(theirs))
    if count < LEAST_TURNS:
        return None
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    ratios = _medians(ours[:count], draws) / _medians(theirs[:count], draws)
    tail = _expanded_tail(count)
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return round(float(low), 4), round(float(high), 4)


def verdict(interval: tuple[float, float] | None, busy: bool = False) -> str:
    """What an interval of the ratio shows: "faster", "slower", "alike", or "unclear", where it shows nothing.

    busy: either side is noisy. What others take from both sides is not the same share of both, so nothing is said then
    but of a difference that is larger than what counts as noise.
    """
    if interval is None:
        return "unclear"
    low, high = interval
    if high < (1 - NOISY if busy else 1):
        return "faster"
    if low > (1 + NOISY if busy else 1):
        return "slower"
    return "alike" if not busy and low >= 1 - ALIKE and high <= 1 + ALIKE else "unclear"


def _medians(turns: Sequence[np.ndarray], draws: np.ndarray) -> np.ndarray:
    """The median of all runs of the drawn turns: float64[resamples] of draws int[resamples, turns].

    The runs are sorted once; a draw only weights them.
    """
    most = max(1, _MOST_RUNS // len(turns))
    thinned = [_thinned(np.asarray(turn, np.float64), most) for turn in turns]
    runs = np.concatenate(thinned)
    owner = np.repeat(np.arange(len(thinned)), [len(turn) for turn in thinned])
    order = np.argsort(runs, kind="stable")
    runs, owner = runs[order], owner[order]
    medians = np.empty(len(draws))
    for start in range(0, len(draws), 200):  # bounds the memory: 200 x 4000 x 4 bytes
        below = np.cumsum(draws[start : start + 200, owner], axis=1, dtype=np.int32)
        total = below[:, -1:]
        lower = (below >= (total + 1) // 2).argmax(axis=1)
        upper = (below >= total // 2 + 1).argmax(axis=1)
        medians[start : start + 200] = (runs[lower] + runs[upper]) / 2
    return medians


def _thinned(turn: np.ndarray, most: int) -> np.ndarray:
    if len(turn) <= most:
        return turn
    return np.asarray(np.quantile(turn, (np.arange(most) + 0.5) / most))


def _expanded_tail(count: int) -> float:
    """The share of resamples that is left out at either end.

    A bootstrap of n values underestimates their spread by sqrt((n - 1) / n), and takes the normal distribution where
    Student's is due. Student's quantile is expanded as in Abramowitz and Stegun, 26.7.5; of 5 degrees of freedom it is
    2.568 for 2.571.
    """
    z, v = 1.959964, count - 1
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    return 0.5 * math.erfc(math.sqrt(count / v) * t / math.sqrt(2))


def _short(value: float) -> float:
    return round(value, 5)
