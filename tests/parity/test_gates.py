"""The verdict: names, defaults, and what few samples can prove."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from edgec.errors import UsageError
from edgec.parity.decisions import lower_bound, upper_bound
from edgec.parity.gates import eased, judge
from edgec.parity.metrics import compare
from edgec.parity.thresholds import Gate

RNG = np.random.default_rng(3)
VALUES = RNG.normal(size=(40, 6))
MASKS = (RNG.random((12, 1, 8, 8)) < 0.3) * 0.9


def scores(count, flips, classes=4):
    """`count` samples of clear class scores, and a candidate that changes its mind on `flips` of them."""
    labels = RNG.integers(0, classes, count)
    labels[:classes] = range(classes)
    reference = np.eye(classes)[labels] * 6 + RNG.normal(0, 0.1, (count, classes))
    candidate = reference.copy()
    candidate[:flips] = np.roll(candidate[:flips], 1, axis=1)
    return [{"y": row[None]} for row in reference], [{"y": row[None]} for row in candidate]


def test_overrides_change_thresholds_by_name():
    gate = Gate.from_overrides([("confident_flips", 0.2), ("dice_mean", 0.5)])
    assert (gate.confident_flips, gate.dice_mean, gate.cosine_p01) == (0.2, 0.5, Gate().cosine_p01)


def test_an_unknown_name_is_refused_with_the_closest():
    with pytest.raises(UsageError, match="Did you mean 'confident_flips'") as caught:
        Gate.from_overrides([("confident_flip", 0.2)])
    assert "dice_mean" in caught.value.why


def test_nan_is_no_threshold():
    with pytest.raises(UsageError):
        Gate.from_overrides([("dice_mean", float("nan"))])


@pytest.mark.parametrize(("name", "value"), [("confident_flips", 5), ("dead_classes", -0.1), ("cosine_p01", 95)])
def test_a_share_in_percent_is_refused(name, value):
    with pytest.raises(UsageError) as caught:
        Gate.from_overrides([(name, value)])
    assert "not in percent" in caught.value.why


def test_levels_are_in_decibels_and_free():
    assert Gate.from_overrides([("sqnr", 90), ("channel_sqnr_p05", -200)]).sqnr == 90


def test_every_threshold_says_what_it_means():
    assert all(item.metadata["meaning"] for item in fields(Gate))


def test_one_flip_of_eight_is_a_warning_and_many_of_many_a_failure():
    few = judge(compare(*scores(8, 1)))
    assert few.passed
    assert any("too few decisions" in warning for warning in few.warnings)
    assert not judge(compare(*scores(400, 60))).passed
    assert judge(compare(*scores(400, 4))).passed


def test_an_override_decides():
    pair = scores(400, 60)
    loose = Gate.from_overrides([("confident_flips", 0.5), ("dead_classes", 1.0)])
    assert judge(compare(*pair), loose).passed
    strict = Gate.from_overrides([("top1_agreement", 0.999)])
    assert not judge(compare(*scores(400, 1)), strict).passed


@pytest.mark.parametrize("decisions", [1, 8, 100, 10_000])
def test_the_lower_bound_is_below_the_rate_and_closes_in(decisions):
    flips = max(1, decisions // 10)
    bound = lower_bound(flips, decisions)
    assert 0 <= bound < flips / decisions <= upper_bound(flips, decisions) <= 1
    assert bound < lower_bound(flips * 100, decisions * 100)


def test_a_degenerate_output_is_a_warning_beside_one_that_proves_something():
    reference, candidate = scores(50, 0)
    for step in (*reference, *candidate):
        step["unused"] = np.zeros((1, 3))
    verdict = judge(compare(reference, candidate))
    assert verdict.passed
    assert any("'unused' proves nothing" in warning for warning in verdict.warnings)


def test_no_outputs_prove_nothing():
    assert not judge([]).passed


def test_few_decisions_say_what_they_can_not_rule_out():
    few, many = judge(compare(*scores(9, 0))), judge(compare(*scores(200, 0)))
    assert few.passed
    assert any("might change unseen" in warning for warning in few.warnings)
    assert not any("might change unseen" in warning for warning in many.warnings)


def test_a_model_that_always_says_the_same_does_not_pass_on_few_samples():
    """Vectors that have most in common: the common part alone is 20 dB and a cosine of 0.99."""
    reference = RNG.normal(0, 10, 32) + RNG.normal(0, 1, (8, 32))
    steps = [{"embedding": row[None]} for row in reference]
    collapsed = [{"embedding": reference.mean(axis=0)[None]}] * 8
    (item,) = compare(steps, collapsed)
    assert item.sqnr_db > 18
    assert item.cosine_p01 > Gate().cosine_p01
    assert not judge([item]).passed
    assert judge(compare(steps, [{"embedding": step["embedding"] * 1.01} for step in steps])).passed


def test_scores_of_one_class_prove_something_only_by_what_sets_samples_apart():
    reference = np.array([5.0, 0, 0]) + RNG.normal(0, 0.5, (8, 3))
    steps = [{"logits": row[None]} for row in reference]
    collapsed = [{"logits": reference.mean(axis=0)[None]}] * 8
    (item,) = compare(steps, collapsed)
    assert (item.kind, item.flips) == ("classes", 0)
    assert not judge([item]).passed
    assert judge(compare(steps, [{"logits": step["logits"] + 0.05} for step in steps])).passed


def test_where_the_original_finds_nothing_a_candidate_must_not_find_much():
    reference, candidate = scores(50, 0)
    for before, after in zip(reference, candidate, strict=True):
        before["mask"] = RNG.uniform(0, 0.01, (1, 1, 8, 8))
        after["mask"] = before["mask"] + 0.001
    assert judge(compare(reference, candidate)).passed
    for after in candidate:
        after["mask"] = np.ones((1, 1, 8, 8))
    verdict = judge(compare(reference, candidate))
    assert [text.split(":")[0] for text in verdict.failures] == ["output 'mask'"]


def test_a_model_whose_outputs_are_all_states_is_judged_by_them():
    reference = [{"h": row[None]} for row in RNG.normal(size=(50, 8))]
    close = [{"h": step["h"] * 1.001} for step in reference]
    far = [{"h": np.roll(step["h"], 1)} for step in reference]
    assert judge(compare(reference, close, state=["h"])).passed
    assert not judge(compare(reference, far, state=["h"])).passed


def masks(lost=0, invented=0, size=10_000, foreground=50):
    """Two label maps with some foreground, and a candidate that loses and invents some of it."""
    reference = np.zeros((1, size), np.int64)
    reference[0, :foreground] = 3
    candidate = reference.copy()
    candidate[0, :lost] = 0
    candidate[0, size - invented :] = 3
    rolled = [[{"mask": np.roll(values, by)} for by in (0, 1)] for values in (reference, candidate)]
    return compare(*rolled)


def test_a_mask_that_lost_its_foreground_fails_though_nearly_all_of_it_is_equal():
    (lost,) = comparisons = masks(lost=50)
    assert lost.exact_share == pytest.approx(0.995) and (lost.rare, lost.rare_share) == (100, 0)
    verdict = judge(comparisons)
    assert not verdict.passed
    assert "only 0 % of the 100 values are equal that differ from its most frequent one" in verdict.failures[0]
    assert judge(comparisons, Gate.from_overrides([("integer_rare", 0)])).passed


def test_the_borders_of_a_mask_may_move():
    assert judge(masks(lost=2, invented=2)).passed


def test_few_rare_integers_prove_little():
    verdict = judge(masks(lost=1, foreground=15))
    assert verdict.passed
    assert any("too few to call it a rate" in text for text in verdict.warnings)


def test_integers_of_many_values_are_no_classes():
    values = [{"y": np.arange(10_000).reshape(1, -1) + i} for i in range(2)]
    (same,) = compare(values, values)
    assert (same.rare, same.rare_share, same.exact_share) == (None, None, 1)


def test_rare_booleans_count_too():
    reference = np.zeros((1, 1000), bool)
    reference[0, :5] = True
    (found,) = compare([{"y": reference}], [{"y": np.zeros_like(reference)}])
    assert (found.rare, found.rare_share) == (5, 0)


def shifted(count, spread, margin=4.0):
    """Scores of two classes with margins of about `margin`, and a candidate whose margins shift by chance."""
    winner = np.arange(count) % 2
    margins = margin * RNG.uniform(0.5, 1.5, count)
    moved = margins + RNG.normal(0, spread, count)

    def scores_of(values):
        rows = np.zeros((count, 1, 2))
        rows[np.arange(count), 0, winner] = values
        return [{"logits": row} for row in rows]

    return compare(scores_of(margins), scores_of(moved))


def test_how_far_margins_shift_tells_what_a_few_decisions_do_not():
    """Of 20 decisions none or one may flip by luck, where one in ten of all decisions will."""
    shaky, steady = shifted(20, 2.0), shifted(20, 0.3)
    assert judge(shaky, Gate.from_overrides([("expected_flips", 1)])).passed
    assert any("expected to change" in text for text in judge(shaky).failures)
    assert judge(steady).passed


def test_enough_decisions_are_counted_not_estimated():
    (item,) = shifted(2000, 2.0)
    assert item.expected_flips is None and item.flips > 0


def test_expected_flips_of_probabilities_and_of_their_logits_are_the_same():
    logits = RNG.normal(0, 3, (40, 5))
    noisy = logits + RNG.normal(0, 1, logits.shape)

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(1, keepdims=True)

    pairs = [(logits, noisy), (softmax(logits), softmax(noisy))]
    found = [compare(*([{"logits": row[None]} for row in side] for side in pair))[0] for pair in pairs]
    assert found[0].expected_flips == pytest.approx(found[1].expected_flips, abs=1e-3)
    assert found[0].expected_flips > 0


def test_with_a_metric_as_the_judge_only_the_limits_that_were_given_hold():
    pair = compare(*scores(400, 60))
    gate = Gate.from_overrides([("top1_agreement", 0.5)])
    verdict = eased(judge(pair, gate), judge(pair, gate.relaxed(["top1_agreement"])))
    assert verdict.passed
    assert any("confident decisions change" in text and "your metric decides" in text for text in verdict.warnings)
    strict = Gate.from_overrides([("top1_agreement", 0.99)])
    verdict = eased(judge(pair, strict), judge(pair, strict.relaxed(["top1_agreement"])))
    assert [text for text in verdict.failures if "decisions stay" in text] == list(verdict.failures) != []


def test_no_metric_makes_up_for_nan_or_for_data_that_proves_nothing():
    reference, candidate = scores(50, 0)
    candidate[3]["y"] = np.full_like(candidate[3]["y"], np.nan)
    constant = [{"y": np.ones((1, 3))}] * 9
    for pair in ((reference, candidate), (constant, constant)):
        comparisons = compare(*pair)
        assert not eased(judge(comparisons), judge(comparisons, Gate().relaxed([]))).passed


def test_a_relaxed_gate_lets_everything_through_but_what_no_metric_sees():
    relaxed = Gate().relaxed([])
    for outputs in (VALUES, np.abs(np.sin(VALUES[:, :1])), MASKS):
        reference = [{"y": row[None]} for row in outputs]
        candidate = [{"y": row[None]} for row in RNG.permutation(outputs)]
        assert judge(compare(reference, candidate), relaxed).passed
    assert (relaxed.float_sqnr, relaxed.executed_int8) == (Gate().float_sqnr, Gate().executed_int8)


def texts(count, length, changed, classes=12, shifted=0):
    """Texts of clear letters: in the first `changed` one letter is another, in the next `shifted` it begins earlier."""
    letters = np.repeat(RNG.integers(1, classes, (count, length // 2)), 2, axis=1)
    letters[:, 2:4] = (letters[:, :1] + 1) % classes
    read = letters.copy()
    read[:changed, 2:4] = (letters[:changed, :1] + 2) % classes
    read[changed : changed + shifted, 1] = letters[changed : changed + shifted, 2]
    reference, candidate = (np.eye(classes)[each] * 6 for each in (letters, read))
    noise = RNG.normal(0, 0.1, reference.shape)
    return [{"logits": row[None]} for row in reference + noise], [{"logits": row[None]} for row in candidate + noise]


def test_a_text_is_wrong_when_one_letter_is():
    reference, candidate = texts(40, 100, changed=16)
    (item,) = compare(reference, candidate)
    assert (item.sequences, item.changed_sequences) == (40, 16)
    assert item.confident_flips < Gate().confident_flips  # 2 positions of 100, in 16 texts of 40
    verdict = judge([item])
    assert any("16 of 40 sequences of decisions read otherwise" in text for text in verdict.failures)
    assert judge([item], Gate.from_overrides([("changed_sequences", 0.5), ("dead_classes", 1.0)])).passed


def test_a_letter_that_begins_a_position_earlier_is_the_same_letter():
    reference, candidate = texts(40, 100, changed=0, shifted=20)
    (item,) = compare(reference, candidate)
    assert item.flips == 20
    assert item.changed_sequences == 0
    assert judge([item]).passed


def test_decisions_that_stand_alone_are_no_sequence():
    (item,) = compare(*scores(40, 1))
    assert item.sequences is None


def test_a_detectors_anchors_are_no_sequence():
    (item,) = compare(*texts(8, 600, changed=4))
    assert item.sequences is None


def test_one_text_of_eight_is_a_warning():
    verdict = judge(compare(*texts(8, 100, changed=1)), Gate.from_overrides([("dead_classes", 1.0)]))
    assert verdict.passed
    assert any("1 of 8 sequences" in text for text in verdict.warnings)
