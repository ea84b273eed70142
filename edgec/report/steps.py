"""Where the time of the artifact goes: its engine's steps, as they were timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from edgec.report import figures, formats
from edgec.report.inputs import ReportInputs

_SHOWN = 8
TITLES = ("#", "Step", "Operator", "Time", "Share")


def _steps(inputs: ReportInputs) -> Sequence[Mapping[str, Any]]:
    return (inputs.latency or {}).get("profile") or ()


def figure(inputs: ReportInputs) -> Markup | None:
    """The steps that take longest, and all others together, as shares of an inference."""
    steps = sorted(_steps(inputs), key=lambda step: -step["share"])
    if len(steps) < 2:
        return None
    rows = [figures.Bar(_name(step), formats.percent(step["share"]), step["share"]) for step in steps[:_SHOWN]]
    if rest := steps[_SHOWN:]:
        share = sum(step["share"] for step in rest)
        label = f"{formats.counted(len(rest), 'other step')} together"
        rows.append(figures.Bar(label, formats.percent(share), share, "bar before"))
    words = ", ".join(f"{row.label} {row.text}" for row in rows)
    return figures.bars(rows, f"Where the artifact's time goes. {words}.")


def caption(inputs: ReportInputs) -> str:
    """What one sees, in a sentence, and what to know of it."""
    steps = sorted(_steps(inputs), key=lambda step: -step["share"])
    if not steps:
        return ""
    sum_so_far, count = 0.0, 0
    while sum_so_far < 0.5 and count < len(steps):
        sum_so_far += steps[count]["share"]
        count += 1
    note = formats.clean((inputs.latency or {}).get("profile_note") or "")
    said = f"Half of the artifact's time goes into {count} of {formats.counted(len(steps), 'step')}."
    return f"{said} {note[:1].upper()}{note[1:]}." if note else said


def table(inputs: ReportInputs) -> list[tuple[str, ...]]:
    """All steps in the order of execution, under TITLES."""
    return [
        (
            str(number),
            formats.clean(step["name"]),
            formats.clean(step["operator"]),
            formats.milliseconds(step["milliseconds"]),
            formats.percent(step["share"]),
        )
        for number, step in enumerate(_steps(inputs), 1)
    ]


def _name(step: Mapping[str, Any]) -> str:
    name, operator = formats.clean(step["name"]), formats.clean(step["operator"])
    return formats.shortened(name if operator in name else f"{name} ({operator})")
