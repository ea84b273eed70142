"""The page of `edgec inspect`: one file, no scripts, nothing from the network. Names from the model are escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from edgec.report import figures, formats, layer_figures
from edgec.report.html import environment, marks, style
from edgec.version import __version__

SHOWN_LAYERS = 400
"""Rows of the table of layers; the JSON document has all."""

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """A table: its titles, its rows of cells, and what is to be said below it."""

    titles: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class TargetPart:
    """What the page says of one target."""

    name: str
    title: str
    facts: Sequence[tuple[str, str]]
    roofline: Markup | None
    roofline_note: str
    backends: Rows
    remarks: Sequence[str]
    layer_map: Markup | None
    layers: Rows
    mapping: Sequence[str]


def render(found: Document) -> str:
    """The page of the document that `edgec inspect --json` prints."""
    first = found["inspections"][0]["analysis"]
    opened, error = found["open"], found["error"]
    return (
        environment()
        .get_template("inspection.html")
        .render(
            version=__version__,
            style=style(),
            marks=marks(),
            name=formats.clean(found["model"]["name"]),
            sha256=found["model"]["sha256"],
            tone="bad" if error else "doubtful" if opened else "good",
            word="Can't be built as it is" if error else "Sizes to choose" if opened else "Can be built",
            headline=_headline(found),
            lead=_lead(found),
            flags=formats.clean(opened["flags"]) if opened else "",
            sizes=_sizes(first),
            facts=_facts(found["model"], first),
            operators=_operators(first),
            targets=[_target(part) for part in found["inspections"]],
        )
    )


def _headline(found: Document) -> str:
    totals = found["inspections"][0]["analysis"]["totals"]
    return (
        f"{formats.clean(found['model']['name'])}: {formats.count(totals['macs'])} multiply-accumulates, "
        f"{formats.count(totals['parameters'])} parameters"
    )


def _lead(found: Document) -> str:
    """The one sentence that matters most."""
    if found["error"]:
        return formats.clean(f"{found['error']['what']}. {found['error']['fix']}")
    if found["open"]:
        open_ones = ", ".join(
            f"{name} ({'unknown' if dims is None else 'x'.join(map(str, dims))})"
            for name, dims in found["open"]["inputs"].items()
        )
        return formats.clean(f"The model leaves dimensions open: {open_ones}. It was inspected with likely sizes.")
    gains = {part["target"]: part["analysis"]["totals"]["int8_at_most"] for part in found["inspections"]}
    said = [f"{formats.times(gain)} on {name}" for name, gain in gains.items() if gain]
    return f"INT8 can be at most {', '.join(said)} as fast as float32 in the same engine." if said else ""


def _sizes(analysis: Document) -> Markup:
    """Weights and activations in both forms, as bars."""
    weights, peak = analysis["totals"]["weight_bytes"], analysis["totals"]["activation_peak_bytes"]
    rows = [
        figures.Bar("Weights in float32", formats.size(weights["float32"]), weights["float32"], "before"),
        figures.Bar("Weights in INT8", formats.size(weights["int8"]), weights["int8"], "after"),
        figures.Bar("Activations in float32", formats.size(peak["float32"]), peak["float32"], "before"),
        figures.Bar("Activations in INT8", formats.size(peak["int8"]), peak["int8"], "after"),
    ]
    return figures.bars(rows, "Memory in float32 and INT8. " + ". ".join(f"{row.label}: {row.text}" for row in rows))


def _facts(model: Document, analysis: Document) -> list[tuple[str, str]]:
    totals, profile = analysis["totals"], analysis["profile"]
    intensity = totals["intensity"]
    facts = [(f"Input {item['name']}", _tensor(item)) for item in analysis["inputs"]]
    facts += [(f"Output {item['name']}", _tensor(item)) for item in analysis["outputs"]]
    facts.append(("Nodes", str(totals["nodes"])))
    if model.get("bytes"):
        facts.append(("File", formats.size(model["bytes"])))
    if intensity["float32"] is not None and intensity["int8"] is not None:
        both = f"{formats.significant(intensity['float32'])} MACs per byte in float32, "
        facts.append(("Intensity", f"{both}{formats.significant(intensity['int8'])} in INT8"))
    key = "Time" if analysis["came_quantized"] else "Float time"
    facts.append(("Most memory at", totals["activation_peak_bytes"]["at"]))
    if profile is not None:
        facts.append((key, _measured(profile)))
    else:
        facts.append((key, analysis["profile_note"]))
    if totals["bodies"]:
        facts.append(("Not counted", f"what is inside of {totals['bodies']} If, Loop or Scan"))
    return [(formats.clean(key), formats.clean(text)) for key, text in facts]


def _measured(profile: Document) -> str:
    busy = "; the machine was busy" if profile["noisy"] else ""
    return (
        f"{formats.milliseconds(profile['milliseconds'])} in ONNX Runtime {profile['version']} on this machine, "
        f"{formats.counted(profile['threads'], 'thread')}, the least of {formats.counted(profile['runs'], 'run')}{busy}"
    )


def _tensor(item: Document) -> str:
    return f"{item['dtype']} {'×'.join(map(str, item['shape'])) or 'scalar'}"


def _operators(analysis: Document) -> Rows:
    macs = analysis["totals"]["macs"]
    time = sum(row["milliseconds"] or 0.0 for row in analysis["operators"])
    rows = [
        (
            formats.clean(row["operator"]),
            str(row["count"]),
            formats.count(row["parameters"]),
            formats.count(row["macs"]),
            _share(row["macs"], macs),
            _share(row["milliseconds"], time),
        )
        for row in analysis["operators"]
    ]
    return Rows(("Operator", "Nodes", "Parameters", "MACs", "of all MACs", "of the time"), rows)


def _target(part: Document) -> TargetPart:
    analysis = part["analysis"]
    layers = analysis["layers"]
    shown = layers[:SHOWN_LAYERS]
    left = len(layers) - len(shown)
    return TargetPart(
        name=formats.clean(part["target"]),
        title=formats.clean(part["title"]),
        facts=_target_facts(analysis),
        roofline=_roofline(analysis),
        roofline_note=_roofline_note(analysis),
        backends=_backends(analysis),
        remarks=_remarks(part),
        layer_map=_layer_map(analysis),
        layers=Rows(
            ("#", "Layer", "Operator", "Result", "MACs", "Time", "MACs per byte", "Bound by", "INT8 at most"),
            [_layer(number, layer) for number, layer in enumerate(shown, 1)],
            f"{formats.counted(left, 'more layer')} in the JSON document." if left else "",
        ),
        mapping=_mapping(part["answers"].get("mapping")),
    )


def _target_facts(analysis: Document) -> list[tuple[str, str]]:
    memory, roof, totals = analysis["memory"], analysis["roofline"], analysis["totals"]
    needs = f"{formats.size(memory['needed_bytes'])} for weights and activations in INT8"
    if memory["device_mib"] is not None:
        needs += f", of {memory['device_mib']} MiB for all that the device runs: "
        needs += "fits" if memory["fits"] else "does not fit"
    facts = [("Memory", needs)]
    if roof is None:
        return [*facts, ("Peaks", formats.clean(analysis["roofline_note"]))]
    threads = f", {formats.counted(roof['threads'], 'thread')}" if roof["threads"] else ""
    facts.append(
        (
            "Peaks",
            f"{formats.significant(roof['float32_gmacs'])} GMAC/s in float32, "
            f"{formats.significant(roof['int8_gmacs'])} in INT8, memory {formats.significant(roof['memory_gb_per_s'])} "
            f"GB/s{threads}: {formats.clean(roof['source'])}",
        )
    )
    least = totals["roof_milliseconds"]
    floats = f"{formats.milliseconds(least['float32'])} in float32"
    integers = f", {formats.milliseconds(least['int8'])} in INT8" if least["int8"] is not None else ""
    return [*facts, ("At the roof", f"{floats}{integers}, were every layer there; caches may beat the memory's roof")]


def _roofline(analysis: Document) -> Markup | None:
    """Layers under the target's roofs: as measured where this machine is the target, else where they could be."""
    roof, profile = analysis["roofline"], analysis["profile"]
    measured = bool(profile and profile["on_target"])
    dots = []
    for layer in analysis["layers"]:
        time = layer["milliseconds"] if measured else layer["roof_milliseconds"]["float32"]
        if time and layer["macs"] and layer["intensity"]["float32"]:
            dots.append((layer, float(time)))
    if roof is None or not dots:
        return None
    spent = sum(time for _, time in dots)
    return layer_figures.roofline(
        [
            layer_figures.Dot(
                f"{formats.clean(layer['node'])} ({formats.clean(layer['operator'])}): {formats.milliseconds(time)}",
                layer["intensity"]["float32"],
                layer["macs"] / time / 1e6,
                time / spent,
                f"dot {layer['bound']}",
            )
            for layer, time in dots
        ],
        [
            layer_figures.Roof(
                f"float32, {formats.significant(roof['float32_gmacs'])} GMAC/s", roof["float32_gmacs"], "floats"
            ),
            layer_figures.Roof(
                f"INT8, {formats.significant(roof['int8_gmacs'])} GMAC/s", roof["int8_gmacs"], "integers"
            ),
        ],
        roof["memory_gb_per_s"],
        f"Roofline. {_roofline_note(analysis)}",
    )


def _roofline_note(analysis: Document) -> str:
    profile, gain = analysis["profile"], analysis["totals"]["int8_at_most"]
    measured = bool(profile and profile["on_target"])
    key = "milliseconds" if measured else "roof_milliseconds"

    def time(layer: Document) -> float:
        return float((layer[key] if measured else layer[key]["float32"]) or 0.0)

    bounded = [layer for layer in analysis["layers"] if layer["bound"]]
    spent = sum(map(time, bounded))
    if not spent:
        return ""
    bound = sum(time(layer) for layer in bounded if layer["bound"] == "memory") / spent
    where = "as measured here in float32" if measured else "in float32, where they could be at best on the target"
    text = f"Layers {where}; {formats.percent(bound)} of their time is bound by the memory, the rest by arithmetic."
    return f"{text} INT8 is at most {formats.times(gain)} as fast." if gain else text


def _backends(analysis: Document) -> Rows:
    rows = []
    for name, item in analysis["support"].items():
        refused = sum(node["effect"] == "refused" for node in item["nodes"])
        takes = {"all": "all nodes", "none": "none", None: "not known here"}.get(item["status"], f"all but {refused}")
        fraction, expected = item["int8_mac_fraction"], analysis["expected_bytes"].get(name)
        rows.append(
            (
                name,
                takes,
                "–" if fraction is None else formats.percent(fraction),
                "–" if expected is None else f"about {formats.size(expected)}",
            )
        )
    return Rows(("Backend", "Takes", "MACs in INT8", "INT8 artifact"), rows)


def _remarks(part: Document) -> list[str]:
    """What backends refuse or leave in float, once for each reason."""
    said: dict[str, None] = {}
    for name, item in part["analysis"]["support"].items():
        if item["reason"]:
            said[f"{name}: {item['reason']}"] = None
        groups: dict[tuple[str, str, str], list[str]] = {}
        for node in item["nodes"]:
            key = (node["effect"], node["reason"], node["remedy"])
            groups.setdefault(key, []).append(f"{node['node']} ({node['operator']})")
        for (effect, reason, remedy), nodes in groups.items():
            more = f" and {len(nodes) - 4} more" if len(nodes) > 4 else ""
            verb = "refuses" if effect == "refused" else "computes in float32:"
            said[f"{name} {verb} {', '.join(nodes[:4])}{more}: {reason}. {remedy}".strip()] = None
    said.update((f"{name.replace('_', ' ')}: {error['what']}", None) for name, error in part["unanswered"].items())
    return [formats.clean(text) for text in said]


def _layer_map(analysis: Document) -> Markup | None:
    layers = analysis["layers"]
    if len(layers) < 2:
        return None
    styles = ["float" if layer["bound"] == "memory" else "bar" for layer in layers]
    panels = []
    most = max(layer["macs"] for layer in layers)
    if most:
        heights = [layer["macs"] / most or None for layer in layers]
        panels.append(layer_figures.Panel("Multiply-accumulates", formats.count(most), heights, styles))
    longest = max(layer["milliseconds"] or 0.0 for layer in layers)
    if longest:
        heights = [(layer["milliseconds"] or 0.0) / longest or None for layer in layers]
        panels.append(layer_figures.Panel("Float time on this machine", formats.milliseconds(longest), heights, styles))
    moved = max((layer["bytes"]["float32"] for layer in layers if layer["bytes"]), default=0)
    if moved:
        heights = [layer["bytes"]["float32"] / moved or None if layer["bytes"] else None for layer in layers]
        panels.append(layer_figures.Panel("Bytes moved in float32", formats.size(moved), heights, styles))
    tooltips = [f"{formats.clean(layer['node'])} ({formats.clean(layer['operator'])})" for layer in layers]
    return layer_figures.along_layers(panels, [], tooltips, "Work, time and memory traffic of every layer, in order")


def _layer(number: int, layer: Document) -> tuple[str, ...]:
    intensity, gain = layer["intensity"]["float32"], layer["int8_at_most"]
    time = "" if layer["milliseconds"] is None else formats.milliseconds(layer["milliseconds"])
    return (
        str(number),
        formats.clean(layer["node"]),
        formats.clean(layer["operator"]),
        "×".join(map(str, layer["shape"])) if layer["shape"] is not None else "",
        formats.count(layer["macs"]) if layer["macs"] else "",
        formats.clean(f"in {layer['measured_in']}") if layer["measured_in"] else time,
        formats.significant(intensity) if intensity else "",
        layer["bound"] or "",
        formats.times(gain) if gain else "",
    )


def _mapping(mapping: Document | None) -> list[str]:
    """What an Edge TPU would take."""
    if mapping is None:
        return []
    lines = [
        f"{mapping['mapped']} of {len(mapping['operators'])} operations, {formats.percent(mapping['macs_mapped'])} of "
        f"the multiplications, would run on it ({mapping['is']}).",
        f"Memory: {mapping['memory']['sentence']}.",
    ]
    if mapping["end"] is not None:
        lines.append(f"Its part ends at {mapping['end']}.")
    for remedy in mapping["remedies"]:
        lines.append(f"{remedy['operator']}: {remedy['what']} ({remedy['gained']:+d} operations)")
    return [formats.clean(line) for line in [*lines, *mapping["warnings"]]]


def _share(part: float | None, total: float) -> str:
    return formats.percent(part / total) if part and total else "–"
