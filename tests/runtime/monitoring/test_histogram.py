"""The histogram of latencies: its error, its bins, and that merging loses nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.runtime.monitoring.histogram import ERROR, LEAST, MOST, Latencies, upper_bound

DURATIONS = st.lists(st.floats(2.0**LEAST, 2.0 ** (MOST - 1)), min_size=1, max_size=300)


def counted(durations) -> Latencies:
    made = Latencies()
    for each in durations:
        made.add(each)
    return made


@given(DURATIONS, st.floats(0, 1))
def test_a_quantile_is_off_by_at_most_the_stated_error(durations, share):
    exact = sorted(durations)[math.floor(share * (len(durations) - 1))]
    assert counted(durations).quantile(share) == pytest.approx(exact, rel=ERROR * (1 + 1e-9))


@given(DURATIONS, DURATIONS)
def test_merging_is_the_same_as_counting_together(first, second):
    merged, together = counted(first), counted([*first, *second])
    merged.merge(counted(second))
    assert merged.counts == together.counts
    assert (merged.count, merged.least, merged.most) == (together.count, together.least, together.most)
    assert merged.total == pytest.approx(together.total)


@given(DURATIONS)
def test_cumulative_counts_are_exact(durations):
    for bound, count in counted(durations).cumulative():
        assert count == sum(each <= bound for each in durations)


@given(DURATIONS)
def test_a_document_can_be_merged_too(durations):
    made = counted(durations)
    again = Latencies.from_json(made.to_json())
    assert (again.counts, again.count, again.total) == (made.counts, made.count, made.total)


def test_bounds_are_powers_of_two_every_32_bins():
    assert upper_bound(0) == 2.0**LEAST
    assert upper_bound(32 * -LEAST) == 1.0
    assert counted([1.0]).cumulative()[-LEAST] == (1.0, 1)
    assert counted([1.0]).cumulative()[-LEAST - 1] == (0.5, 0)


def test_what_is_out_of_range_is_counted_and_its_extremes_are_exact():
    made = counted([0.0, -1e-3, 1e9])
    assert (made.count, made.least, made.most) == (3, -1e-3, 1e9)
    assert sum(made.counts) == 3
    assert made.cumulative()[-1][1] == 2


def test_nothing_has_no_quantiles():
    assert Latencies().quantile(0.5) is None
    assert Latencies().to_json()["p99"] is None
