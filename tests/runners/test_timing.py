"""What is made of times; the times themselves are the machine's business."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.contract import Contract, TensorSpec
from edgec.runners.timing import in_turns, probe, summary


def test_the_ratio_is_above_one_where_the_candidate_is_faster():
    timing = summary(np.array([[2.0, 6.0]] * 20))
    assert timing.ratio == 3
    assert timing.ratio_quartiles == (3, 3)
    assert timing.candidate["p50"] == 2
    assert not timing.noisy


def test_one_outlier_changes_neither_ratio_nor_trust():
    times = np.array([[2.0, 6.0]] * 40)
    times[7] = (90.0, 6.0)
    timing = summary(times)
    assert (timing.ratio, timing.noisy) == (3, False)
    assert timing.candidate["p99"] > 10


def test_wide_quartiles_are_called_noisy():
    rng = np.random.default_rng(0)
    assert summary(rng.uniform(1, 5, (50, 2))).noisy


def test_both_run_equally_often_and_take_turns():
    calls = []
    timing = in_turns(lambda: calls.append("a"), lambda: calls.append("b"), seconds=0.0)
    assert calls.count("a") == calls.count("b") == timing.runs + 3
    assert {"".join(calls[i : i + 2]) for i in range(6, len(calls), 2)} == {"ab", "ba"}


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool"])
def test_a_probe_fits_the_contract(dtype):
    feeds = probe(Contract((TensorSpec("x", dtype, (1, 4)),), ()))
    assert (feeds["x"].dtype.name, feeds["x"].shape) == (dtype, (1, 4))
