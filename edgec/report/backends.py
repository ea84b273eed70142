"""The backends, or the candidates of a search, that were tried for one target, and which made the artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.report import formats
from edgec.report.inputs import ReportInputs


@dataclass(frozen=True)
class Tried:
    """One backend, or candidate of a search. Texts are ready to be shown; a dash stands where there is no figure."""

    backend: str
    kept: bool
    outcome: str
    precision: str
    size: str
    latency: str
    speed: str
    instructions: str


TITLES = ("Backend", "Outcome", "Precision", "Size", "Median latency", "Against the original", "Instructions")


def tried(inputs: ReportInputs) -> list[Tried]:
    """One row for each backend; none where only one could be taken."""
    return [_row(item) for item in (inputs.choice or {}).get("candidates", ())]


def why(inputs: ReportInputs) -> str:
    """Why the one that is shipped was kept."""
    return formats.clean((inputs.choice or {}).get("why", ""))


def cells(row: Tried) -> tuple[str, ...]:
    """A row under TITLES."""
    return row.backend, row.outcome, row.precision, row.size, row.latency, row.speed, row.instructions


def _row(item: Mapping[str, Any]) -> Tried:
    error, latency, ratio = item["error"], item["latency_ms"], item["ratio_of_medians"]
    outcome = {"kept": "kept", "ok": "passes", "over": "passes, over the limit"}.get(item["status"], item["status"])
    if reason := item.get("not_tried"):
        outcome = f"not tried: {formats.clean(reason)}"
    searched = item.get("threads") is not None or item.get("profile")
    name = item["name"] if searched else item["backend"]
    return Tried(
        formats.clean(f"{name} ◆" if item.get("front") and searched else name),
        item["status"] == "kept" and error is None,
        f"{outcome}: {formats.clean(error['what'])}" if error else outcome,
        item["precision"] or "–",
        formats.size(item["bytes"]) if item["bytes"] is not None else "–",
        formats.milliseconds(latency) if latency is not None else "–",
        f"{formats.times(1 / ratio)} as fast" if ratio else "–",
        formats.count(item["instructions"]) if item["instructions"] else "–",
    )
