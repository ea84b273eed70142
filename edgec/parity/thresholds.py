"""The thresholds of the parity gate. Pure data: the command line checks them before any work is done.

The defaults need no labels. They were fitted on 41 quantized variants of four models whose task accuracy was known
(text recognition, file types, image classes, sentence embeddings); docs/parity.md has the table and its limits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

from edgec.errors import UsageError
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
    integer_rare: float = _limit(
        0.95, "least share of equal elements of integer outputs where the original is not its most frequent value"
    )
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
