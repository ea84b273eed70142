"""The thresholds of the parity gate. Pure data: the command line checks them before any work is done.

The defaults need no labels. They were fitted on 41 quantized variants of four models whose task accuracy was known
(text recognition, file types, image classes, sentence embeddings); docs/parity.md has the table and its limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

from edgec.errors import UsageError
from edgec.toml_schema import did_you_mean


def _limit(default: float, meaning: str, off: float | None = None) -> float:
    """off: the value that lets everything through; None for a limit that no other measure of quality replaces."""
    value: float = field(default=default, metadata={"meaning": meaning, "off": off})
    return value


_NO_DB = -200.0
"""Below every level: decibels are clamped to 120."""


@dataclass(frozen=True)
class Gate:
    """Thresholds, each of them a `--gate NAME=VALUE`. Shares are 0 to 1, levels are in dB."""

    confident_flips: float = _limit(
        0.04, "most confident decisions that may change, as a share, with 90 % confidence", off=1.0
    )
    confident_flips_warn: float = _limit(0.03, "share of changed confident decisions that is worth a warning", off=1.0)
    expected_flips: float = _limit(
        0.005,
        "most confident decisions that may be expected to change by how far margins shift, as a share, where fewer "
        "than 300 were seen",
        off=1.0,
    )
    changed_sequences: float = _limit(
        0.1, "most sequences of decisions (texts) that may read otherwise, as a share, with 90 % confidence", off=1.0
    )
    cosine_p01: float = _limit(
        0.95, "least cosine of the rows of embeddings and regressions, first percentile", off=-1.0
    )
    channel_sqnr_p05: float = _limit(
        10.0, "least channel SQNR of embeddings and regressions in dB, fifth percentile", off=_NO_DB
    )
    dead_channels: float = _limit(0.0, "most channels below 3 dB, as a share, but for class scores", off=1.0)
    dead_classes: float = _limit(0.075, "most channels of class scores below 3 dB, as a share", off=1.0)
    dice_mean: float = _limit(0.98, "least mean Dice coefficient of masks", off=0.0)
    dice_worst: float = _limit(0.90, "least Dice coefficient of any mask", off=0.0)
    probability_error: float = _limit(
        0.05, "most mean absolute error of probabilities that stand for themselves", off=1.0
    )
    integer_match: float = _limit(0.99, "least share of equal elements of integer outputs", off=0.0)
    integer_rare: float = _limit(
        0.95,
        "least share of equal elements of integer outputs where the original is not its most frequent value",
        off=0.0,
    )
    state_sqnr: float = _limit(
        6.0, "SQNR in dB below which the state of a recurrent model is worth a warning", off=_NO_DB
    )
    float_sqnr: float = _limit(60.0, "least SQNR of a float artifact's outputs in dB")
    fp16_sqnr: float = _limit(40.0, "least SQNR of the outputs of an artifact with float16 weights in dB", off=_NO_DB)
    executed_int8: float = _limit(
        0.9, "least share of the multiply-accumulates declared as INT8 that the engine computes in INT8"
    )
    sqnr: float = _limit(
        0.0, "least SQNR of any output in dB, over all its values; no judge of quality on its own", off=_NO_DB
    )
    top1_agreement: float = _limit(0.0, "least share of decisions that stay, confident or not (0: not asked)", off=0.0)

    def relaxed(self, given: Iterable[str]) -> Gate:
        """The gate where the user's own metric is the judge: only the limits named in `given` hold, and those for
        which no metric can stand in."""
        asked = set(given)
        off = {
            item.name: item.metadata["off"]
            for item in fields(self)
            if item.metadata["off"] is not None and item.name not in asked
        }
        return replace(self, **off)

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
            low, high = _bounds(name)
            if not low <= value <= high:
                raise UsageError(
                    f"The threshold {name} of the parity gate can't be {value:g}",
                    f"It lies within {low:g} and {high:g}: shares are not in percent.",
                    f"The default is {getattr(cls(), name)}.",
                )
            gate = replace(gate, **{name: float(value)})
        return gate


def _bounds(name: str) -> tuple[float, float]:
    """The least and the greatest value that a threshold may have: levels in dB are free."""
    if "sqnr" in name:
        return -math.inf, math.inf
    return (-1.0, 1.0) if name.startswith("cosine") else (0.0, 1.0)
