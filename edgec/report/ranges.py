"""Histograms of the tensors whose range matters most, with the grid that each was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from edgec.report import diagnosis_figures, formats
from edgec.report.inputs import ReportInputs


@dataclass(frozen=True)
class RangeCard:
    """One tensor: why it is shown, what one sees, and the figure."""

    tensor: str
    why: str
    text: str
    figure: Markup


def cards(inputs: ReportInputs) -> list[RangeCard]:
    """The tensors that quantize chose to tell of, those that are cut most first."""
    items = (inputs.quantize or {}).get("ranges") or ()
    return [_card(item) for item in sorted(items, key=lambda item: (-item["clipped_share"], _holds(item)))]


def _card(item: Mapping[str, Any]) -> RangeCard:
    grid, histogram = item["grid"], item["histogram"]
    ends = formats.significant(grid["low"]), formats.significant(grid["high"])
    seen = " to ".join(formats.significant(item[key]) for key in ("minimum", "maximum"))
    share = float(item["clipped_share"])
    cut = f"{formats.percent(share)} of the values are cut"
    if share == 0:
        cut = "nothing is cut" if _holds(item) else "only the rarest extremes are cut"
    held = f"{ends[0]} to {ends[1]}"
    text = f"INT{grid['bits']} holds {held} in steps of {formats.significant(grid['step'])}; {cut}."
    if seen != held and not _holds(item):
        text = f"Values from {seen}. {text}"
    tensor = formats.clean(item["tensor"])
    return RangeCard(
        tensor,
        formats.clean(item["why"]),
        text,
        diagnosis_figures.on_its_grid(
            histogram["counts"],
            (histogram["low"], histogram["high"]),
            (grid["low"], grid["high"]),
            ends,
            f"Values of {tensor} on their grid. {text}",
        ),
    )


def _holds(item: Mapping[str, Any]) -> bool:
    """Whether the grid holds the extremes, within half a step."""
    half = item["grid"]["step"] / 2
    return bool(item["minimum"] >= item["grid"]["low"] - half and item["maximum"] <= item["grid"]["high"] + half)
