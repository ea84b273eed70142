"""What is known of each node: from the documents of a build or a diagnosis to texts and numbers by node name.

A pure function of documents. What is not known is left out; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True)
class GraphNode:
    """A node of the ONNX model that was quantized, in the order of the graph."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Documents:
    """Where figures come from; None for what was not made.

    analysis: analysis.json. quantize: quantize.json. grids: `tensors` of qparams.json, by tensor. diagnosis:
    diagnosis.json. profile: the artifact's steps, [{"name", "operator", "milliseconds"}], named by nodes or tensors.
    engine: whose steps those are.
    """

    analysis: Document | None = None
    quantize: Document | None = None
    grids: Document | None = None
    diagnosis: Document | None = None
    profile: Sequence[Document] | None = None
    engine: str = ""


@dataclass
class Known:
    """What is known of one node.

    texts: for people to read, by key. numbers: by measure (`measures.MEASURES`). within: the node whose kernel
    computes this one.
    """

    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float | str] = field(default_factory=dict)
    within: str | None = None


def known_of(nodes: Sequence[GraphNode], documents: Documents) -> dict[str, Known]:
    """What the documents say of each node, by its name."""
    found = {node.name: Known() for node in nodes}
    _analysis(found, documents.analysis)
    _quantization(found, nodes, documents.quantize)
    _grids(found, nodes, documents)
    _diagnosis(found, documents.diagnosis)
    _profile(found, nodes, documents)
    return found


def kernels(nodes: Sequence[GraphNode], quantize: Document | None) -> dict[str, list[GraphNode]]:
    """The nodes that each quantized kernel computes, its first node's name first: a Conv, the Relu behind it."""
    by_name = {node.name: node for node in nodes}
    return {
        entry["node"]: [by_name[name] for name in entry["members"] if name in by_name]
        for entry in _layers(quantize)
        if entry["node"] in by_name
    }


def _layers(document: Document | None) -> Sequence[Document]:
    return document.get("layers", ()) if document is not None else ()


def _analysis(found: Mapping[str, Known], analysis: Document | None) -> None:
    """Costs: multiply-accumulates, parameters, time in float32."""
    if analysis is None:
        return
    all_macs = analysis["totals"]["macs"]
    profile = analysis.get("profile")
    for entry in _layers(analysis):
        known = found.get(entry["node"])
        if known is None:
            continue
        if macs := entry["macs"]:
            known.texts["macs"] = f"{macs:,} ({_share(macs, all_macs)})"
            known.numbers["macs"] = macs
        if entry["parameters"]:
            known.texts["parameters"] = f"{entry['parameters']:,}"
        if (time := entry["milliseconds"]) is not None and profile is not None:
            whole = profile["milliseconds"]
            threads = f"{profile['threads']} thread{'s' if profile['threads'] != 1 else ''}"
            by = f"{profile['engine']} {profile['version']}, {threads}"
            known.texts["time in float32"] = f"{_duration(time)} ({_share(time, whole)}) in {by}"
            known.numbers["time-float32"] = time
        if entry.get("bound"):
            most = entry.get("int8_at_most")
            gain = f"; INT8 can be {most:.3g} times as fast at most" if most else ""
            known.texts["bound by"] = f"{entry['bound']}{gain}"


def _quantization(found: Mapping[str, Known], nodes: Sequence[GraphNode], quantize: Document | None) -> None:
    """Precision, the reason where it is float, and what a layer loses by itself."""
    if quantize is None:
        return
    reasons = {item["name"]: item["reason"] for item in quantize["float_nodes"]}
    causes = {item["node"]: item for item in quantize.get("worst_layers", ())}
    chains = kernels(nodes, quantize)
    for entry in _layers(quantize):
        known = found.get(entry["node"])
        if known is None:
            continue
        precision = str(entry["precision"])
        for node in chains[entry["node"]]:
            found[node.name].numbers["precision"] = precision
            found[node.name].texts["precision"] = precision
            if node.name != entry["node"]:
                found[node.name].within = entry["node"]
                found[node.name].texts["computed with"] = entry["node"]
        if precision == "float" and (reason := reasons.get(entry["node"])) is not None:
            known.texts["float because"] = str(reason)
        if entry["isolated_db"] is not None:
            known.texts["error"] = _alone(entry["isolated_db"])
            known.numbers["error"] = entry["isolated_db"]
        if (cause := causes.get(entry["node"])) is not None:
            known.texts["cause"] = str(cause["cause"])
            known.texts["helps"] = str(cause["remedy"])


def _alone(level: float) -> str:
    return f"{level:.1f} dB SQNR of the model's worst output, when this layer alone is quantized"


def _grids(found: Mapping[str, Known], nodes: Sequence[GraphNode], documents: Documents) -> None:
    """The grid that results are rounded to, and what calibration saw beyond it."""
    seen = {item["tensor"]: item for item in (documents.quantize or {}).get("ranges", ())}
    for node in nodes:
        for tensor in node.outputs:
            grid = (documents.grids or {}).get(tensor)
            if grid is None:
                continue
            text = f"{grid['dtype']}, {grid['scale']:.6g} * (q - {grid['zero_point']})"
            known = found[node.name]
            known.texts["grid"] = text.replace("- -", "+ ")
            if (item := seen.get(tensor)) is not None:
                known.texts["range"] = (
                    f"calibration saw {item['minimum']:.5g} to {item['maximum']:.5g}; the grid holds "
                    f"{item['grid']['low']:.5g} to {item['grid']['high']:.5g} and clips {item['clipped_share']:.2%}"
                )
            break


def _diagnosis(found: Mapping[str, Known], diagnosis: Document | None) -> None:
    """What `edgec diagnose` measured; takes the place of what the build knew."""
    for entry in _layers(diagnosis):
        known = found.get(entry["node"])
        if known is None:
            continue
        told = (
            ("accumulated error", "accumulated_db", "of the output, with everything before quantized", "accumulated"),
            ("isolated error", "isolated_db", "of the output, on float inputs", "isolated"),
        )
        for key, source, what, measure in told:
            if entry[source] is not None:
                known.texts[key] = f"{entry[source]:.1f} dB SQNR {what}"
                known.numbers[measure] = entry[source]
        if entry["alone_db"] is not None:
            known.texts["error"] = _alone(entry["alone_db"])
            known.numbers["error"] = entry["alone_db"]
        if (lowering := entry.get("lowering")) and lowering.get("sqnr_db") is not None:
            known.texts["lowering error"] = f"{lowering['sqnr_db']:.1f} dB SQNR of the engine's tensor"
            known.numbers["lowering"] = lowering["sqnr_db"]
        if entry["clipped_share"]:
            known.texts["clipped"] = f"{entry['clipped_share']:.3%} of the values"
        if (cause := entry["cause"]) is not None:
            known.texts["cause"] = f"{cause['title']}: {cause['sentence']}"
            known.texts["helps"] = str(cause["remedy"])


def _profile(found: Mapping[str, Known], nodes: Sequence[GraphNode], documents: Documents) -> None:
    """The artifact's time. A step that computes several nodes counts at the one that multiplies most, and is named at
    all of them."""
    if not documents.profile:
        return
    makers = {tensor: node.name for node in nodes for tensor in node.outputs}
    whole = sum(step["milliseconds"] for step in documents.profile)
    spent: dict[str, float] = {}
    steps: dict[str, list[str]] = {}
    for step in documents.profile:
        members = _members(step["name"], found, makers)
        if not members:
            continue
        first = max(members, key=lambda name: _number(found[name].numbers.get("macs")))
        spent[first] = spent.get(first, 0.0) + step["milliseconds"]
        for name in members:
            where = "" if name == first else f", counted at {first}"
            steps.setdefault(name, []).append(f"{step['operator']} {_duration(step['milliseconds'])}{where}")
    for name, time in spent.items():
        found[name].texts["time in the artifact"] = f"{_duration(time)} ({_share(time, whole)}) in {documents.engine}"
        found[name].numbers["time-artifact"] = time
    for name, texts in steps.items():
        found[name].texts["steps"] = "; ".join(texts)


def _members(name: str, found: Mapping[str, Known], makers: Mapping[str, str]) -> list[str]:
    """The nodes that a step of an engine is named after: by their names or by tensors that they make."""
    parts: Iterable[str] = (name,) if name in found or name in makers else name.split(", ")
    members = (part if part in found else makers.get(part) for part in parts)
    return list(dict.fromkeys(member for member in members if member is not None))


def _number(value: float | str | None) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:.3g} ms" if milliseconds >= 1 else f"{milliseconds * 1e3:.3g} us"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "0 %"
