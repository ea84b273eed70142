"""How many independent observations a series is worth: neighbours in time resemble each other."""

from __future__ import annotations

import numpy as np

_SAME = 1e-9  # relative to the largest: what rounding makes of a value that never changes


def effective_runs(series: np.ndarray) -> np.ndarray:
    """The number of independent runs that float64[n, statistics] are worth, for each statistic: float64[statistics].

    n / (1 + 2 sum of autocorrelations), summed in pairs until a pair is not positive (Geyer, Practical Markov Chain
    Monte Carlo, Statistical Science 7, 1992, section 3.3). Between 1 and n; n also for what never changes, of
    which this tells nothing.
    """
    count = len(series)
    worth = np.full(series.shape[1], float(count))
    for index, column in enumerate(series.T):
        centred = column - column.mean()
        variance = float(centred @ centred) / count
        if count < 4 or variance <= (_SAME * float(np.abs(column).max())) ** 2:
            continue
        spectrum = np.abs(np.fft.rfft(centred, 2 * count)) ** 2
        correlations = np.fft.irfft(spectrum)[:count] / (count * variance)
        pairs = correlations[: count // 2 * 2].reshape(-1, 2).sum(axis=1)
        stop = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else len(pairs)
        worth[index] = min(count, max(1.0, count / max(1.0, 2 * float(pairs[:stop].sum()) - 1)))
    return worth


def varied_runs(count: int, variance_ratio: float, of: float) -> float:
    """The number of independent runs that `count` runs are worth which vary less than those of the profile.

    variance_ratio: their variance over that of the profile's `of` runs. Runs of one scene are a cluster with the
    correlation rho = 1 - ratio, worth n / (1 + (n - 1) rho) (Kish, Survey Sampling, 1965, section 5.4). What chance may
    take off a ratio of 1 (2.33 standard errors of a ratio of variances, for a kurtosis of 4) does not count.
    """
    chance = 1 + 2.33 * float(np.sqrt(3 * (1 / count + 1 / of)))
    correlation = max(0.0, 1 - variance_ratio * chance)
    return count / (1 + (count - 1) * correlation)
