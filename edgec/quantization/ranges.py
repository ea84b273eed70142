"""From a tensor's statistics to the range that its 8-bit grid shall cover.

- minmax: every value that was seen.
- percentile: all but 0.01 % of the values at each end.
- mse: least mean squared error of the quantized values; clipping a few outliers can pay for a finer grid.
- entropy: least Kullback-Leibler divergence between the distribution before and after, as described by S. Migacz,
  "8-bit Inference with TensorRT", GTC 2017; the candidate intervals are cut off at the values that occur, so that a
  tensor without negative values gets all 256 levels for the positive ones.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from edgec.quantization.statistics import BINS, TensorStatistics

Array = npt.NDArray[np.float64]
Method = Literal["minmax", "percentile", "mse", "entropy"]

PERCENTILE = 99.99
LEVELS = 256

_CANDIDATES = 64  # limits tried at each end
_FINALISTS = 24  # pairs of limits that are judged on the actual grid
_ENTROPY_CANDIDATES = 96
_FEW_VALUES = 64


def choose_range(
    statistics: TensorStatistics, method: Method, useful: tuple[float, float] | None = None
) -> tuple[float, float]:
    """The range (low, high), low <= 0 <= high, for asymmetric 8-bit quantization of a tensor.

    useful: interval outside of which no reader of the tensor can tell values apart (a sigmoid saturates). Values
        outside are moved to its edge before anything else.

    A tensor with few values a run (the pooled vector of a squeeze-excite block) gets its min-max range whatever the
    method: calibration can't know its tails. (0.0, 0.0) means that the tensor is always 0.
    """
    if method not in get_args(Method):
        raise ValueError(f"unknown range method {method!r}")
    low, high = min(statistics.minimum, 0.0), max(statistics.maximum, 0.0)
    if useful is not None:
        low, high = min(0.0, max(low, useful[0])), max(0.0, min(high, useful[1]))
    if method == "minmax" or low == high or has_few_values(statistics):
        return low, high
    values, weights = _distribution(statistics, low, high)
    if method == "percentile":
        return _percentile(values, weights, low, high, statistics.bin_width)
    if method == "mse":
        return _least_error(values, weights, low, high)
    return _least_divergence(values, weights, low, high, statistics.bin_width)


def has_few_values(statistics: TensorStatistics) -> bool:
    """Whether a run gives at most one value a channel, or a handful in all."""
    channels = 1 if statistics.channel_max is None else len(statistics.channel_max)
    return statistics.count <= statistics.steps * max(channels, _FEW_VALUES)


def _distribution(statistics: TensorStatistics, low: float, high: float) -> tuple[Array, Array]:
    """Values in ascending order and how often each occurs, those outside [low, high] moved to its edge.

    The histogram saw a sample, the extremes are exact: they are added with the weight of one element.
    """
    occupied = np.flatnonzero(statistics.histogram)
    counts = statistics.histogram[occupied].astype(np.float64)
    one_element = max(1.0, counts.sum()) / max(1, statistics.count)
    values = np.concatenate(([statistics.minimum], statistics.bin_centers()[occupied], [statistics.maximum]))
    weights = np.concatenate(([one_element], counts, [one_element]))
    values = np.clip(values, max(low, statistics.minimum), min(high, statistics.maximum))
    return values, weights


def _percentile(values: Array, weights: Array, low: float, high: float, bin_width: float) -> tuple[float, float]:
    share = np.cumsum(weights) / weights.sum()
    tail = 1 - PERCENTILE / 100
    first = values[np.searchsorted(share, tail)] - bin_width / 2
    last = values[min(int(np.searchsorted(share, 1 - tail)), len(values) - 1)] + bin_width / 2
    return max(low, min(0.0, float(first))), min(high, max(0.0, float(last)))


def _least_error(values: Array, weights: Array, low: float, high: float) -> tuple[float, float]:
    """All pairs of candidate limits by an estimate, the best of them on the grid that they really make."""
    shrink = np.linspace(1.0, 1.0 / _CANDIDATES, _CANDIDATES)
    lows = low * shrink if low < 0 else np.zeros(1)
    highs = high * shrink if high > 0 else np.zeros(1)
    # Clipping error at each end from moments of the tail; a rounding error of step² / 12 for all that is not 0.
    below = _tail_moments(values, weights, lows, upper=False)
    above = _tail_moments(values, weights, highs, upper=True)
    steps = (highs[None, :] - lows[:, None]) / (LEVELS - 1)
    rounded = weights[values != 0].sum()
    estimate = below[:, None] + above[None, :] + rounded * steps**2 / 12
    best = np.argsort(estimate, axis=None, kind="stable")[:_FINALISTS]
    pairs = zip(*np.unravel_index(best, estimate.shape), strict=True)
    finalists = {(low, high), *((float(lows[i]), float(highs[j])) for i, j in pairs)}
    return min(sorted(finalists), key=lambda limits: _grid_error(values, weights, *limits))


def _tail_moments(values: Array, weights: Array, limits: Array, upper: bool) -> Array:
    """For each limit, the weighted sum of (value - limit)² over the values beyond it."""
    zeroth, first, second = (np.concatenate(([0.0], np.cumsum(weights * values**power))) for power in (0, 1, 2))
    at = np.searchsorted(values, limits, side="right" if upper else "left")
    if upper:
        zeroth, first, second = (moment[-1] - moment for moment in (zeroth, first, second))
    return np.maximum(0.0, second[at] - 2 * limits * first[at] + limits**2 * zeroth[at])


def _grid_error(values: Array, weights: Array, low: float, high: float) -> float:
    """Weighted squared error of quantizing `values` to the grid whose zero point is an integer."""
    step = (high - low) / (LEVELS - 1)
    if step == 0:
        return float((weights * values**2).sum())
    zero_point = np.rint(-low / step)
    quantized = np.clip(np.rint(values / step) + zero_point, 0, LEVELS - 1)
    return float((weights * ((quantized - zero_point) * step - values) ** 2).sum())


def _least_divergence(values: Array, weights: Array, low: float, high: float, bin_width: float) -> tuple[float, float]:
    peak = max(-low, high)
    candidates = np.linspace(peak, peak / 8, _ENTROPY_CANDIDATES)
    best = (np.inf, low, high)
    for limit in candidates:
        limits = max(low, -float(limit)), min(high, float(limit))
        if limits[1] - limits[0] < LEVELS * bin_width:  # fewer bins than levels: the divergence would be 0 for no merit
            break
        divergence = _divergence(values, weights, *limits)
        if divergence < best[0]:
            best = (divergence, *limits)
    return best[1], best[2]


def _divergence(values: Array, weights: Array, low: float, high: float) -> float:
    """KL(P || Q): P has the clipped values added to its edges; Q spreads each level's own weight over its bins."""
    inside = (values >= low) & (values <= high)
    if not inside.any():
        return np.inf
    original = weights[inside].copy()
    kept = weights[inside]
    original[0] += weights[values < low].sum()
    original[-1] += weights[values > high].sum()
    step = (high - low) / (LEVELS - 1)
    level = np.clip(np.rint((values[inside] - low) / step), 0, LEVELS - 1).astype(np.int64)
    spread = np.bincount(level, kept, LEVELS) / np.maximum(np.bincount(level, minlength=LEVELS), 1)
    quantized = spread[level]
    original, quantized = original / original.sum(), quantized / quantized.sum()
    return float((original * np.log(original / quantized)).sum())


assert BINS >= 8 * LEVELS  # a range found here must still have several bins a level
