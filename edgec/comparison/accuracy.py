"""How right an artifact is, in one number: the user's own measure where the build had one, else SQNR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SQNR = "SQNR"
_PASSED_ON = ("state", "integer")
"""Kinds of outputs whose errors have no SQNR that means something."""


@dataclass(frozen=True)
class Accuracy:
    """measure: the name of the user's metric, or SQNR, in decibels. value: the higher the better.

    original: the metric of the original model; None for SQNR, which is a distance from it.
    of_reference: the artifact was not executed, and this is its quantized reference's.
    """

    measure: str
    value: float
    original: float | None = None
    of_reference: bool = False


def accuracy_of(parity: Mapping[str, Any] | None) -> Accuracy | None:
    """What parity.json says; None where nothing was compared."""
    if parity is None:
        return None
    metric = parity.get("metric")
    if metric:
        value = metric["reference"] if metric["artifact"] is None else metric["artifact"]
        if value is not None:
            return Accuracy(metric["name"], value, metric["original"], metric["artifact"] is None)
    executed = parity.get("runner") != "none"
    values = [
        each["sqnr_db"]
        for each in _outputs(parity)
        if each.get("kind") not in _PASSED_ON and each.get("sqnr_db") is not None
    ]
    return Accuracy(SQNR, min(values), of_reference=not executed) if values else None


def agreement_of(parity: Mapping[str, Any] | None) -> float | None:
    """The share of decisions that are the original's, at the worst output; None where outputs decide nothing."""
    shares = [share for each in _outputs(parity or {}) if (share := each.get("top1_agreement")) is not None]
    return min(shares, default=None)


def _outputs(parity: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Outputs against the original's: the artifact's, or those of its quantized reference where it was not executed."""
    section = parity.get("quantization" if parity.get("runner") == "none" else "total") or {}
    return [each for each in section.get("outputs", ()) if each.get("degenerate") is None]
