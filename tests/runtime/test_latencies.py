"""What is made of times: numbers made by hand, no clocks."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.runtime.latencies import histogram, noisy, percentiles, ratio_interval, verdict


def turns(rng, median, count=10, between=0.1, within=0.02, runs=16):
    """Turns as a busy machine makes them: what hits a turn hits all of its runs."""
    moods = rng.normal(0, between, count)
    return [median * np.exp(mood + rng.normal(0, within, runs)) for mood in moods]


def test_percentiles_are_those_of_all_runs():
    found = percentiles(np.arange(1, 101, dtype=float))
    assert found == {"p50": 50.5, "p90": 90.1, "p95": 95.05, "p99": 99.01}


def test_a_histogram_counts_every_run():
    times = np.random.default_rng(0).lognormal(0, 0.1, 1000)
    times[7] = 50.0
    found = histogram(times)
    assert sum(found["counts"]) == 1000
    assert len(found["edges_ms"]) == len(found["counts"]) + 1
    assert found["edges_ms"] == sorted(found["edges_ms"])
    assert found["edges_ms"][-1] == 50.0
    assert max(found["counts"]) < 500, "one stall must not squeeze all others into one bin"


@pytest.mark.parametrize("times", [[2.0], [2.0] * 50])
def test_equal_times_have_one_bin(times):
    assert histogram(np.array(times)) == {"edges_ms": [2.0, 2.0], "counts": [len(times)]}


def test_times_whose_quartiles_are_equal_still_have_bins():
    found = histogram(np.array([2.0] * 90 + [3.0] * 10))
    assert (found["counts"][0], sum(found["counts"])) == (90, 100)


@pytest.mark.parametrize("count", [6, 20])
def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says(count):
    """Of 200 made-up measurements; 190 are expected, with a standard deviation of 3."""
    rng = np.random.default_rng(count)
    held = 0
    for _ in range(200):
        low, high = ratio_interval(turns(rng, 1.0, count), turns(rng, 2.0, count))
        held += low <= 0.5 <= high
    assert 180 <= held <= 200


def test_a_moment_that_hits_both_sides_does_not_widen_the_interval():
    rng = np.random.default_rng(0)
    moods = np.exp(rng.normal(0, 0.3, 20))
    ours = [mood * rng.normal(1, 0.01, 16) for mood in moods]
    theirs = [mood * rng.normal(2, 0.02, 16) for mood in moods]
    apart = [mood * rng.normal(2, 0.02, 16) for mood in rng.permutation(moods)]
    low, high = ratio_interval(ours, theirs)
    far_low, far_high = ratio_interval(ours, apart)
    assert (high - low) < (far_high - far_low)


def test_the_same_times_give_the_same_interval():
    sides = turns(np.random.default_rng(1), 1.0), turns(np.random.default_rng(2), 2.0)
    assert ratio_interval(*sides) == ratio_interval(*sides)


def test_five_turns_have_no_interval():
    rng = np.random.default_rng(0)
    assert ratio_interval(turns(rng, 1.0, 5), turns(rng, 2.0, 5)) is None


def test_turns_of_very_many_runs_are_represented_by_their_quantiles():
    rng = np.random.default_rng(0)
    ours, theirs = turns(rng, 1.0, runs=20_000), turns(rng, 2.0, runs=20_000)
    thinned = ratio_interval(ours, theirs)
    whole = ratio_interval([turn[:400] for turn in ours], [turn[:400] for turn in theirs])
    assert thinned == pytest.approx(whole, rel=0.01)


@pytest.mark.parametrize(
    ("interval", "expected", "when_busy"),
    [
        ((0.5, 0.6), "faster", "faster"),
        ((0.8, 0.9), "faster", "unclear"),
        ((1.1, 1.2), "slower", "unclear"),
        ((1.3, 1.6), "slower", "slower"),
        ((0.97, 1.03), "alike", "unclear"),
        ((0.9, 1.2), "unclear", "unclear"),
        (None, "unclear", "unclear"),
    ],
)
def test_nothing_is_claimed_that_an_interval_does_not_show(interval, expected, when_busy):
    assert verdict(interval) == expected
    assert verdict(interval, busy=True) == when_busy


def test_wide_quartiles_are_noise():
    assert noisy(np.array([1.0, 1.0, 2.0, 2.0]))
    assert not noisy(np.array([1.0] * 99 + [90.0]))
