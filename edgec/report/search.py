"""What a search tried, as points of time and size: which of them nothing beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from edgec.report import formats
from edgec.report.inputs import ReportInputs
from edgec.report.scatter import Mark, scatter

_LEAST = 3


def _points(inputs: ReportInputs) -> Sequence[Mapping[str, Any]]:
    tried = (inputs.choice or {}).get("candidates") or ()
    return [item for item in tried if item["latency_ms"] and item["bytes"] and not item["error"]]


def figure(inputs: ReportInputs) -> Markup | None:
    """Latency and size of every candidate that came to an artifact; None of fewer than three."""
    points = _points(inputs)
    if len(points) < _LEAST:
        return None
    marks = [
        Mark(
            label=f"{_name(item)}: {formats.milliseconds(item['latency_ms'])}, {formats.size(item['bytes'])}",
            x=float(item["latency_ms"]),
            y=item["bytes"] / 1e6,
            style="kept" if item["status"] == "kept" else "front" if item.get("front") else "beaten",
            text=_name(item) if item["status"] == "kept" else "",
        )
        for item in points
    ]
    words = "; ".join(mark.label for mark in marks)
    return scatter(marks, "milliseconds", "MB", f"Latency and size of what was tried. {words}.")


def caption(inputs: ReportInputs) -> str:
    """What one sees, in a sentence."""
    points = _points(inputs)
    best = sum(bool(item.get("front")) for item in points)
    return (
        f"{formats.counted(len(points), 'candidate')} came to an artifact; further down and further left is better. "
        f"{best} of them are beaten by none in time, size and accuracy at once."
    )


def _name(item: Mapping[str, Any]) -> str:
    return formats.clean(item.get("name") or item["backend"])
