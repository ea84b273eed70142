"""The model layer by layer: precision, work, error, time, and what bounds each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from edgec.report import formats, layer_figures
from edgec.report.inputs import ReportInputs
from edgec.report.layer_figures import Dot, Panel, Roof

_HARMLESS_DB = 60.0
"""A layer that alone leaves the outputs this far above the noise has a column of no height."""

MOST_ROWS = 400
"""Rows of the table in the page; the JSON report has all."""

PRECISIONS = {"int8": "INT8", "int16": "INT16", "float": "float"}
"""In the order of the legend."""


@dataclass(frozen=True)
class Layer:
    """One layer as it was built; what a kernel fuses is one.

    number: from 1, in the graph's order. precision: a key of PRECISIONS. macs: of one run. isolated_db: SQNR of the
        model's worst output in dB with only this layer in INT8. milliseconds: of the original, in float.
    intensity: multiply-accumulates per byte moved, in float32. bound: "compute" or "memory", in float32.
    """

    number: int
    node: str
    operator: str
    precision: str
    macs: int
    isolated_db: float | None
    milliseconds: float | None
    intensity: float | None
    bound: str | None


def layers(inputs: ReportInputs) -> list[Layer]:
    """All layers that are known: those of quantize.json, else those of the analysis; [] without either."""
    known = {layer["node"]: layer for layer in (inputs.analysis or {}).get("layers") or ()}
    if built := (inputs.quantize or {}).get("layers"):
        return [_built(number, item, known) for number, item in enumerate(built, 1)]
    return [
        _layer(number, [item], item["operator"], "float", int(item["macs"]), None)
        for number, item in enumerate(known.values(), 1)
    ]


def _built(number: int, item: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> Layer:
    members = [known[name] for name in item["members"] if name in known]
    operator = " + ".join([item["op"], *item["fused"]])
    shown = members or [{"node": item["node"]}]
    found = _layer(number, shown, operator, item["precision"], int(item["macs"]), item["isolated_db"])
    return found if members else Layer(**{**vars(found), "node": formats.clean(item["node"])})


def _layer(
    number: int,
    members: Sequence[Mapping[str, Any]],
    operator: str,
    precision: str,
    macs: int,
    isolated: float | None,
) -> Layer:
    """members: entries of the analysis; the first is the layer's own."""
    first = members[0]
    times = [item["milliseconds"] for item in members if item.get("milliseconds") is not None]
    return Layer(
        number=number,
        node=formats.clean(first["node"]),
        operator=formats.clean(operator),
        precision=precision,
        macs=macs,
        isolated_db=isolated,
        milliseconds=sum(times) if times else None,
        intensity=(first.get("intensity") or {}).get("float32"),
        bound=first.get("bound"),
    )


@dataclass(frozen=True)
class Legend:
    """One precision: its class of colour, and how much of the model computes in it, in words."""

    style: str
    text: str


def legend(rows: Sequence[Layer]) -> list[Legend]:
    """The precisions that occur, each with its share of layers and of multiply-accumulates."""
    total = sum(row.macs for row in rows)
    found = []
    for precision, title in PRECISIONS.items():
        count = sum(row.precision == precision for row in rows)
        if count:
            text = f"{title}: {formats.counted(count, 'layer')}"
            if total:
                share = sum(row.macs for row in rows if row.precision == precision) / total
                text += f", {formats.percent(share)} of the multiply-accumulates"
            found.append(Legend(precision, text))
    return found


def figure(inputs: ReportInputs, rows: Sequence[Layer]) -> Markup | None:
    """Work, error and time of all layers in their order, over a strip of their precisions."""
    if len(rows) < 2:
        return None
    styles = [row.precision for row in rows]
    panels = []
    if any(row.macs for row in rows):
        most = max(row.macs for row in rows)
        panels.append(
            Panel("Multiply-accumulates", formats.count(most), [row.macs / most or None for row in rows], styles)
        )
    levels = [row.isolated_db for row in rows if row.isolated_db is not None]
    if levels:
        heights = [None if row.isolated_db is None else _harm(row.isolated_db) for row in rows]
        measured = "" if len(levels) == len(rows) else f" ({len(levels)} layers measured)"
        title = f"Error, it alone in INT8{measured}"
        panels.append(Panel(title, formats.decibel(min(levels)), heights, ["harm"] * len(rows)))
    times = [row.milliseconds for row in rows if row.milliseconds is not None]
    if times and (longest := max(times)) > 0:
        heights = [None if row.milliseconds is None else row.milliseconds / longest for row in rows]
        panels.append(Panel("Time in float, where it was built", formats.milliseconds(longest), heights, styles))
    words = ". ".join([f"{len(rows)} layers in the order of the graph", *[item.text for item in legend(rows)]])
    return layer_figures.along_layers(
        panels, styles, [_tooltip(row) for row in rows], f"{words}. {' '.join(captions(rows))}", "Precision"
    )


def _harm(level: float) -> float | None:
    """The height of a column: a layer at 0 dB fills the panel."""
    return min(1.0, max(0.02, 1 - level / _HARMLESS_DB))


def _tooltip(row: Layer) -> str:
    parts = [f"{row.number}. {row.node}: {row.operator}", PRECISIONS.get(row.precision, row.precision)]
    if row.macs:
        parts.append(f"{formats.count(row.macs)} MACs")
    if row.isolated_db is not None:
        parts.append(f"alone {formats.decibel(row.isolated_db)}")
    if row.milliseconds is not None:
        parts.append(formats.milliseconds(row.milliseconds))
    return ", ".join(parts)


def captions(rows: Sequence[Layer]) -> list[str]:
    """What one sees in the figure, in sentences."""
    said = []
    total = sum(row.macs for row in rows)
    if total and len(rows) > 2:
        heaviest = sorted(rows, key=lambda row: -row.macs)
        sum_so_far, count = 0, 0
        while 2 * sum_so_far < total:
            sum_so_far += heaviest[count].macs
            count += 1
        said.append(f"Half of the multiply-accumulates lie in {count} of {formats.counted(len(rows), 'layer')}.")
    measured = [row for row in rows if row.isolated_db is not None]
    if measured:
        worst = min(measured, key=lambda row: row.isolated_db or 0.0)
        said.append(f"In INT8 alone, {worst.node} costs most: {formats.decibel(worst.isolated_db)} are left.")
    timed = [row for row in rows if row.milliseconds is not None]
    spent = sum(row.milliseconds or 0.0 for row in timed)
    if spent:
        slowest = max(timed, key=lambda row: row.milliseconds or 0.0)
        share = formats.percent((slowest.milliseconds or 0.0) / spent)
        said.append(f"In float, on the machine that built it, {slowest.node} takes longest: {share} of the time.")
    return said


@dataclass(frozen=True)
class Table:
    """The table of all layers: titles, and rows of as many cells. note: what was left out, or ""."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def table(rows: Sequence[Layer]) -> Table:
    """Everything that the figures show, in numbers; columns that no layer has anything in are left out."""
    columns = [
        ("Precision", [PRECISIONS.get(row.precision, row.precision) for row in rows]),
        ("MACs", [formats.count(row.macs) if row.macs else "" for row in rows]),
        ("Alone", ["" if row.isolated_db is None else formats.decibel(row.isolated_db) for row in rows]),
        ("Float time", ["" if row.milliseconds is None else formats.milliseconds(row.milliseconds) for row in rows]),
        ("MACs per byte", [formats.significant(row.intensity, 2) if row.intensity else "" for row in rows]),
        ("Bound by", [row.bound or "" for row in rows]),
    ]
    kept = [(title, cells) for title, cells in columns if any(cells)]
    shown = tuple(
        (str(row.number), row.node, row.operator, *(cells[index] for _, cells in kept))
        for index, row in enumerate(rows[:MOST_ROWS])
    )
    left = len(rows) - len(shown)
    note = f"{formats.counted(left, 'more layer')} {'is' if left == 1 else 'are'} in the JSON report." if left else ""
    return Table(("#", "Layer", "Op", *(title for title, _ in kept)), shown, note)


def roofline_figure(inputs: ReportInputs, rows: Sequence[Layer]) -> Markup | None:
    """Layers under the roof of the target; None without its peaks, or where no time was measured."""
    roof = (inputs.analysis or {}).get("roofline")
    if not ((inputs.analysis or {}).get("profile") or {}).get("on_target"):
        return None  # times of this machine do not lie under another's roof
    timed = [row for row in rows if row.milliseconds and row.intensity and row.macs]
    if not roof or not timed:
        return None
    spent = sum(row.milliseconds or 0.0 for row in timed)
    dots = [
        Dot(
            _tooltip(row),
            row.intensity,
            row.macs / row.milliseconds / 1e6,
            row.milliseconds / spent,
            f"dot {row.bound}",
        )
        for row in timed
        if row.intensity and row.milliseconds
    ]
    roofs = [
        Roof(f"float32 peak, {formats.significant(roof['float32_gmacs'])} GMAC/s", roof["float32_gmacs"], "floats"),
        Roof(f"INT8 peak, {formats.significant(roof['int8_gmacs'])} GMAC/s", roof["int8_gmacs"], "integers"),
    ]
    return layer_figures.roofline(
        dots, roofs, roof["memory_gb_per_s"], "Roofline of the original. " + " ".join(roofline_captions(inputs, rows))
    )


def roofline_captions(inputs: ReportInputs, rows: Sequence[Layer]) -> list[str]:
    """What bounds the model, and what INT8 can give at most, in sentences."""
    analysis = inputs.analysis or {}
    roof = analysis.get("roofline")
    if not roof:
        return []
    timed = [row for row in rows if row.milliseconds and row.bound]
    spent = sum(row.milliseconds or 0.0 for row in timed)
    said = []
    if spent:
        share = sum(row.milliseconds or 0.0 for row in timed if row.bound == "memory") / spent
        said.append(
            f"{formats.percent(share)} of the original's time goes into layers that are bound by memory, the rest into "
            "layers that are bound by arithmetic."
        )
    if gain := analysis["totals"].get("int8_at_most"):
        times = formats.times(gain)
        said.append(f"With every layer at its roof, INT8 is at most {times} as fast as float32 in the same engine.")
    return said
