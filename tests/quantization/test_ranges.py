"""Ranges contain 0, clip what should be clipped, and quantize better than min-max where tails are heavy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgec.quantization.ranges import choose_range, has_few_values
from edgec.quantization.statistics import HistogramBank, TensorStatistics

METHODS = ("minmax", "percentile", "mse", "entropy")


def statistics(values, steps=1, channels=None):
    values = np.asarray(values, np.float32).reshape(-1)
    bank = HistogramBank(1, np.zeros(len(values), np.int64))
    bank.add(values)
    peaks = None if channels is None else np.full(channels, values.max(), np.float32)
    return TensorStatistics(
        float(values.min()),
        float(values.max()),
        len(values),
        steps,
        bank.counts()[0],
        float(bank.widths[0]),
        channel_max=peaks,
    )


def squared_error(values, low, high):
    """Of quantization to the 8-bit grid of a range, with an integer zero point."""
    step = (high - low) / 255
    zero_point = np.rint(-low / step)
    quantized = np.clip(np.rint(values / step) + zero_point, 0, 255)
    return float(np.mean(((quantized - zero_point) * step - values) ** 2))


def heavy_tailed(seed):
    return np.random.default_rng(seed).standard_t(4, 1_000_000).astype(np.float32)


@given(hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e6, 1e6, width=32)), st.sampled_from(METHODS))
def test_a_range_contains_zero_and_nothing_that_was_not_seen(values, method):
    low, high = choose_range(statistics(values), method)
    assert min(0.0, float(values.min())) <= low <= 0.0 <= high <= max(0.0, float(values.max()))


@given(hnp.arrays(np.float32, 200, elements=st.floats(-100, 100, width=32)))
def test_minmax_is_exact(values):
    assert choose_range(statistics(values), "minmax") == (min(0.0, values.min()), max(0.0, values.max()))


@pytest.mark.parametrize("seed", range(4))
def test_mse_beats_minmax_on_heavy_tails(seed):
    values = heavy_tailed(seed)
    found = statistics(values)
    ours = squared_error(values, *choose_range(found, "mse"))
    assert ours < 0.8 * squared_error(values, *choose_range(found, "minmax"))


@pytest.mark.parametrize("seed", range(4))
def test_mse_is_near_the_best_of_an_exhaustive_search(seed):
    values = np.random.default_rng(seed).laplace(0.5, 1.0, 20_000).astype(np.float32)
    lows, highs = np.linspace(values.min(), -0.5, 40), np.linspace(2.0, values.max(), 40)
    best = min(squared_error(values, low, high) for low in lows for high in highs)
    assert squared_error(values, *choose_range(statistics(values), "mse")) < 1.05 * best


def test_mse_clips_the_two_ends_on_their_own():
    rng = np.random.default_rng(0)
    values = np.concatenate((rng.uniform(-1, 1, 1_000_000), [8.0])).astype(np.float32)
    low, high = choose_range(statistics(values), "mse")
    assert low == pytest.approx(-1.0, rel=0.05)
    assert 1.0 <= high < 6.0


def test_a_relu_keeps_all_its_levels_for_positive_values():
    values = np.maximum(0, heavy_tailed(1))
    for method in METHODS:
        low, high = choose_range(statistics(values), method)
        assert low == 0.0 < high


def test_percentile_cuts_one_in_ten_thousand_at_each_end():
    values = np.linspace(-1, 1, 1_000_001).astype(np.float32)
    low, high = choose_range(statistics(values), "percentile")
    assert low == pytest.approx(-0.9998, abs=0.001)
    assert high == pytest.approx(0.9998, abs=0.001)


def test_entropy_cuts_a_far_outlier():
    values = np.concatenate((np.random.default_rng(0).normal(size=200_000), [12.0])).astype(np.float32)
    low, high = choose_range(statistics(values), "entropy")
    assert 3.0 < high < 12.0
    assert low == pytest.approx(values.min(), rel=0.3)


@pytest.mark.parametrize("method", METHODS)
def test_a_useful_interval_is_never_left(method):
    low, high = choose_range(statistics(heavy_tailed(2) * 10), method, useful=(-3.0, np.inf))
    assert low >= -3.0
    assert high > 3.0


def test_values_outside_of_the_useful_interval_cost_nothing():
    """A few large negative values before a HardSwish must not take levels from the positive ones."""
    rng = np.random.default_rng(3)
    values = np.concatenate((rng.uniform(-3, 4, 50_000), rng.uniform(-100, -50, 5_000))).astype(np.float32)
    assert choose_range(statistics(values), "mse", useful=(-3.0, np.inf)) == pytest.approx((-3.0, 4.0), rel=0.05)


def test_pooled_vectors_are_not_clipped():
    values = heavy_tailed(5)
    pooled = statistics(values, steps=1000, channels=1000)
    assert has_few_values(pooled)
    assert choose_range(pooled, "mse") == choose_range(pooled, "minmax")
    assert not has_few_values(statistics(values, steps=1000, channels=100))


def test_a_tensor_of_zeros_has_the_empty_range():
    for method in METHODS:
        assert choose_range(statistics(np.zeros(1000)), method) == (0.0, 0.0)


def test_an_unknown_method_is_an_error():
    with pytest.raises(ValueError, match="median"):
        choose_range(statistics([1.0]), "median")
