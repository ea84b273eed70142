"""On which samples an emulated device runs: as many as its work allows, evenly, the golden ones among them."""

from itertools import pairwise

import pytest

from edgec.parity.executed_samples import FEWEST, affordable, golden, spread


@pytest.mark.parametrize("count", [*range(1, 40), 64, 255, 256])
@pytest.mark.parametrize("most", [8, 9, 31, 100])
def test_the_first_the_middle_and_the_last_are_always_among_them(count, most):
    chosen = spread(count, most)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, most)
    assert set(golden(count)) <= set(chosen) <= set(range(count))


def test_they_are_spread_evenly():
    chosen = spread(256, 31)
    gaps = [after - before for before, after in pairwise(chosen)]
    assert max(gaps) <= 2 * 255 / 30
    assert spread(20, 20) == list(range(20))


def test_a_large_model_runs_on_fewer_samples_and_never_on_less_than_eight():
    counts = [affordable(macs, 1) for macs in (0, 10**6, 10**8, 385 * 10**6, 10**10, 10**12)]
    assert counts == sorted(counts, reverse=True)
    assert counts[3] == 30
    assert counts[-2:] == [FEWEST, FEWEST]


def test_a_sequence_counts_with_all_its_steps():
    assert affordable(10**7, 50) == max(FEWEST, affordable(10**7, 1) // 50)


def test_no_samples_have_no_golden_ones():
    assert golden(0) == []
    assert spread(0, 8) == []
