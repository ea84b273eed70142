"""The HTML page of a diagnosis, in the style of a build's report: one file, no scripts, nothing from the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from edgec.diagnosis import wording
from edgec.report import diagnosis_figures, figures, formats
from edgec.report.html import environment, marks, style
from edgec.version import __version__

WORST = 12
SHOWN_CLIPPED = 10


def render_diagnosis(found: Mapping[str, Any]) -> str:
    """The page of the document that `edgec diagnose --json` prints. Names from the model are escaped."""
    document = found["diagnosis"]
    first, smallest = document["first"], document["smallest"]
    layers = document["layers"]
    return (
        environment()
        .get_template("diagnosis.html")
        .render(
            version=__version__,
            style=style(),
            marks=marks(),
            name=formats.clean(found["model"]["name"]),
            target=formats.clean(found["target"]),
            tone="good" if document["healthy"] else "doubtful" if document["passed"] else "bad",
            word="Healthy" if document["healthy"] else "Look here" if document["passed"] else "Diagnosed",
            headline=_headline(document),
            verdict=formats.clean(wording.verdict(document)),
            failures=[formats.clean(text) for text in document["failures"]],
            artifact=formats.clean(document["artifact"]["note"]) if document.get("artifact") else "",
            first=formats.clean(wording.first_fault(first)) if first else "",
            causes=[
                {key: formats.clean(cause[key] or "") for key in ("title", "node", "sentence", "remedy")}
                for cause in document["causes"]
            ],
            smallest=formats.clean(wording.smallest_part(smallest)) if smallest else "",
            reproduce=f"python3 {formats.clean(smallest['files'][2])}" if smallest and smallest["files"] else "",
            files=[formats.clean(name) for name in smallest["files"]] if smallest else [],
            local=formats.decibel(smallest["local_db"]) if smallest and smallest["local_db"] is not None else "",
            trace=_trace(layers),
            lowers=any(layer["lowering"] for layer in layers),
            tensors=_tensors(document),
            worst=_rows(wording.worst_first(layers)[:WORST]),
            every=_rows(layers),
            histograms=_histograms(document["histograms"]),
            clipped=_clipped(layers),
            lowering=_lowering(document),
            notes=[formats.clean(note) for note in document["notes"]],
            unseen=[formats.clean(name) for name in document.get("unseen") or ()],
            facts=_facts(found),
        )
    )


def _headline(document: Mapping[str, Any]) -> str:
    first, causes = document["first"], document["causes"]
    if causes and causes[0]["node"] is None:
        return formats.clean(causes[0]["title"][:1].upper() + causes[0]["title"][1:])
    if first is not None:
        return f"It goes wrong at {formats.clean(first['node'])}: {formats.clean(first['cause']['title'])}"
    if causes:
        return formats.clean(causes[0]["title"][:1].upper() + causes[0]["title"][1:])
    return "Nothing stands out"


def _trace(layers: Sequence[Mapping[str, Any]]) -> Markup | None:
    if not layers:
        return None
    points = [
        diagnosis_figures.Point(
            layer["position"] + 1,
            formats.clean(layer["node"]),
            layer["accumulated_db"],
            layer["isolated_db"],
            layer["cause"] is not None,
        )
        for layer in layers
    ]
    lowest = min(points, key=lambda point: point.accumulated)
    return diagnosis_figures.along_the_graph(
        points,
        f"Signal to noise of {len(points)} layers in the order of the graph, accumulated and isolated. The lowest "
        f"accumulated one is {lowest.label} at {lowest.accumulated:.1f} dB.",
    )


def _rows(layers: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "number": str(layer["position"] + 1),
            "node": formats.clean(layer["node"]),
            "op": formats.clean(layer["op"]),
            "accumulated": formats.decibel(layer["accumulated_db"]),
            "accumulated_lsb": f"{wording.lsb(layer['accumulated_lsb'])} LSB rms" if layer["accumulated_lsb"] else "",
            "lowered": formats.clean(wording.lowered(layer)),
            "lowered_lsb": _lsb(layer["lowering"]),
            "isolated": formats.decibel(layer["isolated_db"]) if layer["rounds"] else "float",
            "alone": formats.decibel(layer["alone_db"]),
            "parts": ", ".join(
                f"{word} {formats.decibel(layer[key])}"
                for word, key in (("weights", "weights_db"), ("inputs", "inputs_db"), ("output", "output_db"))
                if layer[key] is not None
            ),
            "steps": f"{layer['steps_used']} of {layer['grid']['steps']}" if layer["grid"] else "–",
            "clipped": formats.percent(layer["clipped_share"]) if layer["grid"] else "–",
            "dead": f"{round(layer['dead_share'] * layer['channels'])} of {layer['channels']}"
            if layer["rounds"]
            else "–",
            "cause": formats.clean(layer["cause"]["title"]) if layer["cause"] else "",
        }
        for layer in layers
    ]


def _lsb(lowering: Mapping[str, Any] | None) -> str:
    if lowering is None or lowering.get("max_lsb") is None:
        return ""
    return f"at most {lowering['max_lsb']} LSB, {formats.percent(lowering['unequal_share'])} unequal"


def _tensors(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """Inner tensors of a payload without INT8 activations: its layers are not tried one by one."""
    lowering = document.get("lowering")
    if document["layers"] or not lowering:
        return []
    return [
        {
            "name": formats.clean(row["name"]),
            "op": formats.clean(row["op"]),
            "level": formats.decibel(row["sqnr_db"]),
        }
        for row in wording.worst_lowered_first(lowering["tensors"])
    ]


def _histograms(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for item in items:
        grid = item["grid"]
        ends = formats.significant(grid["low"]), formats.significant(grid["high"])
        seen = " to ".join(formats.significant(value) for value in item["seen"])
        text = (
            f"values from {seen}; the grid goes from {ends[0]} to {ends[1]} in steps of "
            f"{formats.significant(grid['step'])}; {item['steps_used']} steps used, "
            f"{formats.percent(item['clipped_share'])} clipped"
        )
        found.append(
            {
                "tensor": formats.clean(item["tensor"]),
                "text": text,
                "figure": diagnosis_figures.on_its_grid(
                    item["counts"], (item["low"], item["high"]), (grid["low"], grid["high"]), ends, text
                ),
            }
        )
    return found


def _clipped(layers: Sequence[Mapping[str, Any]]) -> Markup | None:
    cut = sorted((layer for layer in layers if layer["clipped_share"]), key=lambda layer: -layer["clipped_share"])
    rows = [
        figures.Bar(
            formats.shortened(formats.clean(layer["node"])),
            formats.percent(layer["clipped_share"]),
            layer["clipped_share"],
        )
        for layer in cut[:SHOWN_CLIPPED]
    ]
    words = ", ".join(f"{row.label} {row.text}" for row in rows)
    return figures.bars(rows, f"Share of values beyond the range: {words}.") if rows else None


def _lowering(document: Mapping[str, Any]) -> str:
    lowering = document.get("lowering")
    return formats.clean(wording.lowering_line(document)) if lowering and lowering["tensors"] else ""


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    document = found["diagnosis"]
    rows = [
        ("Model", formats.clean(found["model"]["path"])),
        ("Model, SHA-256", formats.clean(found["model"]["sha256"])),
        ("Target", formats.clean(found["target"])),
        ("Judged on", f"{formats.counted(document['loss']['samples'], 'sample')}: {document['judged_on']}"),
        ("Layers looked at on", formats.counted(document["samples"], "sample")),
    ]
    if document.get("artifact"):
        rows.append(("Artifact", formats.clean(document["artifact"]["path"])))
    return rows
