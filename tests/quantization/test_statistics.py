"""Histograms are exact whatever the order, statistics survive the disk, and equal ones give equal bytes."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgec.errors import ArtifactError
from edgec.quantization.statistics import BINS, HistogramBank, TensorStatistics, fold, load, merged, save, width_for

finite = st.floats(-(2.0**50), 2.0**50, width=32).map(lambda x: x if abs(x) > 2.0**-50 else 0.0)  # no underflow
vectors = hnp.arrays(np.float32, st.integers(1, 40), elements=finite)


def histogram(chunks):
    """The histogram of one tensor that is fed chunk by chunk."""
    total, width = np.zeros(BINS, np.int64), 0.0
    for chunk in chunks:
        bank = HistogramBank(1, np.zeros(len(chunk), np.int64))
        bank.add(chunk)
        wider = max(width, bank.widths[0])
        total = fold(total, round(math.log2(wider / width)) if width else 0)
        total = total + fold(bank.counts()[0], round(math.log2(wider / bank.widths[0])))
        width = wider
    return total, width


def statistics(values, bin_width=None):
    counts, width = histogram([np.asarray(values, np.float32)])
    return TensorStatistics(float(np.min(values)), float(np.max(values)), len(values), 1, counts, width)


@given(vectors)
def test_every_value_is_in_the_bin_that_its_definition_names(values):
    counts, width = histogram([values])
    bins = np.floor(values.astype(np.float64) / width).astype(int) + BINS // 2
    np.testing.assert_array_equal(counts, np.bincount(bins, minlength=BINS))


@given(vectors, st.randoms(use_true_random=False))
def test_order_does_not_matter(values, random):
    shuffled = values[random.sample(range(len(values)), len(values))]
    one, two = histogram([values[i : i + 1] for i in range(len(values))]), histogram([shuffled])
    np.testing.assert_array_equal(one[0], two[0])
    assert one[1] == two[1]


@given(vectors, st.integers(0, 12))
def test_doubling_equals_a_histogram_of_the_wider_bins(values, doublings):
    counts, width = histogram([values])
    wide = np.floor(values.astype(np.float64) / (width * 2.0**doublings)).astype(int) + BINS // 2
    np.testing.assert_array_equal(fold(counts, doublings), np.bincount(wide, minlength=BINS))


@given(st.lists(vectors, min_size=2, max_size=4))
def test_merging_equals_one_histogram_of_all(parts):
    whole = merged([statistics(part) for part in parts])
    together = statistics(np.concatenate(parts))
    np.testing.assert_array_equal(whole.histogram, together.histogram)
    assert (whole.minimum, whole.maximum, whole.count) == (together.minimum, together.maximum, together.count)


def test_a_bank_keeps_its_rows_apart_and_widens_them_one_by_one():
    bank = HistogramBank(2, np.array([0, 1, 1]))
    for scale in (1.0, 1000.0):
        bank.add(np.array([1.0, scale, -scale], np.float32))
    small, large = bank.counts()
    assert (small.sum(), large.sum()) == (2, 4)
    assert bank.widths[0] == width_for(1.0)
    assert bank.widths[1] == width_for(1000.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bank_refuses_what_is_not_finite(bad):
    bank = HistogramBank(1, np.zeros(2, np.int64))
    bank.add(np.array([1.0, bad], np.float32))
    with pytest.raises(ValueError, match="finite"):
        bank.counts()


def test_merging_weighs_tensors_by_their_size_not_by_their_sampling():
    sampled = dataclasses.replace(statistics(np.full(100, 1.0)), count=10_000)
    full = statistics(np.full(10_000, -1.0))
    whole = merged([sampled, full]).histogram
    assert whole[: BINS // 2].sum() == whole[BINS // 2 :].sum()


def full_statistics(name):
    rng = np.random.default_rng(len(name))
    return dataclasses.replace(
        statistics(rng.normal(size=50)),
        shape=(1, 3, 4, 5),
        channel_axis=1,
        channel_min=rng.normal(size=3).astype(np.float32),
        channel_max=rng.normal(size=3).astype(np.float32),
        mean=rng.normal(size=3).astype(np.float32),
        axis_means=(rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32)),
    )


def test_the_file_holds_everything_and_its_bytes_depend_on_nothing_else(tmp_path):
    kept = {"stem/ä": full_statistics("stem"), "plain": statistics([1.0, 2.0])}
    save(tmp_path / "a.npz", kept)
    save(tmp_path / "b.npz", kept)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = load(tmp_path / "a.npz")
    assert list(found) == list(kept)
    for name, expected in kept.items():
        for field in dataclasses.fields(TensorStatistics):
            one, two = getattr(found[name], field.name), getattr(expected, field.name)
            np.testing.assert_equal(one, two)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    save(path, {"x": statistics([1.0])})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArtifactError, match="can't be read"):
        load(path)
