"""How drift looks at a tensor: which elements, and which numbers sum up a run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgec.runtime.monitoring.effective import effective_runs, varied_runs
from edgec.runtime.monitoring.views import BINS, SAMPLED, Spread, View, binned, hashed, spread_of, views_of


def view(shape, dtype="float32", role="input"):
    return View("x", role, dtype, shape)


def summary(each, array):
    return dict(zip(each.statistics, each.look(array)[1].tolist(), strict=True))


def test_the_numbers_of_an_image_by_hand():
    image = np.zeros((1, 3, 8, 8), np.float32)
    image[0, 0] = 3.0
    image[0, 2, :, ::2] = 1.0
    found = summary(view(image.shape), image)
    assert found["mean"] == pytest.approx((3 + 0 + 0.5) / 3)
    assert found["spread"] == pytest.approx(math.log(image.std()))
    # Only the third channel has steps, between all of its neighbours.
    assert found["roughness"] == pytest.approx(math.log(1 / 3))
    mean = image.mean()
    assert [found[f"channel {c}"] for c in range(3)] == pytest.approx([3 - mean, -mean, 0.5 - mean])


def test_channels_may_be_last_and_neighbours_are_pixels_then():
    first = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    last = np.ascontiguousarray(first.transpose(0, 2, 3, 1))
    a, b = summary(view(first.shape), first), summary(view(last.shape), last)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name] == pytest.approx(b[name], abs=1e-5), name


def test_outputs_have_a_peak_and_vectors_no_channels():
    assert view((1, 10), role="output").statistics == ("mean", "spread", "peak")
    assert view((1, 5)).statistics == ("mean", "spread")
    assert view((1, 1)).statistics == ("mean",)
    assert view((1, 9), "int64").statistics == ("zeros",)


def test_bytes_are_numbers_and_wider_integers_are_ids():
    kinds = {dtype: view((4,), dtype).kind for dtype in ("uint8", "int8", "float16", "int32", "int64", "bool")}
    assert kinds == {
        "uint8": "numbers", "int8": "numbers", "float16": "numbers", "int32": "ids", "int64": "ids", "bool": "ids",
    }  # fmt: skip


def test_large_tensors_are_sampled_evenly_and_never_in_step_with_rows():
    ramp = np.arange(3 * 256 * 256, dtype=np.float32).reshape(1, 3, 256, 256)
    values, _ = view(ramp.shape).look(ramp)
    assert 0.9 * SAMPLED < len(values) <= SAMPLED
    counts, _ = np.histogram(values, 16, (0, ramp.size))
    assert counts.min() > 0.8 * counts.max()
    columns, _ = np.histogram(values % 256, 16, (0, 256))
    assert columns.min() > 0.5 * columns.max()


def test_what_is_not_finite_is_left_out_of_the_numbers():
    image = np.ones((1, 16), np.float32)
    image[0, 3], image[0, 4] = np.nan, np.inf
    assert summary(view((1, 16)), image)["mean"] == 1.0
    assert np.isnan(view((1, 16)).look(np.full((1, 16), np.nan, np.float32))[1]).all()


def test_ids_are_hashed_into_sixteen_bins_that_fill_evenly():
    bins = hashed(np.arange(30000, dtype=np.int64))
    counts = np.bincount(bins, minlength=BINS)
    assert len(counts) == BINS
    assert counts.min() > 0.95 * counts.max()
    assert (hashed(np.array([-1], np.int64)) < BINS).all()


def test_a_distribution_keeps_atoms_whole_and_round_trips_exactly():
    values = np.repeat(np.float32([0, 0.1, 0.7]), [80, 10, 10])
    made = spread_of(values, 9)
    assert made.edges.tolist() == pytest.approx([0.1, 0.7])
    assert made.counts.tolist() == [80, 10, 10]
    again = Spread.from_json(made.to_json())
    assert binned(values, again.edges).tolist() == [80, 10, 10]


def test_bins_hold_a_sixteenth_each():
    made = spread_of(np.random.default_rng(0).normal(size=1600), 6)
    assert len(made.edges) == BINS - 1
    assert made.counts.min() >= 99
    assert made.counts.max() <= 101


def test_a_constant_has_no_edges():
    made = spread_of(np.full(20, 5.0), 6)
    assert (len(made.edges), made.counts.tolist(), made.minimum, made.maximum) == (0, [20], 5.0, 5.0)


@pytest.mark.parametrize(
    "change", [{"edges": [1.0, 1.0]}, {"counts": [1]}, {"edges": [float("nan"), 2.0]}, {"counts": [0, 0, 0]}]
)
def test_a_distribution_that_makes_no_sense_is_refused(change):
    document = {"edges": [1.0, 2.0], "counts": [1, 2, 3], "minimum": 0.0, "maximum": 3.0}
    with pytest.raises(ValueError, match="fit"):
        Spread.from_json({**document, **change})


def test_the_state_of_a_recurrent_model_is_not_looked_at():
    tensor = {"dtype": "float32", "shape": [1, 4]}
    manifest = {
        "inputs": [{"name": "x", **tensor}, {"name": "h", **tensor}],
        "outputs": [{"name": "y", **tensor}, {"name": "h_next", **tensor}],
        "state": {"h_next": "h"},
    }
    assert [(each.role, each.name) for each in views_of(manifest)] == [("input", "x"), ("output", "y")]


def test_independent_runs_are_worth_themselves_and_sluggish_ones_less():
    rng = np.random.default_rng(0)
    free = rng.normal(size=2000)
    sluggish = np.empty(2000)
    sluggish[0] = 0
    for i in range(1, 2000):
        sluggish[i] = 0.9 * sluggish[i - 1] + rng.normal()
    worth = effective_runs(np.stack([free, sluggish, np.ones(2000)], axis=1))
    assert worth[0] > 1500
    # n (1 - r) / (1 + r) of an autoregressive series
    assert worth[1] == pytest.approx(2000 * 0.1 / 1.9, rel=0.4)
    assert worth[2] == 2000


def test_two_halves_are_worth_few_runs():
    assert effective_runs(np.repeat([0.0, 1.0], 100)[:, None])[0] < 5


def test_runs_of_one_scene_are_a_cluster():
    assert varied_runs(200, 0.0, 100) == pytest.approx(1.0)
    assert varied_runs(200, 1.0, 100) == 200
    assert varied_runs(200, 50.0, 100) == 200
    assert 1 < varied_runs(200, 0.3, 100) < 5
