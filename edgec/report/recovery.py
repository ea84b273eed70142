"""How accuracy was recovered: what was rewritten, which passes paid, what INT8 costs at every share of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.report import formats
from edgec.report.inputs import ReportInputs

_TITLES = {
    "normalizations-in-float": "Decomposed normalizations in float",
    "range-method": "Ranges by another method",
    "useful-range": "Ranges cut where readers saturate",
    "bias-correction": "Bias correction",
    "gptq": "Weights rounded by GPTQ",
    "rescale": "Channels rescaled",
    "tensor-ranges": "Ranges tensor by tensor",
    "16-bit": "16-bit activations",
    "float-layers": "Layers in float",
}


@dataclass(frozen=True)
class Step:
    """One recovery pass: `outcome` in a word, `tone` for its colour ("yes", "no" or ""), `gain` in dB and loss."""

    title: str
    outcome: str
    tone: str
    gain: str
    reason: str


@dataclass(frozen=True)
class Rewrite:
    """One kind of rewrite, and how often it was made."""

    title: str
    count: int


def steps(inputs: ReportInputs) -> list[Step]:
    """The recovery passes in the order in which they were tried."""
    return [_step(item) for item in (inputs.quantize or {}).get("recovery") or ()]


def _step(item: Mapping[str, Any]) -> Step:
    status = str(item["status"])
    tone = "yes" if status in ("accepted", "forced") else "no" if status == "rejected" else ""
    return Step(
        title=_TITLES.get(item["pass"], formats.clean(item["pass"])),
        outcome=status,
        tone=tone,
        gain=_gain(item),
        reason=formats.clean(item.get("reason") or ""),
    )


def _gain(item: Mapping[str, Any]) -> str:
    before, after = item.get("sqnr_before_db"), item.get("sqnr_after_db")
    if before is None or after is None:
        return "–"
    texts = [f"{float(value):.1f}" for value in (before, after)]
    return f"{texts[0]} → {texts[1]} dB" if texts[0] != texts[1] else f"{texts[1]} dB"


def rewrites(inputs: ReportInputs) -> list[Rewrite]:
    """What the graph was rewritten to before calibration, the most frequent first."""
    made = (inputs.canonicalize or {}).get("rewrites") or ()
    rows = [Rewrite(formats.clean(item.get("title") or item["pass"]), int(item["count"])) for item in made]
    return sorted(rows, key=lambda row: (-row.count, row.title))


def curve(inputs: ReportInputs) -> list[tuple[str, str]]:
    """The best trade-offs that were found: share of multiply-accumulates in INT8, and SQNR of the worst output."""
    points = (inputs.quantize or {}).get("curve") or ()
    rows = [(formats.percent(float(p["int8_mac_fraction"])), formats.decibel(p["sqnr_db"])) for p in points]
    return rows if len(rows) > 1 else []  # one point trades nothing off
