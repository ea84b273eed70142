"""The evidence behind the verdict, as rows of tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from edgec.cost import price_text
from edgec.report import figures, formats, story
from edgec.report.inputs import ReportInputs

_UNHARMED_DB = 50.0
_HARM_DB = 20.0  # that of `edgec diagnose`
"""A layer that alone leaves the model's output this far above the noise has a bar of no length."""

_KINDS = {
    "integer": "integers",
    "state": "state",
    "classes": "class scores",
    "probability": "probabilities",
    "map": "probability map",
    "features": "values",
}


@dataclass(frozen=True)
class OutputRow:
    """One output: what quantization costs, what lowering adds, what is left of the original."""

    name: str
    kind: str
    quantization: str
    lowering: str
    lowering_detail: str
    total: str
    total_detail: str
    decisions: str
    channels: str
    degenerate: str
    worst_channels: str


def output_rows(inputs: ReportInputs) -> list[OutputRow]:
    """One row an output, from parity.json; from quantize.json where validation was not reached."""
    parity = inputs.parity
    if parity is None:
        outputs = (inputs.quantize or {}).get("outputs") or ()
        return [_output_row(item, item, None, None) for item in outputs]
    quantized = _by_name(parity["quantization"])
    lowered, total = _by_name(parity["lowering"]), _by_name(parity["total"])
    return [
        _output_row(total.get(name) or quantized[name], quantized.get(name), lowered.get(name), total.get(name))
        for name in (total or quantized)
    ]


def levels_figure(inputs: ReportInputs) -> Markup | None:
    """Where on the dB scale each output stands after quantization, and in the artifact."""
    if inputs.parity is not None:
        same = inputs.parity["quantization_executed"] or inputs.parity["quantization"]  # on the artifact's samples
        quantized, total = _by_name(same), _by_name(inputs.parity["total"])
    else:
        quantized, total = _by_name(inputs.quantize or {}), {}
    names = [name for name in (total or quantized) if (total or quantized)[name]["kind"] != "integer"][:12]
    rows = [
        figures.Levels(formats.shortened(formats.clean(name)), _level(quantized.get(name)), _level(total.get(name)))
        for name in names
    ]
    rows = [row for row in rows if row.quantized is not None or row.artifact is not None]
    if not rows:
        return None
    words = "; ".join(
        f"{row.label}: quantized {formats.decibel(row.quantized)}, artifact {formats.decibel(row.artifact)}"
        for row in rows
    )
    return figures.levels(rows, f"Signal to noise against the original. {words}.")


def size_figure(inputs: ReportInputs) -> Markup | None:
    """Bytes before and after."""
    artifact = inputs.build.get("artifact")
    if not artifact:
        return None
    before, after = story.original_bytes(inputs), int(artifact["bytes"])
    label = "Original ONNX" if inputs.model.get("bytes") else "Original, 4 bytes a parameter"
    rows = [
        figures.Bar(label, formats.size(before), before, "bar before"),
        figures.Bar("Artifact, runner included", formats.size(after), after, "bar after"),
    ]
    return figures.bars(rows, f"Size: original {formats.size(before)}, artifact {formats.size(after)}.")


def latency_figure(inputs: ReportInputs) -> Markup | None:
    """Median latency before and after, with quartiles."""
    latency = inputs.latency
    if not latency or not latency.get("artifact") or not latency.get("baseline"):
        return None
    before, after = latency["baseline"], latency["artifact"]
    rows = [
        figures.Bar(
            "ONNX Runtime, original", formats.milliseconds(before["p50"]), before["p50"], "bar before", _iqr(before)
        ),
        figures.Bar("Artifact", formats.milliseconds(after["p50"]), after["p50"], "bar after", _iqr(after)),
    ]
    words = f"original {formats.milliseconds(before['p50'])}, artifact {formats.milliseconds(after['p50'])}"
    return figures.bars(rows, f"Median latency: {words}.")


@dataclass(frozen=True)
class Agreement:
    """How near the artifact is to the original, at a glance. big: the figure; text: what it is of."""

    big: str
    text: str
    figure: Markup | None


def agreement(inputs: ReportInputs) -> Agreement | None:
    """The user's metric before and after, where there is one; else decisions kept; else the worst output's SQNR."""
    parity = inputs.parity or {}
    metric = parity.get("metric")
    if metric and (after := metric["reference"] if metric["artifact"] is None else metric["artifact"]) is not None:
        before, name = float(metric["original"]), formats.shortened(formats.clean(metric["name"]), 20)
        rows = [
            figures.Bar(f"Original, {name}", formats.significant(before, 4), max(0.0, before), "bar before"),
            figures.Bar(
                "Artifact" if metric["artifact"] is not None else "Its quantized reference",
                formats.significant(float(after), 4),
                max(0.0, float(after)),
                "bar after",
            ),
        ]
        words = f"Your metric before and after. {name}: original {before:.6g}, after {after:.6g}."
        change = float(after) - before
        big = "unchanged" if abs(change) < 5e-7 else f"{'+' if change > 0 else '−'}{formats.significant(abs(change))}"
        return Agreement(big, f"On {formats.counted(int(metric['samples']), 'sample')}.", figures.bars(rows, words))
    section = parity.get("total") or {}
    judged = [item for item in section.get("outputs") or () if not item["degenerate"] and item["kind"] != "state"]
    if not judged:
        return None
    valued = [item for item in judged if item["kind"] != "integer"]
    decisions, flips = (sum(item[key] or 0 for item in valued) for key in ("decisions", "flips"))
    worst = min((float(item["sqnr_db"]) for item in valued), default=None)
    if decisions:
        kept = decisions - flips
        rows = [
            figures.Bar("Confident decisions of the original", f"{decisions:,}", decisions, "bar before"),
            figures.Bar("The artifact decides the same", f"{kept:,}", kept, "bar after"),
        ]
        words = f"Decisions before and after. {kept} of {decisions} are the same."
        text = f"The output that differs most keeps {formats.decibel(worst)}."
        return Agreement(f"{formats.percent(kept / decisions)} kept", text, figures.bars(rows, words))
    if worst is not None:
        return Agreement(formats.decibel(worst), "Signal to noise of the output that differs most.", None)
    equal = min(float(item["exact_share"] or 0.0) for item in judged)
    return Agreement(formats.percent(equal), "Integers that equal the original's.", None)


@dataclass(frozen=True)
class CostCard:
    """What an inference costs: before and after as rows of text (term, original, artifact), and what that rests on."""

    big: str
    rows: tuple[tuple[str, str, str], ...]
    note: str


def cost(inputs: ReportInputs) -> CostCard | None:
    """The estimate from the user's own figures of the target; None where there are none."""
    document = inputs.cost
    if not document:
        return None
    after, before, currency = document["after"], document["before"] or {}, formats.clean(document["currency"])
    rows = []
    if after:
        for key, title, unit, text in (
            ("per_1000", "1,000 inferences", currency, price_text),
            ("joules", "One inference", "J", formats.significant),
        ):
            if after[key] is not None:
                values = [f"{text(side[key])} {unit}" if side else "–" for side in (before, after)]
                rows.append((title, *values))
    saved = document["saved"]
    big = "" if not saved else f"{formats.percent(abs(saved))} {'saved' if saved > 0 else 'more'}"
    note = formats.clean(document["note"] or document["estimate"])
    return CostCard(big, tuple((row[0], row[1], row[2]) for row in rows), note)


def worst_layers(inputs: ReportInputs) -> list[dict[str, str]]:
    """The layers that lose most, worst first. What helps is said of layers that do harm, and where nothing ships."""
    refused = not (inputs.quantize or {}).get("passed", True)
    layers = (inputs.quantize or {}).get("worst_layers") or ()
    return [
        {
            "node": formats.clean(layer["node"]),
            "op": formats.clean(layer["op"]),
            "level": formats.decibel(layer["sqnr_db"]),
            "width": f"{min(100.0, max(1.0, 100 - 100 * float(layer['sqnr_db']) / _UNHARMED_DB)):.1f}",
            "cause": formats.clean(layer["cause"]),
            "remedy": formats.clean(layer.get("remedy") or "") if refused or layer["sqnr_db"] < _HARM_DB else "",
        }
        for layer in layers
    ]


def candidates(inputs: ReportInputs) -> list[dict[str, Any]]:
    """What quantize tried, best first, the one that was taken marked."""
    document = inputs.quantize or {}
    tried = sorted(document.get("candidates") or (), key=lambda item: item["loss"])
    same = ("profile", "method", "bias_correction", "passed")
    taken = next((item for item in tried if all(item[key] == document[key] for key in same)), None)
    return [
        {
            "method": formats.clean(item["method"]) + ("" if item.get("clip", True) else ", not clipped"),
            "profile": formats.clean(item["profile"]),
            "bias_correction": "yes" if item["bias_correction"] else "no",
            "kept_float": len(item.get("keep_float") or ()),
            "sqnr": formats.decibel(item["sqnr_db"]),
            "loss": formats.significant(float(item["loss"]), 3),
            "passed": bool(item["passed"]),
            "taken": item is taken,
        }
        for item in tried
    ]


def stages(inputs: ReportInputs) -> Markup | None:
    """When each stage worked; what was found in the store took no time in this build."""
    rows, now = [], 0.0
    for item in inputs.build.get("stages") or ():
        start, now = now, now + (0.0 if item["cached"] else float(item["seconds"]))
        text = "from the store" if item["cached"] else formats.seconds(item["seconds"])
        style = "bar cached" if item["cached"] else "bar"
        rows.append(figures.Span(formats.clean(item["name"]), text, start, now, style))
    words = ", ".join(f"{row.label} {row.text}" for row in rows)
    return figures.timeline(rows, f"The stages in their order. {words}.") if rows else None


def stage_rows(inputs: ReportInputs) -> list[tuple[str, str, str]]:
    """The plan as it was carried out: stage, what it was about, seconds of the run that made the result."""
    return [
        (
            formats.clean(item["name"]),
            formats.clean(item.get("detail") or ""),
            formats.seconds(item["seconds"]) + (" once, now from the store" if item["cached"] else ""),
        )
        for item in inputs.build.get("stages") or ()
    ]


def graph(inputs: ReportInputs) -> list[str]:
    """How the graph was read and simplified, in sentences."""
    said = []
    if (ingest := inputs.ingest) is not None:
        text = f"Read with {formats.counted(int(ingest['nodes']), 'node')}"
        if ingest.get("opset_before") not in (None, ingest.get("opset")):
            text += f"; opset {ingest['opset_before']} was converted to {ingest['opset']}"
        said.append(text + ".")
    if (simplify := inputs.simplify) is not None:
        if simplify["status"] == "simplified":
            difference = simplify.get("max_abs_diff")
            same = "" if difference is None else f"; its outputs differ by at most {formats.significant(difference)}"
            same = "; its outputs are the same to the bit" if difference == 0 else same
            said.append(f"Simplified from {simplify['nodes_before']} to {simplify['nodes_after']} nodes{same}.")
        else:
            reason = formats.clean(simplify.get("reason") or "not asked for")
            said.append(f"Not simplified: {reason}.".replace("..", "."))
    if (canonicalize := inputs.canonicalize) is not None and canonicalize.get("rewrites"):
        before, after = canonicalize["nodes_before"], canonicalize["nodes_after"]
        difference = canonicalize.get("max_abs_diff")
        same = "" if difference is None else f"; its outputs differ by at most {formats.significant(difference)}"
        said.append(f"Rewritten from {before} to {after} nodes, so that INT8 has less to round{same}.")
    return said


def operators(inputs: ReportInputs) -> list[tuple[str, int]]:
    """The ops of the graph that was built, the most frequent first."""
    ops = (inputs.canonicalize or inputs.simplify or {}).get("ops") or (inputs.ingest or {}).get("ops") or {}
    return sorted(((formats.clean(op), int(n)) for op, n in ops.items()), key=lambda item: (-item[1], item[0]))


def float_nodes(inputs: ReportInputs) -> list[dict[str, str]]:
    """The nodes that compute in float although INT8 was asked for."""
    nodes = (inputs.quantize or {}).get("float_nodes") or ()
    return [{key: formats.clean(node[key]) for key in ("name", "op", "reason")} for node in nodes]


def provenance(inputs: ReportInputs) -> list[tuple[str, str]]:
    """Digests and versions."""
    rows = [("Model, SHA-256", formats.clean(inputs.model["sha256"]))]
    if artifact := inputs.build.get("artifact"):
        rows += [
            ("Artifact", formats.clean(artifact["path"])),
            ("Artifact, SHA-256", formats.clean(artifact["sha256"])),
        ]
    if inputs.lower is not None:
        rows.append(("Engine", formats.clean(inputs.lower["engine"])))
        options = inputs.lower["options"] or {}
        rows += [(f"Engine's {_words(key).lower()}", _option(key, value)) for key, value in sorted(options.items())]
    if where := story.executed(inputs):
        rows.append(("Executed", where))
    if version := (inputs.parity or {}).get("engine_version"):
        engine = formats.clean((inputs.lower or {}).get("engine") or "")
        rows.append(("Engine that executed it", f"{engine} {formats.clean(version)}".strip()))
    if emulator := (inputs.parity or {}).get("emulator"):
        rows.append(("Emulated device's files, SHA-256", formats.clean(emulator["root"])))
    return rows


def payload_facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    """What the backend observed about the payload."""
    facts = (inputs.lower or {}).get("facts") or {}
    return [
        _fact(key, value)
        for key, value in sorted(facts.items())
        if value not in ([], {}) and key not in _SHOWN_APART and not (key == "operators" and _plain(value))
    ]


_SHOWN_APART = frozenset({"edgetpu", "float_operations", "lost_int8_macs", "remarks", "transposes"})
"""Facts that have a table of their own (edgec/report/payload.py), or are said elsewhere."""


_SHARES = {
    "int8_mac_fraction_declared": "Multiply-accumulates meant for INT8",
    "int8_mac_fraction_executed": "Multiply-accumulates computed in INT8",
}
_COUNTS = {"float_primitives": "Products computed in float", "int8_primitives": "Products computed in INT8"}


def _fact(key: str, value: object) -> tuple[str, str]:
    """A fact in words, with its number as people read it."""
    if isinstance(value, int | float):
        if key in _SHARES:
            return _SHARES[key], formats.percent(value)
        if key in _COUNTS:
            return _COUNTS[key], f"{value}"
        if key.endswith("_bytes"):
            what = {"weight_bytes": "Weights", "constant_bytes": "Constants"}.get(key) or _words(
                key.removesuffix("_bytes")
            )
            return what, formats.size(value)
    if key == "minimum_runtime":
        return "Oldest runtime", f"that of TensorFlow {formats.clean(value)}"
    return _words(key), _value(value)


def _plain(counts: Mapping[str, Any]) -> bool:
    return all(isinstance(count, int) for count in counts.values())


def _by_name(section: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {item["name"]: item for item in section.get("outputs") or ()}


def _output_row(
    item: Mapping[str, Any],
    quantized: Mapping[str, Any] | None,
    lowered: Mapping[str, Any] | None,
    total: Mapping[str, Any] | None,
) -> OutputRow:
    return OutputRow(
        name=formats.clean(item["name"]),
        kind=_KINDS.get(item["kind"], item["kind"]),
        quantization=_level_text(quantized),
        lowering=_lowering(lowered),
        lowering_detail=_lowering_detail(lowered, "reference" if quantized else "original"),
        total=_level_text(total),
        total_detail=_total_detail(total),
        decisions=_decisions(item),
        channels=_channels(item),
        degenerate=formats.clean(item.get("degenerate") or ""),
        worst_channels=""
        if item["kind"] == "integer"
        else ", ".join(f"{index} ({formats.decibel(level)})" for index, level in item["worst_channels"]),
    )


def _level(item: Mapping[str, Any] | None) -> float | None:
    if item is None or item.get("degenerate") or item["kind"] == "integer":
        return None
    return float(item["sqnr_db"])


def _level_text(item: Mapping[str, Any] | None) -> str:
    if item is None:
        return "–"
    if item["kind"] == "integer":
        return f"{formats.percent(item['exact_share'] or 0.0)} equal"
    return formats.decibel(item["sqnr_db"])


def _lowering(item: Mapping[str, Any] | None) -> str:
    """Each cell names its own measure: outputs without a quantization step of their own have no LSB."""
    if item is None:
        return "–"
    if item["max_abs"] == 0 and item["finite"]:
        return "nothing"
    if item["kind"] == "integer":
        return _level_text(item)
    if item["max_lsb"] is None:
        return f"error at {formats.decibel(item['sqnr_db'])}"
    return f"at most {formats.significant(item['max_lsb'], 2)} LSB"


def _lowering_detail(item: Mapping[str, Any] | None, other: str) -> str:
    if item is None or (item["max_abs"] == 0 and item["finite"]):
        return "" if item is None else f"equal to the {other}"
    if item["kind"] == "integer" or item["max_lsb"] is None:
        return f"against the {other}"
    return (
        f"{formats.significant(item['mean_lsb'], 2)} LSB in the mean; {formats.decibel(item['sqnr_db'])} "
        f"against the {other}"
    )


def _total_detail(item: Mapping[str, Any] | None) -> str:
    """What tells more than dB: the overlap of masks, the direction of rows."""
    if item is None:
        return ""
    if item["kind"] == "integer":
        rare, share = item.get("rare"), item.get("rare_share")
        if not rare or share is None:
            return ""
        return f"{formats.percent(share)} of the {rare:,} that are not its most frequent value"
    if item["dice_mean"] is not None:
        return f"Dice {item['dice_mean']:.3f} in the mean"
    if item["flips"] is None and item["cosine_p01"] is not None:
        return f"cosine {item['cosine_p01']:.4f}, first percentile"
    return ""


def _decisions(item: Mapping[str, Any]) -> str:
    if item["flips"] is None or item["kind"] == "integer":
        return "–"
    return f"{item['flips']:,} of {item['decisions']:,} change"


def _channels(item: Mapping[str, Any]) -> str:
    if item["channel_sqnr_p05_db"] is None or item["kind"] == "integer":
        return "–"
    dead = "none dead" if not item["dead_channels"] else f"{formats.percent(item['dead_channels'])} dead"
    return f"{formats.decibel(item['channel_sqnr_p05_db'])}, {dead}"


def _iqr(latency: Mapping[str, Any]) -> tuple[float, float] | None:
    return (latency["p25"], latency["p75"]) if "p25" in latency and "p75" in latency else None


def _words(key: object) -> str:
    text = formats.clean(key).replace("_", " ")
    return (text[:1].upper() + text[1:]).replace("Int8", "INT8").replace("int8", "INT8")


def _option(key: str, value: object) -> str:
    """An option of the engine; inputs and outputs of a file that are not the model's own, each in a few words."""
    if key in ("inputs", "outputs") and isinstance(value, list):
        return "; ".join(_tensor(item) if isinstance(item, Mapping) else formats.clean(item) for item in value)
    return _value(value)


def _tensor(item: Mapping[str, Any]) -> str:
    parts = [f"{formats.clean(item.get('name'))}: {formats.clean(item.get('dtype'))}"]
    if item.get("permutation") is not None:
        parts.append(f"the model's dimensions in the order {formats.clean(item['permutation'])}")
    if item.get("scale") is not None:
        parts.append(f"scale {formats.clean(item['scale'])}, zero point {formats.clean(item.get('zero_point'))}")
    return ", ".join(parts)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        parts = [f"{formats.clean(key)} {_counted(item)}" for key, item in value.items()]
        return "; ".join(parts) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(formats.clean(item) for item in value) or "none"
    return formats.clean(value)


def _counted(item: object) -> str:
    """A number, or numbers by kind without those that are zero: "INT8 49"."""
    if not isinstance(item, Mapping):
        return formats.clean(item)
    return ", ".join(f"{_words(kind)} {formats.clean(number)}" for kind, number in item.items() if number) or "none"
