"""What is made of times; the times themselves are the machine's business."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.contract import Contract, TensorSpec
from edgec.runners.timing import in_turns, probe, summary


def test_the_ratio_is_below_one_where_the_candidate_is_faster():
    timing = summary([[2.0] * 5] * 4, [[8.0] * 5] * 4)
    assert timing.ratio == 0.25
    assert timing.ratio_quartiles == (0.25, 0.25)
    assert (timing.candidate["p50"], timing.runs) == (2, 20)
    assert not timing.noisy


def test_one_outlier_changes_neither_ratio_nor_trust():
    ours = [[2.0] * 10, [2.0] * 9 + [90.0], [2.0] * 10, [2.0] * 10]
    timing = summary(ours, [[8.0] * 10] * 4)
    assert (timing.ratio, timing.noisy) == (0.25, False)
    assert timing.candidate["p99"] > 10


def test_a_ratio_comes_with_its_interval_where_there_are_turns_enough():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(2, 0.1, (6, 10)), rng.normal(8, 0.4, (6, 10))
    low, high = summary(ours, theirs).ratio_interval
    assert 0.23 < low < 0.25 < high < 0.27
    assert summary(ours[:5], theirs[:5]).ratio_interval is None


def test_the_histogram_of_a_side_counts_all_of_its_runs():
    histogram = summary([[2.0, 2.5, 3.0]] * 4, [[8.0] * 3] * 4).candidate["histogram"]
    assert sum(histogram["counts"]) == 12
    assert (histogram["edges_ms"][0], histogram["edges_ms"][-1]) == (2, 3)


def test_wide_quartiles_are_called_noisy():
    rng = np.random.default_rng(0)
    assert summary(rng.uniform(1, 5, (5, 10)), rng.uniform(1, 5, (5, 10))).noisy


def test_waiting_for_others_is_noise_too():
    assert summary([[2.0] * 5] * 6, [[8.0] * 5] * 6, waiting=0.2).noisy
    assert not summary([[2.0] * 5] * 6, [[8.0] * 5] * 6, waiting=0.05).noisy


def test_both_run_equally_often_in_blocks_that_take_turns():
    calls = []
    timing = in_turns(lambda: calls.append("a"), lambda: calls.append("b"), seconds=0.0)
    counted = "".join(calls[6:])
    assert timing.runs == 12
    assert counted == ("aaabbb" + "bbbaaa") * 3


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool"])
def test_a_probe_fits_the_contract(dtype):
    feeds = probe(Contract((TensorSpec("x", dtype, (1, 4)),), ()))
    assert (feeds["x"].dtype.name, feeds["x"].shape) == (dtype, (1, 4))
