"""The gate: from numbers to a verdict in words.

The defaults need no labels. They were fitted on 41 quantized variants of four models whose task accuracy was known
(text recognition, file types, image classes, sentence embeddings); docs/parity.md has the table and its limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace

from edgec.errors import UsageError
from edgec.parity.decisions import lower_bound, upper_bound
from edgec.parity.metrics import OutputComparison
from edgec.toml_schema import did_you_mean


def _limit(default: float, meaning: str) -> float:
    value: float = field(default=default, metadata={"meaning": meaning})
    return value


@dataclass(frozen=True)
class Gate:
    """Thresholds, each of them a `--gate NAME=VALUE`. Shares are 0 to 1, levels are in dB."""

    confident_flips: float = _limit(0.05, "most confident decisions that may change, as a share, with 90 % confidence")
    confident_flips_warn: float = _limit(0.03, "share of changed confident decisions that is worth a warning")
    cosine_p01: float = _limit(0.95, "least cosine of the rows of embeddings and regressions, first percentile")
    channel_sqnr_p05: float = _limit(10.0, "least channel SQNR of embeddings and regressions in dB, fifth percentile")
    dead_channels: float = _limit(0.0, "most channels below 3 dB, as a share, but for class scores")
    dead_classes: float = _limit(0.075, "most channels of class scores below 3 dB, as a share")
    dice_mean: float = _limit(0.98, "least mean Dice coefficient of masks")
    dice_worst: float = _limit(0.90, "least Dice coefficient of any mask")
    probability_error: float = _limit(0.05, "most mean absolute error of probabilities that stand for themselves")
    integer_match: float = _limit(0.99, "least share of equal elements of integer outputs")
    state_sqnr: float = _limit(6.0, "SQNR in dB below which the state of a recurrent model is worth a warning")
    float_sqnr: float = _limit(60.0, "least SQNR of a float artifact's outputs in dB")
    sqnr: float = _limit(0.0, "least SQNR of any output in dB, over all its values; no judge of quality on its own")
    top1_agreement: float = _limit(0.0, "least share of decisions that stay, confident or not (0: not asked)")

    @classmethod
    def from_overrides(cls, pairs: Iterable[tuple[str, float]]) -> Gate:
        """The default gate with some thresholds changed; UsageError for a name that does not exist."""
        known = {item.name for item in fields(cls)}
        gate = cls()
        for name, value in pairs:
            if name not in known:
                raise UsageError(
                    f"The parity gate has no threshold called {name!r}.{did_you_mean(name, sorted(known))}",
                    f"Its thresholds are: {', '.join(item.name for item in fields(cls))}.",
                    "Write --gate NAME=VALUE; docs/parity.md says what each of them means.",
                )
            if value != value:
                raise UsageError(
                    f"The threshold {name} of the parity gate is not a number",
                    "Nothing compares with NaN, so the gate would let everything through.",
                    f"The default is {getattr(cls(), name)}.",
                )
            gate = replace(gate, **{name: float(value)})
        return gate


@dataclass(frozen=True)
class Verdict:
    """Whether the gate holds; failures and warnings are sentences for people, the output named first."""

    passed: bool
    failures: tuple[str, ...]
    warnings: tuple[str, ...]


def judge(comparisons: Sequence[OutputComparison], gate: Gate | None = None) -> Verdict:
    """Whether every output holds.

    An output on which the reference proves nothing never counts as proof: it is a warning beside outputs that prove
    something, and a failure when there is no such output, since nothing was validated then.
    """
    gate = gate or Gate()
    failures: list[str] = []
    warnings: list[str] = []
    for item in comparisons:
        name = f"output {item.name!r}"
        if not item.finite:
            failures.append(f"{name}: NaN or infinity where the original has a number")
            continue
        if item.degenerate is not None:
            warnings.append(f"{name} proves nothing: {item.degenerate}")
            continue
        failed, warned = _judge_one(item, gate)
        failures += [f"{name}: {text}" for text in failed]
        warnings += [f"{name}: {text}" for text in (*warned, *item.notes)]
    proving = [item for item in comparisons if item.degenerate is None and item.kind != "state"]
    if not proving and not failures:
        reasons = sorted({item.degenerate for item in comparisons if item.degenerate is not None})
        failures.append(
            "calibration-domain check: nothing was proven, the original itself does nothing on this data "
            f"({'; '.join(reasons) or 'there are no outputs to compare'})"
        )
    return Verdict(not failures, tuple(failures), tuple(warnings))


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
        if (item.exact_share or 0.0) < gate.integer_match:
            failed.append(f"only {_percent(item.exact_share)} of its values are equal ({_least(gate.integer_match)})")
        return failed, warned
    _judge_decisions(item, gate, failed, warned)
    _judge_channels(item, gate, failed, warned)
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
    unseen = upper_bound(item.flips, item.decisions)
    if item.confident_flips <= gate.confident_flips_warn and unseen > 2 * gate.confident_flips:
        warned.append(
            f"only {item.decisions} confident decisions could be compared: {_percent(unseen)} of all might change "
            "unseen; more samples would prove more"
        )


def _judge_channels(item: OutputComparison, gate: Gate, failed: list[str], warned: list[str]) -> None:
    if item.dead_channels is None:
        warned.append("its channels could not be judged one by one: too few samples")
        if item.kind == "features" and item.sqnr_centred_db < gate.channel_sqnr_p05:
            failed.append(
                f"its SQNR about the mean is {item.sqnr_centred_db:.1f} dB (at least {gate.channel_sqnr_p05:g} dB)"
            )
        return
    most = gate.dead_classes if item.kind == "classes" else gate.dead_channels
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


def loss(comparisons: Sequence[OutputComparison]) -> float:
    """How bad a candidate is, 0 to 1, lower is better: what a search over quantizations minimizes.

    The mean over outputs of noise over signal, half of it per step and half per channel. Each ratio is clipped to 1, so
    that neither one bad sample nor one dead channel decides. Outputs that prove nothing do not count; states and
    integers count only when there is nothing else.
    """
    proving = [item for item in comparisons if item.degenerate is None]
    values = [item for item in proving if item.kind not in ("integer", "state")] or proving
    if not values:
        return 1.0 if any(not item.finite or item.max_abs > 0 for item in comparisons) else 0.0
    total = 0.0
    for item in values:
        if not item.finite:
            total += 1.0
        elif item.kind == "integer":
            total += 1.0 - (item.exact_share or 0.0)
        else:
            total += item.nsr if item.channel_nsr is None else (item.nsr + item.channel_nsr) / 2
    return total / len(values)


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.3g} %"


def _least(share: float) -> str:
    return f"at least {_percent(share)}"
