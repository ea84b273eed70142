"""What the backend may add to the error.

No two engines compute INT8 bit by bit alike: rounding of ties, order of sums and fusions differ by a step here and
there, and a later layer can make more of it. So equality with the quantized reference is not asked. An output of the
payload holds when it passes the same gate as the quantized reference; or, where it does not, when it is no further from
the original than the quantized reference is: within one dB, per channel, and in what is decided from it.

A float payload has no quantization to hide behind: it must be the original but for rounding. So must a payload with
smaller weights and float arithmetic be its reference; how far that may be from the original depends on the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgec.backends.base import Precision
from edgec.parity.decisions import lower_bound, upper_bound
from edgec.parity.gates import NOTHING_PROVEN, Verdict, judge, judge_integers
from edgec.parity.metrics import OutputComparison
from edgec.parity.thresholds import Gate

BUDGET_DB = 1.0
"""How much further from the original than the quantized reference a payload may be where it fails the gate."""

BUDGET_DICE = 0.01
"""The same for the mean overlap of masks: half of what the gate allows."""

WORTH_SAYING_DB = 3.0
"""Losses in lowering above this are a warning even where the gate holds: half of the error is not quantization's."""

EXACT = 1e-6
"""Absolute difference that is rounding, whatever the signal (an output that is all zeros has no SQNR)."""


def judge_payload(
    quantization: Sequence[OutputComparison], total: Sequence[OutputComparison], gate: Gate
) -> tuple[Verdict, list[str]]:
    """The verdict on an INT8 payload, and what its lowering costs, in words.

    quantization: FP32 against the quantized reference. total: FP32 against the payload. The same outputs, in order.
    """
    verdict = judge(total, gate)
    costs = []
    warnings = list(verdict.warnings)
    failures = list(verdict.failures)
    for before, after in zip(quantization, total, strict=True):
        if before.degenerate is not None or after.kind in ("integer", "state"):
            continue
        lost = before.sqnr_db - after.sqnr_db
        if lost > WORTH_SAYING_DB:
            costs.append(
                f"output {after.name!r}: lowering costs {lost:.1f} dB "
                f"({before.sqnr_db:.1f} dB quantized, {after.sqnr_db:.1f} dB in the artifact)"
            )
        own = judge([after], gate)
        if own.passed or not after.finite or not _no_further(before, after):
            continue
        for text in own.failures:
            failures.remove(text)
            warnings.append(f"{text}; the quantized reference is no closer to the original, so it is let pass")
    return Verdict(not failures, tuple(failures), tuple(warnings)), costs


def judge_in_part(
    quantization: Sequence[OutputComparison],
    part: Sequence[OutputComparison],
    total: Sequence[OutputComparison],
    gate: Gate,
    executed: int,
) -> tuple[Verdict, list[str]]:
    """The same where the payload was executed on `executed` of the samples only.

    quantization: FP32 against the quantized reference, on all samples. part: the same on those executed. total: FP32
    against the payload, on those executed.

    The reference must pass on all samples; few can't prove as much. Where they say less of the payload than the gate
    asks, they must say no less of it than of the reference on these very samples.
    """
    whole = judge(quantization, gate)
    seen, costs = judge_payload(part, total, gate)
    if not whole.passed:
        return whole, costs
    failures = tuple(
        f"on the {executed} executed samples, {text}" for text in seen.failures if not text.startswith(NOTHING_PROVEN)
    )
    warnings = whole.warnings
    if any(text.startswith(NOTHING_PROVEN) for text in seen.failures):
        warnings += (
            f"on the {executed} executed samples the original itself does nothing: of the lowering they show little",
        )
    return Verdict(not failures, failures, warnings), costs


def judge_smaller_weights(
    reference: Sequence[OutputComparison],
    lowering: Sequence[OutputComparison],
    total: Sequence[OutputComparison],
    gate: Gate,
    precision: Precision,
) -> Verdict:
    """The verdict on a payload that computes in float with weights of another type.

    reference: FP32 against the model with those weights. lowering: that model against the payload. total: FP32 against
    the payload; empty where that was not executed on all samples: then the reference is judged, and what was executed
    by its lowering.

    What int8 weights change is judged as INT8 is; float16 must reach `gate.fp16_sqnr`. The arithmetic is the same
    float on both sides of lowering, so there the payload must reach `gate.float_sqnr`.
    """
    judged = total or reference
    verdict = judge_float(judged, gate, gate.fp16_sqnr) if precision == "fp16" else judge(judged, gate)
    arithmetic = judge_float(lowering, gate)
    failures = [f"{text}, against the reference with the same weights" for text in arithmetic.failures]
    return Verdict(verdict.passed and not failures, (*verdict.failures, *failures), verdict.warnings)


def judge_float(total: Sequence[OutputComparison], gate: Gate, least: float | None = None) -> Verdict:
    """The verdict on a float payload: an SQNR of `least` for every output; integers are judged as any are.

    least: in dB; None takes `gate.float_sqnr`.

    Outputs on which the original says nothing are compared all the same, since arithmetic can be checked on any data;
    they are a warning.
    """
    least = gate.float_sqnr if least is None else least
    failures: list[str] = []
    warnings: list[str] = []
    for item in total:
        name = f"output {item.name!r}"
        if not item.finite:
            failures.append(f"{name}: NaN or infinity where the original has a number")
            continue
        if item.degenerate is not None:
            warnings.append(f"{name} proves little: {item.degenerate}")
        if item.kind == "integer":
            failed, warned = judge_integers(item, gate)
            failures += [f"{name}: {text}" for text in failed]
            warnings += [f"{name}: {text}" for text in warned]
        elif item.sqnr_db < least and item.max_abs > EXACT:
            failures.append(
                f"{name}: SQNR is {item.sqnr_db:.1f} dB, and float arithmetic must reach {least:g} dB "
                f"(largest difference {item.max_abs:.3g})"
            )
    return Verdict(not failures, tuple(failures), tuple(warnings))


def _no_further(before: OutputComparison, after: OutputComparison) -> bool:
    """Whether the payload is as close to the original as the quantized reference: over all, per channel, in decisions.

    More decisions may flip than the reference's as far as chance explains it: neither rate is known better than that.
    """
    if after.sqnr_db < before.sqnr_db - BUDGET_DB:
        return False
    weak, weaker = before.channel_sqnr_p05_db, after.channel_sqnr_p05_db
    if weak is not None and weaker is not None and weaker < weak - BUDGET_DB:
        return False
    if after.flips is not None and before.flips is not None:
        rates = lower_bound(after.flips, after.decisions or 0), upper_bound(before.flips, before.decisions or 0)
        if rates[0] > rates[1]:
            return False
    if (
        after.dice_mean is not None
        and before.dice_mean is not None
        and after.dice_mean < before.dice_mean - BUDGET_DICE
    ):
        return False
    return (after.dead_channels or 0.0) <= (before.dead_channels or 0.0)
