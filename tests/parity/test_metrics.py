"""What the metrics must see, and what they must not be fooled by."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgec.errors import ParityGateError
from edgec.parity.gates import judge
from edgec.parity.metrics import OutputComparison, compare

RNG = np.random.default_rng(7)


def steps(array, name="y"):
    """One step for each entry of the first axis, which becomes a batch of one."""
    return [{name: row[None]} for row in array]


def only(reference, candidate, **options):
    (comparison,) = compare(steps(reference), steps(candidate), **options)
    return comparison


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


shapes = st.sampled_from([(9, 5), (9, 4, 6), (9, 3, 4, 4), (9, 1), (9, 2, 3, 4, 5)])
arrays = shapes.flatmap(
    lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False))
)


@given(arrays)
@settings(max_examples=60, deadline=None)
def test_identical_outputs_have_no_error_at_all(array):
    result = only(array, array.copy())
    assert result.sqnr_db == 120.0
    assert result.max_abs == 0
    assert result.confident_flips in (None, 0.0)
    assert result.dead_channels in (None, 0.0)
    assert result.nsr == 0
    if result.degenerate is None:
        assert judge([result]).passed


@given(arrays, st.floats(0.5, 2.0))
@settings(max_examples=60, deadline=None)
def test_sqnr_of_a_scaled_output_is_what_the_formula_says(array, factor):
    result = only(array.astype(np.float64), array.astype(np.float64) * factor)
    if np.abs(array).max() > 1e-3 and abs(factor - 1) > 1e-3:
        assert result.sqnr_db == pytest.approx(-20 * math.log10(abs(factor - 1)), abs=1e-3)


@given(arrays)
@settings(max_examples=40, deadline=None)
def test_a_comparison_survives_json(array):
    result = only(array, array + np.float32(0.5))
    text = json.dumps(result.to_json(), allow_nan=False)
    assert OutputComparison.from_json(json.loads(text)).to_json() == result.to_json()


def test_a_permuted_embedding_is_not_an_embedding_any_more():
    x = RNG.normal(size=(40, 64))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    result = only(x, x[:, RNG.permutation(64)])
    assert result.kind == "features"
    assert result.cosine_p01 < 0.5
    assert not judge([result]).passed


def test_a_dead_score_channel_behind_boxes_is_seen():
    """A detector's head packs boxes in pixels and scores in one tensor: 30 dB over all, yet every score is dead."""
    boxes = RNG.uniform(0, 320, (8, 4, 200))
    scores = np.where(RNG.random((8, 2, 200)) < 0.05, RNG.uniform(0.5, 0.95, (8, 2, 200)), 0.001)
    reference = np.concatenate([boxes, scores], 1)
    candidate = np.concatenate([boxes + RNG.normal(0, 5, boxes.shape), np.zeros_like(scores)], 1)
    result = only(reference, candidate)
    assert result.sqnr_db > 30
    assert result.channel_axis == 1
    assert result.dead_channels == pytest.approx(2 / 6)
    assert {index for index, _ in result.worst_channels[:2]} == {4, 5}
    verdict = judge([result])
    assert not verdict.passed
    assert "dead" in verdict.failures[0]


def test_channels_of_a_sequence_are_its_last_axis():
    reference = RNG.normal(size=(6, 20, 32)) * np.logspace(-1, 1, 32)
    candidate = reference + RNG.normal(size=reference.shape) * 0.01
    candidate[:, :, 7] = 0
    result = only(reference, candidate)
    assert (result.channel_axis, result.worst_channels[0][0]) == (2, 7)


def test_channels_of_a_feature_map_are_axis_1():
    reference = RNG.normal(size=(3, 8, 6, 6))
    candidate = reference.copy()
    candidate[:, 5] = RNG.normal(size=(3, 6, 6))
    result = only(reference, candidate)
    assert (result.channel_axis, result.channels) == (1, 8)
    assert result.worst_channels[0][0] == 5
    assert result.dead_channels == pytest.approx(1 / 8)


def test_silent_channels_are_not_called_dead():
    reference = RNG.normal(size=(10, 16, 4, 4)) * 10
    reference[:, 3] = 1e-6 * RNG.normal(size=(10, 4, 4))
    candidate = reference + RNG.normal(size=reference.shape) * 1e-2
    result = only(reference, candidate)
    assert result.silent_channels == 1
    assert result.dead_channels == 0


def test_flips_of_close_calls_do_not_count():
    reference = softmax(np.array([[5.0, 0, 0], [0, 5.0, 0], [2.0, 0, 1.99], [0, 0, 5.0]] * 5))
    candidate = reference.copy()
    candidate[2::4] = candidate[2::4][:, [2, 1, 0]]
    result = only(reference, candidate)
    assert result.kind == "classes"
    assert result.top1_agreement == pytest.approx(0.75)
    assert (result.flips, result.decisions) == (0, 15)


def test_confident_flips_are_counted():
    reference = RNG.normal(size=(200, 10)) * 5
    candidate = reference.copy()
    candidate[:40] = -candidate[:40]
    result = only(reference, candidate)
    assert result.kind == "classes"
    assert result.confident_flips == pytest.approx(0.2, abs=0.05)
    assert not judge([result]).passed


def test_a_probability_alone_is_judged_by_yes_and_no():
    reference = np.where(np.arange(100) % 2, 0.97, 0.03)[:, None]
    good = np.clip(reference + RNG.normal(0, 0.01, reference.shape), 0, 1)
    result = only(reference, good)
    assert result.kind == "probability"
    assert result.flips == 0
    assert judge([result]).passed
    stuck = only(reference, np.full_like(reference, 0.9))
    assert stuck.flips == 50
    assert not judge([stuck]).passed


def test_masks_are_judged_by_their_overlap():
    y, x = np.mgrid[:32, :32]
    reference = np.stack([((x - c) ** 2 + (y - 16) ** 2 < 64) * 0.9 + 0.05 for c in range(8, 24, 2)])[:, None]
    result = only(reference, reference)
    assert (result.kind, result.dice_mean, result.dice_worst) == ("map", 1.0, 1.0)
    shifted = only(reference, np.roll(reference, 3, axis=-1))
    assert shifted.dice_mean < 0.9
    assert any("Dice" in failure for failure in judge([shifted]).failures)


def test_integers_must_be_equal():
    reference = RNG.integers(0, 5, (4, 50))
    candidate = reference.copy()
    candidate[0, :4] += 1
    result = only(reference, candidate)
    assert (result.kind, result.exact_share) == ("integer", pytest.approx(0.98))
    assert not judge([result]).passed


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (np.zeros((10, 5)), "nothing but zero"),
        (np.full((10, 5), 3.5), "constant 3.5"),
        (np.tile(RNG.normal(size=(1, 5)), (10, 1)), "same for every sample"),
        (np.full((10, 5), np.nan), "NaN"),
        (RNG.normal(size=(1, 5)), "single sample"),
        (np.eye(5)[[2] * 10] * (1 - 1e-5 * RNG.random((10, 1))), "certain of class 2"),
        (RNG.random((10, 1, 16, 16)) * 0.2, "map is empty"),
        (RNG.random((10, 1)) * 0.2, "never says yes"),
    ],
)
def test_a_reference_that_proves_nothing_is_called_that(reference, words):
    result = only(reference, reference)
    assert words in (result.degenerate or "")
    verdict = judge([result])
    assert not verdict.passed
    assert "calibration-domain" in verdict.failures[0]


def test_minus_infinity_of_a_mask_is_no_error_where_both_have_it():
    reference = RNG.normal(size=(10, 6))
    reference[:, 2] = -np.inf
    assert only(reference, reference).finite
    assert not only(reference, np.nan_to_num(reference, neginf=np.nan)).finite


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_the_candidate_fails(value):
    reference = RNG.normal(size=(10, 6))
    candidate = reference.copy()
    candidate[3, 3] = value
    result = only(reference, candidate)
    assert not result.finite
    assert not judge([result]).passed


def test_error_in_steps_of_the_output():
    reference = RNG.normal(size=(20, 4))
    candidate = reference + 0.25
    result = only(reference, candidate, steps={"y": 0.125})
    assert result.max_lsb == pytest.approx(2)
    assert result.mean_lsb == pytest.approx(2)


def test_a_state_is_judged_leniently_and_says_so():
    reference = RNG.normal(size=(20, 8))
    noisy = reference + RNG.normal(size=reference.shape)
    pairs = [{"y": a[None], "h": b[None]} for a, b in zip(reference, reference, strict=True)]
    other = [{"y": a[None], "h": b[None]} for a, b in zip(reference, noisy, strict=True)]
    verdict = judge(compare(pairs, other, state=["h"]))
    assert verdict.passed
    assert any("leniently" in warning for warning in verdict.warnings)


def test_another_shape_is_refused():
    with pytest.raises(ParityGateError, match="form"):
        compare([{"y": np.zeros((1, 4))}], [{"y": np.zeros((1, 5))}])


def test_noise_over_signal_is_not_decided_by_one_sample():
    reference = RNG.normal(size=(50, 3, 8, 8))
    one_bad = reference.copy()
    one_bad[0] += 1e4
    assert only(reference, one_bad).nsr == pytest.approx(1 / 50, abs=1e-3)


def test_a_segmentation_of_classes_is_judged_by_the_class_of_every_pixel():
    reference = np.moveaxis(softmax(RNG.normal(size=(6, 8, 8, 5)) * 4), -1, 1)
    result = only(reference, reference[:, [1, 0, 2, 3, 4]])
    assert (result.kind, result.channel_axis) == ("classes", 1)
    assert result.top1_agreement < 0.8


def test_a_feature_map_is_not_a_choice_of_classes():
    reference = RNG.normal(size=(6, 5, 8, 8))
    assert only(reference, reference).kind == "features"


@pytest.mark.parametrize(
    ("name", "array", "kind"),
    [
        ("logits", RNG.normal(size=(20, 4, 30)), "classes"),
        ("last_hidden_state", RNG.normal(size=(20, 4, 30)), "features"),
        ("output", RNG.normal(size=(20, 4, 30)), "features"),
        ("output", RNG.normal(size=(20, 30)), "classes"),
        ("embedding", RNG.normal(size=(20, 30)), "features"),
        ("output", RNG.normal(size=(20, 30)) + 20 * np.eye(30)[3], "features"),
        ("tags", RNG.random((20, 30)), "probability"),
        ("boxes", RNG.random((20, 6, 4)), "features"),
        ("scores", RNG.random((20, 90, 2)) > 0.5, "integer"),
    ],
)
def test_kinds(name, array, kind):
    (comparison,) = compare(steps(array, name), steps(array, name))
    assert comparison.kind == kind


def head(scores, boxes=None, count=8, anchors=60):
    """`count` outputs of a detector, 4 + C channels: boxes in pixels, then scores."""
    boxes = RNG.uniform(0, 640, (count, 4, anchors)) if boxes is None else boxes
    return np.concatenate([boxes, scores], 1)


def test_boxes_and_scores_of_one_output_are_judged_apart():
    scores = np.where(RNG.random((8, 3, 60)) < 0.1, 0.9, 0.01)
    both = head(scores)
    result = only(both, both)
    assert [part.channels for part in result.slices] == ["0-3", "4-6"]
    assert result.slices[0].flips is None
    assert result.slices[1].decisions == int((scores > 0.75).sum())
    text = json.dumps(result.to_json(), allow_nan=False)
    assert OutputComparison.from_json(json.loads(text)).to_json() == result.to_json()


@pytest.mark.parametrize("spread", [1.0, 6.0], ids=["scores", "logits"])
def test_dead_scores_fail_however_good_the_boxes_are(spread):
    """As probabilities or as logits, for every class or for one of them: the whole output is at 30 dB and above."""
    scores = RNG.beta(0.3, 0.3, (8, 5, 60)) if spread == 1 else RNG.normal(0, spread, (8, 5, 60))
    boxes = RNG.uniform(0, 640, (8, 4, 60))
    dead = np.broadcast_to(scores.mean(axis=(0, 2), keepdims=True), scores.shape).copy()
    one_dead = scores.copy()
    one_dead[:, 2] = dead[:, 2]
    noisy = boxes + RNG.normal(0, 0.5, boxes.shape)
    good, bad, partly = (only(head(scores, boxes), head(each, noisy)) for each in (scores * 1.01, dead, one_dead))
    assert min(item.sqnr_db for item in (good, bad, partly)) > 30
    assert judge([good]).passed
    assert any("channels 4-8" in text and "dead" in text for text in judge([bad]).failures)
    assert not judge([partly]).passed
    assert partly.worst_channels[0][0] == 6


def test_quiet_classes_of_a_detector_are_not_called_dead():
    scores = np.where(RNG.random((8, 4, 60)) < 0.1, 0.9, 0.01)
    scores[:, 2] = RNG.uniform(0, 1e-3, (8, 60))
    candidate = scores.copy()
    candidate[:, 2] = 0
    boxes = RNG.uniform(0, 640, (8, 4, 60))
    assert judge([only(head(scores, boxes), head(candidate, boxes))]).passed


def test_scores_that_decide_otherwise_fail_beside_perfect_boxes():
    scores = np.where(RNG.random((8, 3, 200)) < 0.2, 0.9, 0.05)
    boxes = RNG.uniform(0, 640, (8, 4, 200))
    other = np.where((scores > 0.5) & (RNG.random(scores.shape) < 0.15), 0.45, scores)
    result = only(head(scores, boxes), head(other, boxes))
    assert any("channels 4-6" in text and "decisions change" in text for text in judge([result]).failures)


def test_like_channels_are_one_thing():
    assert only(RNG.normal(size=(9, 8, 20)), RNG.normal(size=(9, 8, 20))).slices == ()
    embedding = RNG.normal(size=(40, 64)) * np.linspace(0.5, 5, 64)
    assert only(embedding, embedding).slices == ()


def test_a_detector_that_finds_something_in_one_sample_of_many_is_told_to_be_on_the_wrong_data():
    """Photos for a text detector: what little it finds is in the only one with a street sign."""
    maps = RNG.random((16, 1, 20, 20)) * 0.1
    maps[3, 0, :8, :8] = 0.9
    (note,) = only(maps, maps).notes
    assert "finds something in only 1 of 16 samples" in note
    maps[::2, 0, :8, :8] = 0.9
    assert only(maps, maps).notes == ()


def test_outputs_that_hardly_differ_are_told():
    features = RNG.normal(size=32) + 1e-3 * RNG.normal(size=(20, 32))
    (note,) = only(features, features).notes
    assert "hardly tells samples apart" in note
    assert only(RNG.normal(size=(20, 32)), RNG.normal(size=(20, 32))).notes == ()
