"""What a backend may add to the error of quantization, and what it may not."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.parity.gates import judge
from edgec.parity.lowering import judge_float, judge_in_part, judge_payload, judge_smaller_weights
from edgec.parity.metrics import compare
from edgec.parity.thresholds import Gate

RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(60, 24))


def steps(array, name="embedding"):
    return [{name: row[None]} for row in array]


def against(reference, *candidates):
    return [compare(steps(reference), steps(candidate)) for candidate in candidates]


def with_noise(level):
    return VECTORS + RNG.normal(size=VECTORS.shape) * level


def test_a_payload_that_passes_the_gate_holds_whatever_it_lost_and_says_what():
    quantized, payload = against(VECTORS, with_noise(0.01), with_noise(0.05))
    verdict, costs = judge_payload(quantized, payload, Gate())
    assert verdict.passed
    assert len(costs) == 1
    assert "lowering costs" in costs[0]


def test_a_payload_as_good_as_the_reference_holds_where_both_are_just_below_the_gate():
    reference = with_noise(0.5)
    quantized, payload = against(VECTORS, reference, reference + RNG.normal(size=VECTORS.shape) * 0.01)
    assert not judge(payload).passed
    verdict, costs = judge_payload(quantized, payload, Gate())
    assert verdict.passed
    assert any("no closer to the original" in warning for warning in verdict.warnings)
    assert costs == []


def test_a_payload_that_is_worse_than_the_reference_and_fails_the_gate_fails():
    quantized, payload = against(VECTORS, with_noise(0.1), with_noise(0.8))
    verdict, costs = judge_payload(quantized, payload, Gate())
    assert not verdict.passed
    assert costs


def test_a_payload_that_decides_otherwise_than_the_reference_fails_however_close_it_is():
    """Two classes lie close together: what flips them is nothing beside the other values."""
    labels = np.arange(100) % 2
    original = RNG.normal(0, 1, (100, 6))
    original[:, 0], original[:, 1] = 20 + 0.01 * labels, 20.005
    noise = RNG.normal(0, 0.2, original.shape)
    noise[:, :2] = 0
    payload = original + noise
    payload[:40, :2] = payload[:40, 1::-1]
    before, after = (compare(steps(original, "logits"), steps(each, "logits")) for each in (original + noise, payload))
    assert before[0].sqnr_db - after[0].sqnr_db < 1
    assert judge(before).passed
    assert not judge_payload(before, after, Gate())[0].passed


def test_a_dead_channel_is_not_hidden_by_the_rest():
    """Boxes carry all the energy: with the scores dead, the whole is as close as before."""
    boxes = RNG.uniform(0, 320, (20, 4, 50))
    scores = np.where(RNG.random((20, 1, 50)) < 0.1, 0.9, 0.01)
    original = np.concatenate([boxes, scores], 1)
    noise = RNG.normal(0, 3, boxes.shape)
    reference = np.concatenate([boxes + noise, scores * 0.95], 1)
    payload = np.concatenate([boxes + noise, np.zeros_like(scores)], 1)
    before, after = against(original, reference, payload)
    assert abs(before[0].sqnr_db - after[0].sqnr_db) < 0.1
    assert judge(before).passed
    assert not judge_payload(before, after, Gate())[0].passed


@pytest.mark.parametrize(("level", "passes"), [(1e-6, True), (1e-4, True), (1e-2, False)])
def test_a_float_payload_must_be_the_original_but_for_rounding(level, passes):
    (total,) = against(VECTORS, with_noise(level))
    assert judge_float(total, Gate()).passed == passes


def test_half_precision_arithmetic_is_no_float():
    """bfloat16 keeps 8 bits: what an engine may choose on its own."""
    bits = VECTORS.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    (total,) = against(VECTORS.astype(np.float32), bits.view(np.float32))
    assert total[0].sqnr_db > 40
    assert not judge_float(total, Gate()).passed


def test_a_float_payload_is_compared_even_where_the_original_says_nothing():
    zeros = np.zeros((10, 3))
    (same,) = against(zeros, zeros)
    verdict = judge_float(same, Gate())
    assert verdict.passed
    assert "proves little" in verdict.warnings[0]
    (other,) = against(zeros, zeros + 0.1)
    assert not judge_float(other, Gate()).passed


def test_int8_weights_are_judged_as_int8_is_and_float16_by_its_own_limit():
    fine, coarse = against(VECTORS, with_noise(0.003), with_noise(0.03))
    assert judge_smaller_weights(coarse, [], [], Gate(), "int8-weights").passed
    assert judge_smaller_weights(fine, [], [], Gate(), "fp16").passed
    verdict = judge_smaller_weights(coarse, [], [], Gate(), "fp16")
    assert not verdict.passed
    assert "40 dB" in verdict.failures[0]


def test_the_arithmetic_of_smaller_weights_is_float():
    """A payload whose engine rounds activations to INT8 unasked is near the original, and refused."""
    exact, rounded = against(VECTORS, with_noise(0.0001), with_noise(0.005))
    assert judge_smaller_weights(rounded, exact, rounded, Gate(), "int8-weights").passed
    verdict = judge_smaller_weights(rounded, rounded, rounded, Gate(), "int8-weights")
    assert not verdict.passed
    assert "with the same weights" in verdict.failures[0]


def test_rare_integers_of_a_float_payload_count_too():
    """A mask whose few marks are lost is 99.6 % equal."""
    mask = np.zeros((20, 1000), np.int64)
    mask[:, 100:104] = 1
    (lost,) = against(mask, np.zeros_like(mask))
    assert lost[0].exact_share > Gate().integer_match
    assert not judge_float(lost, Gate()).passed


# --- executed on some samples only ---

FEW = 9


def in_part(original, reference, payload, name="embedding"):
    """(quantization on all, on the first FEW, total on those)."""
    pairs = ((original, reference), (original[:FEW], reference[:FEW]), (original[:FEW], payload[:FEW]))
    return [compare(steps(before, name), steps(after, name)) for before, after in pairs]


def test_a_reference_that_holds_on_all_samples_and_a_payload_like_it_hold():
    reference = with_noise(0.05)
    verdict, costs = judge_in_part(*in_part(VECTORS, reference, reference * 1.0001), Gate(), FEW)
    assert verdict.passed
    assert not verdict.warnings
    assert costs == []


def test_what_few_samples_can_not_show_of_the_reference_either_is_no_failure_of_the_payload():
    """The first samples are those on which quantization is worst: alone they would fail the gate."""
    reference = with_noise(0.01)
    reference[:FEW] += RNG.normal(size=(FEW, 24)) * 0.6
    whole, part, total = in_part(VECTORS, reference, reference + RNG.normal(size=VECTORS.shape) * 0.001)
    gate = Gate.from_overrides([("cosine_p01", 0.2), ("channel_sqnr_p05", 5.0), ("sqnr", 6.0)])
    assert judge(whole, gate).passed
    assert not judge(total, gate).passed
    assert judge_in_part(whole, part, total, gate, FEW)[0].passed


def test_a_payload_that_is_broken_fails_on_few_samples_too():
    verdict, costs = judge_in_part(*in_part(VECTORS, with_noise(0.05), with_noise(2.0)), Gate(), FEW)
    assert not verdict.passed
    assert all(text.startswith(f"on the {FEW} executed samples, output 'embedding': ") for text in verdict.failures)
    assert costs


def test_a_payload_that_gives_no_numbers_fails_on_few_samples_too():
    reference = with_noise(0.05)
    verdict, _ = judge_in_part(*in_part(VECTORS, reference, np.full_like(reference, np.nan)), Gate(), FEW)
    assert not verdict.passed
    assert "NaN" in verdict.failures[0]


def test_a_reference_that_fails_on_all_samples_is_not_saved_by_few():
    reference = with_noise(3.0)
    reference[:FEW] = VECTORS[:FEW]
    whole, part, total = in_part(VECTORS, reference, reference)
    assert judge(total).passed
    verdict, _ = judge_in_part(whole, part, total, Gate(), FEW)
    assert not verdict.passed
    assert verdict.failures == judge(whole).failures


def test_few_samples_that_prove_nothing_are_a_warning_where_all_prove_something():
    original = VECTORS.copy()
    original[:FEW] = original[0]
    reference = original + RNG.normal(size=original.shape) * 0.01
    verdict, _ = judge_in_part(*in_part(original, reference, reference), Gate(), FEW)
    assert verdict.passed
    assert any("the original itself does nothing" in text for text in verdict.warnings)
    assert not judge(in_part(original, reference, reference)[2]).passed


def test_float_arithmetic_with_smaller_weights_is_judged_by_its_lowering_where_few_samples_ran():
    reference = with_noise(0.01)
    quantization = compare(steps(VECTORS), steps(reference))
    exact, coarse = (
        compare(steps(reference[:FEW]), steps(reference[:FEW] + RNG.normal(size=(FEW, 24)) * level))
        for level in (1e-6, 1e-2)
    )
    assert judge_smaller_weights(quantization, exact, (), Gate(), "int8-weights").passed
    assert not judge_smaller_weights(quantization, coarse, (), Gate(), "int8-weights").passed
