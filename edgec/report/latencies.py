"""How the latencies of both sides are spread, in a figure, a table and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from edgec.report import formats, latency_figures
from edgec.report.inputs import ReportInputs
from edgec.report.latency_figures import Side

_LEVELS = (("p25", "25 %"), ("p50", "Median"), ("p75", "75 %"), ("p95", "95 %"), ("p99", "99 %"))


def _sides(inputs: ReportInputs) -> list[tuple[str, str, Mapping[str, Any]]]:
    latency = inputs.latency or {}
    named = (("ONNX Runtime, original", "bar before", "baseline"), ("Artifact", "bar after", "artifact"))
    return [(label, style, latency[key]) for label, style, key in named if latency.get(key)]


def figure(inputs: ReportInputs) -> Markup | None:
    """Both histograms, each around its own median; None where the runs were not counted."""
    sides = [
        Side(
            label,
            f"median {formats.milliseconds(side['p50'])}",
            side["histogram"]["edges_ms"],
            side["histogram"]["counts"],
            side["p50"],
            style,
        )
        for label, style, side in _sides(inputs)
        if side.get("histogram") and side["p50"] > 0
    ]
    if not sides:
        return None
    return latency_figures.spread(sides, "How single runs are spread around the median. " + " ".join(captions(inputs)))


def captions(inputs: ReportInputs) -> list[str]:
    """What one sees, in sentences."""
    said = []
    for label, _, side in _sides(inputs):
        if side.get("histogram"):
            half = f"{formats.significant(side['p25'])} to {formats.milliseconds(side['p75'])}"
            slowest = formats.milliseconds(side["histogram"]["edges_ms"][-1])
            said.append(
                f"{label}: half of the runs take {half}, one in a hundred more than "
                f"{formats.milliseconds(side['p99'])}, the slowest {slowest}."
            )
    interval = (inputs.latency or {}).get("ratio_interval")
    if interval:
        low, high = (formats.times(1 / value) for value in reversed(interval))
        said.append(f"With 95 % confidence, the artifact is {low} to {high} as fast as the original.")
    if said and (inputs.latency or {}).get("noisy"):
        said.append("The machine was busy meanwhile: take the shapes as rough.")
    return said


def table(inputs: ReportInputs) -> list[tuple[str, ...]]:
    """The percentiles of each side in milliseconds: rows of a table under `titles`."""
    return [
        (label, *(formats.significant(side[key]) if key in side else "–" for key, _ in _LEVELS))
        for label, _, side in _sides(inputs)
    ]


def titles() -> tuple[str, ...]:
    return ("In milliseconds", *(title for _, title in _LEVELS))
