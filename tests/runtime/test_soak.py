"""Drift and leaks: series made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.runtime.bench import Start, figures
from edgec.runtime.soak import LEAK_BYTES, Blocks, Watch, Window, condensed, findings
from edgec.runtime.trends import trend
from edgec.runtime.turns import Turn

MIB = 1 << 20
HOURS = np.arange(60) * 60.0


def windows(latency=1.0, memory=100 * MIB, count=60):
    """One a minute; latency and memory: numbers, or functions of the share of the time that has passed."""

    def at(course, index):
        return course(index / (count - 1)) if callable(course) else course

    rng = np.random.default_rng(0)
    return [
        Window(60.0 * (i + 1), 100, at(latency, i) * rng.normal(1, 0.01), 2.0, 3.0, int(at(memory, i)), 40.0 + i, None)
        for i in range(count)
    ]


def test_a_slope_is_found_with_its_size():
    found = trend(HOURS, 5 + HOURS / 3600)
    assert found.significant
    assert found.per_hour == pytest.approx(1)
    assert found.change == pytest.approx(59 / 60)


def test_noise_has_no_trend_more_often_than_one_in_a_hundred():
    rng = np.random.default_rng(0)
    found = sum(trend(HOURS, rng.normal(5, 1, 60)).significant for _ in range(500))
    assert found <= 12  # 5 are expected, with a standard deviation of 2.2


def test_equal_values_have_no_trend():
    assert trend(HOURS, np.full(60, 5.0)).chance == 1


def test_nine_values_are_too_few():
    assert trend(HOURS[:9], np.arange(9.0)) is None


def test_ties_are_allowed_for():
    """By hand: of ten values, the last five are larger, so S = 25; its variance is (10 9 25 - 2 5 4 15) / 18 = 91.7."""
    found = trend(np.arange(10.0), np.array([1.0] * 5 + [2.0] * 5))
    assert found.chance == pytest.approx(0.01219, abs=1e-5)  # 2 (1 - Phi(24 / sqrt(91.7)))


@pytest.mark.parametrize(
    ("latency", "verdict"),
    [
        (1.0, "steady"),
        (lambda share: 1 + 0.2 * share, "slower"),
        (lambda share: 1.2 - 0.2 * share, "faster"),
        (lambda share: 1 + 0.02 * share, "steady"),
        (lambda share: 2.0 if share < 0.08 else 1.0, "steady"),
        (lambda share: 500.0 if share > 0.94 else 1.0, "steady"),
    ],
    ids=["flat", "rising", "falling", "rising by less than 5 %", "slow in its warm-up", "stalls at the end"],
)
def test_latency_drifts_where_the_trend_is_large_enough(latency, verdict):
    assert findings(windows(latency))["latency"]["verdict"] == verdict


@pytest.mark.parametrize(
    ("memory", "verdict"),
    [
        (100 * MIB, "steady"),
        (lambda share: (100 + 20 * share) * MIB, "leak"),
        (lambda share: (100 + 0.5 * share) * MIB, "steady"),
        (lambda share: (100 + 20 * min(share, 0.4)) * MIB, "steady"),
        (lambda share: (100 - 20 * share) * MIB, "steady"),
    ],
    ids=["flat", "growing", "growing by less than 1 MiB", "a cache that fills", "shrinking"],
)
def test_memory_leaks_where_it_goes_on_growing(memory, verdict):
    found = findings(windows(memory=memory))["memory"]
    assert found["verdict"] == verdict


def test_the_size_of_a_leak_is_told_by_the_hour():
    found = findings(windows(memory=lambda share: (100 + 59 * share) * MIB))["memory"]
    assert found["trend"]["per_hour"] == pytest.approx(60 * MIB, rel=0.01)


def test_few_windows_say_nothing():
    found = findings(windows(count=8))
    assert (found["latency"]["verdict"], found["memory"]["verdict"]) == ("too short", "too short")


def test_memory_that_the_system_does_not_tell_is_not_judged():
    made = [Window(float(i), 1, 1.0, 1.0, 1.0, None, None, None) for i in range(60)]
    found = findings(made)
    assert found["memory"]["verdict"] == "unknown"
    assert (found["celsius"], found["megahertz"]) == (None, None)


def test_the_course_of_the_temperature_is_told():
    assert findings(windows())["celsius"] == {"first": 40.0, "last": 99.0, "most": 99.0}


def test_turns_are_collected_into_windows():
    watch = Watch(1.0)
    for i in range(10):
        watch.add(Turn(np.full(4, 1.0 + i), 1.0, 0.3, 7), 0.3 * (i + 1))
    assert [window.queries for window in watch.windows] == [16, 12, 12]
    assert [window.p50_ms for window in watch.windows] == [2.5, 6.0, 9.0]
    assert [window.seconds for window in watch.windows] == [1.2, 2.1, 3.0]
    assert watch.windows[0].resident_bytes == 7


def test_a_turn_of_very_many_queries_is_kept_as_its_quantiles():
    times = np.random.default_rng(0).lognormal(0, 0.3, 100_000)
    kept = condensed(Turn(times, 5.0, 1.0, None, 2.0))
    assert len(kept.milliseconds) == 200
    assert np.percentile(kept.milliseconds, [50, 99]) == pytest.approx(np.percentile(times, [50, 99]), rel=0.03)
    assert kept.milliseconds.mean() == pytest.approx(times.mean(), rel=0.01)
    assert (kept.cpu_milliseconds, kept.waited_milliseconds, kept.queries) == (5.0, 2.0, 100_000)


def test_a_long_soak_takes_no_more_memory_than_a_short_one():
    """A leak of what watches would be taken for one of what is watched."""
    blocks, rng = Blocks(), np.random.default_rng(0)
    times = rng.lognormal(0, 0.3, (5000, 300))
    for index, row in enumerate(times):
        blocks.add(Turn(row, 2.0, 0.5, index, 0.25))
    kept = blocks.turns()
    assert sum(turn.milliseconds.nbytes for turn in kept) < LEAK_BYTES / 2
    assert sum(turn.queries for turn in kept) == 1_500_000
    assert sum(turn.cpu_milliseconds for turn in kept) == 10_000
    assert sum(turn.seconds for turn in kept) == 2500
    assert {turn.queries for turn in kept[:-1]} == {32 * 300}, "blocks count alike"
    every = np.concatenate([turn.milliseconds for turn in kept])
    assert (every.min(), every.max()) == (times.min(), times.max())
    assert np.percentile(every, [50, 99]) == pytest.approx(np.percentile(times, [50, 99]), rel=0.02)
    assert kept[-1].resident == 4999


def test_turns_of_a_short_soak_stay_as_they_are():
    blocks, turns = Blocks(), [Turn(np.array([1.0 + i]), 1.0, 1.0, None) for i in range(200)]
    for turn in turns:
        blocks.add(turn)
    assert blocks.turns() == turns


def test_figures_of_condensed_turns_are_those_of_all_queries():
    turns = [Turn(np.full(1000, 0.5), 400.0, 0.5, None, 0.0) for _ in range(6)]
    start = Start(1.0, 1.0, None)
    whole, kept = (figures(each, start, 1, None) for each in (turns, [condensed(turn) for turn in turns]))
    for key in ("runs", "per_second", "cpu_ms", "latency_ms", "waiting"):
        assert kept[key] == whole[key]
    assert (kept["runs"], kept["per_second"], kept["cpu_ms"]) == (6000, 2000.0, 0.4)
