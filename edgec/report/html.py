"""The HTML report: one file, no scripts, nothing from the network."""

from __future__ import annotations

import base64
import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from edgec.errors import LimitNotMet
from edgec.report import (
    backends,
    evidence,
    formats,
    latencies,
    layers,
    payload,
    ranges,
    recovery,
    remarks,
    search,
    seen,
    steps,
    story,
)
from edgec.report.inputs import ReportInputs
from edgec.version import __version__

_TYPED = re.compile(
    r"\bedgec diagnose \S.*$"
    r"|(?<![\w-])--(?:force|forbid|profile|precision|keep-float|gate)(?: (?!or |and |of )[\w@=/.:+-]*[\w@])?"
    r"|(?<![\w-])--[a-z][a-z-]+",
    re.MULTILINE,
)

_MARK = (
    '<svg viewBox="0 0 20 20" aria-hidden="true"><circle cx="10" cy="10" r="9" fill="currentColor" opacity=".18"/>'
    '<path d="{}" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round"'
    ' stroke-linejoin="round"/></svg>'
)
_MARKS = {
    "good": Markup(_MARK.format("M5.8 10.4l2.9 2.9 5.6-6.2")),
    "doubtful": Markup(_MARK.format("M10 5.6v5.4M10 14.2v.1")),
    "bad": Markup(_MARK.format("M6.8 6.8l6.4 6.4M13.2 6.8l-6.4 6.4")),
}


_CONTENTS = (
    ("backends", "Tried", ("tried",)),
    ("warnings", "Worth knowing", ("warnings",)),
    ("outputs", "Outputs", ("outputs",)),
    ("spread", "Steadiness", ("spread",)),
    ("layers", "Layers", ("layer_map", "weakest")),
    ("seen", "Data", ("sheet", "seen", "seen_notes")),
    ("int8", "INT8", ("quantize",)),
    ("steps", "Steps", ("steps",)),
    ("ranges", "Ranges", ("ranges",)),
    ("bounds", "Roofline", ("roofline",)),
    ("graph", "Graph", ("graph", "operators")),
    ("accelerator", "Edge TPU", ("accelerator",)),
    ("asked", "Asked", ("asked",)),
    ("stages", "Time", ("stages",)),
    ("provenance", "Provenance", ("provenance",)),
)
"""The sections of the page: id, title in the table of contents, and parts of the view of which one must be there."""


@cache
def environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("edgec.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["flags"] = _flags
    environment.filters["whole"] = _whole
    return environment


def style() -> Markup:
    """The style sheet of all pages."""
    return Markup(environment().loader.get_source(environment(), "style.css")[0])  # type: ignore[union-attr]


def marks() -> dict[str, Markup]:
    """The signs of a verdict, by its tone."""
    return _MARKS


def _flags(text: str) -> Markup:
    """`text`, escaped, with commands, and flags with the names behind them, set as code."""
    return Markup(_TYPED.sub(r"<code>\g<0></code>", str(escape(text))))


def _whole(text: str) -> Markup:
    """`text`, escaped, with names that hold a hyphen kept on one line where they fit on one."""
    return Markup(" ").join(
        Markup('<span class="whole">{}</span>').format(word) if "-" in word else escape(word)
        for word in text.split(" ")
    )


def render_html(inputs: ReportInputs) -> str:
    """The report as one HTML document. Names from the model are escaped wherever they appear."""
    view = _view(inputs)
    contents = [(place, title) for place, title, needed in _CONTENTS if any(view[name] for name in needed)]
    return environment().get_template("report.html").render(view, contents=contents)


def _view(inputs: ReportInputs) -> dict[str, Any]:
    outputs = evidence.output_rows(inputs)
    latency = inputs.latency or {}
    artifact = inputs.build.get("artifact")
    weakest = evidence.worst_layers(inputs)
    wrong = (inputs.build.get("error") or {}).get("kind") not in (None, LimitNotMet.__name__)
    records = inputs.build.get("stages") or ()
    every = layers.layers(inputs)
    tried_titles, tried = _filled(backends.TITLES, [(row, backends.cells(row)) for row in backends.tried(inputs)])
    return {
        "version": __version__,
        "style": style(),
        "marks": marks(),
        "name": story.model_name(inputs),
        "target": formats.clean(inputs.build["target"]),
        "headline": story.headline(inputs),
        "built": story.built(inputs),
        "failure": story.failure(inputs),
        "warnings": remarks.warnings(inputs),
        "asked": story.asked(inputs),
        "size": evidence.size_figure(inputs),
        "size_ratio": _ratio(story.original_bytes(inputs), artifact["bytes"], "smaller") if artifact else "",
        "latency": evidence.latency_figure(inputs),
        "speed_ratio": _speed(latency.get("ratio_of_medians")),
        "latency_note": story.latency_note(inputs),
        "not_measured": story.not_measured(inputs),
        "tried": tried,
        "tried_titles": tried_titles,
        "tried_why": backends.why(inputs),
        "outputs": outputs,
        "outputs_note": story.outputs_note(inputs),
        "table_note": story.TABLE_NOTE,
        "worst_channels": [row for row in outputs if row.worst_channels and not row.degenerate],
        "levels": evidence.levels_figure(inputs),
        "layers": weakest,
        "wrong": wrong,
        "weakest": [] if wrong else weakest,
        "layers_note": story.LAYERS_NOTE,
        "layer_map": layers.figure(inputs, every),
        "layer_legend": layers.legend(every),
        "layer_captions": layers.captions(every),
        "layer_table": layers.table(every),
        "roofline": layers.roofline_figure(inputs, every),
        "roofline_captions": layers.roofline_captions(inputs, every),
        "roofline_source": formats.clean(((inputs.analysis or {}).get("roofline") or {}).get("source", "")),
        "steps": steps.figure(inputs),
        "steps_caption": steps.caption(inputs),
        "step_titles": steps.TITLES,
        "step_table": steps.table(inputs),
        "search": search.figure(inputs),
        "search_caption": search.caption(inputs),
        "ranges": ranges.cards(inputs),
        "agreement": evidence.agreement(inputs),
        "cost": evidence.cost(inputs),
        "spread": latencies.figure(inputs),
        "spread_captions": latencies.captions(inputs),
        "spread_titles": latencies.titles(),
        "spread_rows": latencies.table(inputs),
        "executed": bool(inputs.parity and inputs.parity["total"]["outputs"]),
        "sheet": base64.b64encode(inputs.contact_sheet).decode("ascii") if inputs.contact_sheet else "",
        "seen": seen.table(inputs),
        "seen_notes": seen.notes(inputs),
        "quantize": inputs.quantize,
        "int8_note": story.int8_note(inputs),
        "recovery": recovery.steps(inputs),
        "curve": recovery.curve(inputs),
        "candidates": evidence.candidates(inputs),
        "float_nodes": evidence.float_nodes(inputs),
        "float_note": story.float_note(inputs),
        "clipped": [formats.clean(name) for name in (inputs.quantize or {}).get("clipped") or ()],
        "graph": evidence.graph(inputs),
        "rewrites": recovery.rewrites(inputs),
        "operators": evidence.operators(inputs),
        "facts": evidence.payload_facts(inputs),
        "payload_operators": payload.payload_operators(inputs),
        "in_float": payload.in_float(inputs),
        "transposes": payload.transposes(inputs),
        "accelerator": payload.accelerator(inputs),
        "stages": evidence.stages(inputs),
        "stage_rows": evidence.stage_rows(inputs),
        "stages_note": story.stages_note(records),
        "provenance": evidence.provenance(inputs),
        "verify": f"python3 {formats.clean(artifact['path']).rsplit('/', 1)[-1]} selftest" if artifact else "",
    }


def _filled(
    titles: tuple[str, ...], rows: list[tuple[backends.Tried, tuple[str, ...]]]
) -> tuple[tuple[str, ...], list[tuple[backends.Tried, tuple[str, ...]]]]:
    """A table without the columns in which every row has a dash."""
    kept = [column for column in range(len(titles)) if any(cells[column] != "–" for _, cells in rows)]
    return tuple(titles[column] for column in kept), [(row, tuple(cells[c] for c in kept)) for row, cells in rows]


def _ratio(before: float, after: float, word: str) -> str:
    return f"{formats.times(before / after)} {word}" if after > 0 and before / after >= 1.05 else ""


def _speed(ratio: float | None) -> str:
    if not ratio or 0.97 <= ratio <= 1.03:
        return ""
    return f"{formats.times(1 / ratio)} as fast" if ratio < 1 else f"slower: {formats.times(1 / ratio)}"
