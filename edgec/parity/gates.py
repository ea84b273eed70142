"""The gate: from numbers to a verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgec.parity.channels import DEAD_DB
from edgec.parity.decisions import lower_bound, upper_bound
from edgec.parity.metrics import OutputComparison, Slice
from edgec.parity.thresholds import Gate

NOTHING_PROVEN = "calibration-domain check"
"""What the failure begins with where the original says nothing on the data."""


@dataclass(frozen=True)
class Verdict:
    """Whether the gate holds; failures and warnings are sentences for people, the output named first."""

    passed: bool
    failures: tuple[str, ...]
    warnings: tuple[str, ...]


def judge(comparisons: Sequence[OutputComparison], gate: Gate | None = None) -> Verdict:
    """Whether every output holds.

    An output on which the reference proves nothing never counts as proof: it is a warning beside outputs that prove
    something, and a failure when there is no such output, since nothing was validated then. That a candidate finds
    something there all the same is a failure.

    States are judged by what the other outputs make of them; where all outputs are states, as values.
    """
    gate = gate or Gate()
    if all(item.kind == "state" for item in comparisons):
        comparisons = [replace(item, kind="features") for item in comparisons]
    failures: list[str] = []
    warnings: list[str] = []
    for item in comparisons:
        name = f"output {item.name!r}"
        if not item.finite:
            failures.append(f"{name}: NaN or infinity where the original has a number")
            continue
        if item.degenerate is not None:
            warnings.append(f"{name} proves nothing: {item.degenerate}")
            failures += [f"{name}: {text}" for text in _judge_degenerate(item, gate)]
            continue
        failed, warned = _judge_one(item, gate)
        failures += [f"{name}: {text}" for text in failed]
        warnings += [f"{name}: {text}" for text in (*warned, *item.notes)]
    proving = [item for item in comparisons if item.degenerate is None and item.kind != "state"]
    if not proving and not failures:
        reasons = sorted({item.degenerate for item in comparisons if item.degenerate is not None})
        failures.append(
            f"{NOTHING_PROVEN}: nothing was proven, the original itself does nothing on this data "
            f"({'; '.join(reasons) or 'there are no outputs to compare'})"
        )
    return Verdict(not failures, tuple(failures), tuple(warnings))


def together(*verdicts: Verdict) -> Verdict:
    """One verdict of several: it passes when all of them do."""
    return Verdict(
        all(verdict.passed for verdict in verdicts),
        tuple(text for verdict in verdicts for text in verdict.failures),
        tuple(text for verdict in verdicts for text in verdict.warnings),
    )


def eased(strict: Verdict, relaxed: Verdict) -> Verdict:
    """The verdict where the user's own metric is the judge: what fails only the limits that the user did not give is a
    warning.

    strict, relaxed: the verdicts of a gate and of `Gate.relaxed` on the same comparisons.
    """
    let_pass = [
        f"{text}; your metric decides, so it is let pass" for text in strict.failures if text not in relaxed.failures
    ]
    warnings = dict.fromkeys([*let_pass, *strict.warnings, *relaxed.warnings])
    return Verdict(relaxed.passed, relaxed.failures, tuple(warnings))


def _judge_degenerate(item: OutputComparison, gate: Gate) -> list[str]:
    """Failures of one output on which agreement proves nothing: disagreement does."""
    if item.kind in ("probability", "map") and item.mean_abs > gate.probability_error:
        return [f"probabilities are off by {item.mean_abs:.3f} in the mean (at most {gate.probability_error:g})"]
    failed: list[str] = []
    _judge_decisions(item, gate, failed, [])
    return failed


def _judge_one(item: OutputComparison, gate: Gate) -> tuple[list[str], list[str]]:
    """Failures and warnings of one output that proves something."""
    failed: list[str] = []
    warned: list[str] = []
    if item.kind == "state":
        if item.sqnr_db < gate.state_sqnr:
            warned.append(
                f"state: SQNR is {item.sqnr_db:.1f} dB (below {gate.state_sqnr:g} dB); states are judged leniently, "
                "by what the other outputs make of them"
            )
        return failed, warned
    if item.kind == "integer":
        return judge_integers(item, gate)
    _judge_decisions(item, gate, failed, warned)
    _judge_channels(item, gate, failed, warned)
    for part in item.slices:
        _judge_slice(part, gate, failed, warned)
    if item.kind == "map" and item.dice_mean is not None and item.dice_worst is not None:
        if item.dice_mean < gate.dice_mean:
            failed.append(f"masks overlap by a Dice of {item.dice_mean:.3f} in the mean (at least {gate.dice_mean:g})")
        if item.dice_worst < gate.dice_worst:
            failed.append(f"the worst mask has a Dice of {item.dice_worst:.3f} (at least {gate.dice_worst:g})")
    if item.kind == "probability" and item.mean_abs > gate.probability_error:
        failed.append(f"probabilities are off by {item.mean_abs:.3f} in the mean (at most {gate.probability_error:g})")
    if item.kind == "features" and item.cosine_p01 is not None and item.cosine_p01 < gate.cosine_p01:
        failed.append(
            f"the cosine of its rows with the original's is {item.cosine_p01:.3f} at the first percentile "
            f"(at least {gate.cosine_p01:g})"
        )
    if item.sqnr_db < gate.sqnr:
        failed.append(f"SQNR is {item.sqnr_db:.1f} dB (at least {gate.sqnr:g} dB)")
    return failed, warned


def judge_integers(item: OutputComparison, gate: Gate) -> tuple[list[str], list[str]]:
    """Failures and warnings of an integer output: over all, and where the original is not its most frequent value."""
    failed: list[str] = []
    warned: list[str] = []
    if (item.exact_share or 0.0) < gate.integer_match:
        failed.append(f"only {_percent(item.exact_share)} of its values are equal ({_least(gate.integer_match)})")
    if item.rare and item.rare_share is not None and item.rare_share < gate.integer_rare:
        text = (
            f"only {_percent(item.rare_share)} of the {item.rare} values are equal that differ from its most "
            f"frequent one ({_least(gate.integer_rare)})"
        )
        proven = lower_bound(round(item.rare * (1 - item.rare_share)), item.rare) > 1 - gate.integer_rare
        (failed if proven else warned).append(text if proven else text + ": too few to call it a rate")
    return failed, warned


def _judge_decisions(item: OutputComparison, gate: Gate, failed: list[str], warned: list[str]) -> None:
    if item.top1_agreement is not None and item.top1_agreement < gate.top1_agreement:
        failed.append(f"only {_percent(item.top1_agreement)} of decisions stay ({_least(gate.top1_agreement)})")
    if item.flips is None or item.decisions is None or item.confident_flips is None:
        return
    text = (
        f"{item.flips} of {item.decisions} confident decisions change ({_percent(item.confident_flips)}; "
        f"at most {_percent(gate.confident_flips)})"
    )
    if lower_bound(item.flips, item.decisions) > gate.confident_flips:
        failed.append(text)
    elif item.confident_flips > gate.confident_flips:
        warned.append(text + ": too few decisions to call it a rate")
    elif item.confident_flips > gate.confident_flips_warn:
        warned.append(text)
    if item.expected_flips is not None and item.expected_flips > gate.expected_flips:
        failed.append(
            f"{_percent(item.expected_flips)} of confident decisions are expected to change, by how far margins shift "
            f"(at most {_percent(gate.expected_flips)}); {item.flips} of {item.decisions} did"
        )
    _judge_sequences(item, gate, failed, warned)
    unseen = upper_bound(item.flips, item.decisions)
    if item.confident_flips <= gate.confident_flips_warn and unseen > 2 * gate.confident_flips:
        warned.append(
            f"only {item.decisions} confident decisions could be compared: {_percent(unseen)} of all might change "
            "unseen; more samples would prove more"
        )


def _judge_sequences(item: OutputComparison, gate: Gate, failed: list[str], warned: list[str]) -> None:
    if not item.sequences or item.changed_sequences is None:
        return
    rate = item.changed_sequences / item.sequences
    text = (
        f"{item.changed_sequences} of {item.sequences} sequences of decisions read otherwise ({_percent(rate)}; "
        f"at most {_percent(gate.changed_sequences)})"
    )
    if lower_bound(item.changed_sequences, item.sequences) > gate.changed_sequences:
        failed.append(text)
    elif rate > gate.changed_sequences / 2:
        warned.append(text)


def _judge_channels(item: OutputComparison, gate: Gate, failed: list[str], warned: list[str]) -> None:
    most = gate.dead_classes if item.kind == "classes" else gate.dead_channels
    if item.dead_channels is None:
        warned.append("its channels could not be judged one by one: too few samples")
        least = gate.channel_sqnr_p05 if item.kind == "features" else DEAD_DB
        if item.sqnr_centred_db is not None and item.sqnr_centred_db < least and most < 1:
            failed.append(
                f"what sets its samples apart has an SQNR of {item.sqnr_centred_db:.1f} dB (at least {least:g} dB)"
            )
        return
    if item.dead_channels > most:
        worst = ", ".join(f"{index} ({value:.1f} dB)" for index, value in item.worst_channels[:3])
        failed.append(
            f"{_percent(item.dead_channels)} of its channels are dead, more noise than signal "
            f"(at most {_percent(most)}); the worst: {worst}"
        )
    if (
        item.kind == "features"
        and item.channel_sqnr_p05_db is not None
        and item.channel_sqnr_p05_db < gate.channel_sqnr_p05
    ):
        failed.append(
            f"its weak channels (fifth percentile) have an SQNR of {item.channel_sqnr_p05_db:.1f} dB "
            f"(at least {gate.channel_sqnr_p05:g} dB)"
        )


def _judge_slice(part: Slice, gate: Gate, failed: list[str], warned: list[str]) -> None:
    """Channels that are unlike the others of their output: boxes must not speak for scores."""
    where = f"channels {part.channels} (values up to {part.largest:.3g})"
    if part.sqnr_centred_db < DEAD_DB and gate.dead_channels < 1:
        failed.append(f"{where} are dead: what they tell has an SQNR of {part.sqnr_centred_db:.1f} dB")
    if part.flips is None or not part.decisions:
        return
    rate = min(1.0, part.flips / part.decisions)
    text = (
        f"{where}: {part.flips} of {part.decisions} confident decisions change ({_percent(rate)}; "
        f"at most {_percent(gate.confident_flips)})"
    )
    if lower_bound(part.flips, part.decisions) > gate.confident_flips:
        failed.append(text)
    elif rate > gate.confident_flips_warn:
        warned.append(text)


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.3g} %"


def _least(share: float) -> str:
    return f"at least {_percent(share)}"
