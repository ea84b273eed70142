"""An analysis as text: what the model is, what bounds it, what backends make of it, and its heaviest layers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgec.cli.sizes import size

SHOWN = 10
"""Layers that are shown unless all are asked for."""

_NAMED = 4
"""Nodes of a backend that are named."""

_KEY = 12

Document = Mapping[str, Any]


def model_lines(analysis: Document, opened: Document | None, width: int) -> list[str]:
    """What goes in and out, how large the model is, and what it takes."""
    totals = analysis["totals"]
    peak, weights = totals["activation_peak_bytes"], totals["weight_bytes"]
    lines = _tensors("inputs", analysis["inputs"]) + _tensors("outputs", analysis["outputs"])
    lines += _open(opened, width) if opened is not None else []
    lines += [
        _row(
            "model",
            f"{totals['nodes']} nodes, {amount(totals['parameters'])} parameters, {amount(totals['macs'])} MACs",
        ),
        _row("weights", f"{size(weights['float32'])} in float32, {size(weights['int8'])} in INT8"),
        _row("activations", f"{size(peak['float32'])} in float32, {size(peak['int8'])} in INT8, at most at one time"),
    ]
    if totals["intensity"]["float32"] is not None:
        intensity = totals["intensity"]
        lines.append(
            _row("intensity", f"{intensity['float32']:.1f} MACs a byte in float32, {intensity['int8']:.1f} in INT8")
        )
    if totals["unknown_shapes"]:
        lines += _wrapped("but", f"{totals['unknown_shapes']} nodes have no known shape, and are not counted", width)
    if totals["bodies"]:
        text = f"what is inside of {totals['bodies']} If, Loop or Scan is not counted"
        lines += _wrapped("but", text, width)
    return lines


def target_lines(analysis: Document, width: int) -> list[str]:
    """What is known of the model on one target."""
    totals, roofline, memory = analysis["totals"], analysis["roofline"], analysis["memory"]
    lines = _profile(analysis, width)
    if roofline is not None:
        threads = {0: "", 1: " on 1 thread"}.get(roofline["threads"], f" on {roofline['threads']} threads")
        text = (
            f"{roofline['float32_gmacs']:.3g} float32 and {roofline['int8_gmacs']:.3g} INT8 GMAC/s, "
            f"{roofline['memory_gb_per_s']:.3g} GB/s{threads}; {roofline['source']}"
        )
        lines += _wrapped("at best", text, width)
        if totals["int8_at_most"] is not None:
            lines += _wrapped(
                "INT8",
                f"at most {totals['int8_at_most']:.1f}x as fast as float32 in the same engine; {_bounds(analysis)}",
                width,
            )
    else:
        lines += _wrapped("at best", analysis["roofline_note"], width)
    needs = f"{size(memory['needed_bytes'])} in INT8 for weights and activations"
    if memory["device_mib"] is not None:
        fits = "fits" if memory["fits"] else "does not fit"
        needs += f"; the device has {memory['device_mib']} MiB for all that it runs: {fits}"
    return [*lines, *_wrapped("memory", needs, width)]


def backend_lines(analysis: Document, width: int) -> list[str]:
    """A row for each backend, and below what it refuses or leaves in float."""
    lines = [f"{'Backend':<12}{'takes':<18}{'MACs in INT8':<15}artifact"]
    for name, item in analysis["support"].items():
        fraction = item["int8_mac_fraction"]
        share = percent(fraction) if fraction is not None else "-"
        expected = analysis["expected_bytes"].get(name)
        about = f"about {size(expected)}" if expected is not None and item["status"] == "all" else "-"
        lines.append(f"{name:<12}{_takes(item):<18}{share:<15}{about:<14}".rstrip())
        if item["reason"]:
            lines += textwrap.wrap(item["reason"], width, initial_indent="  ", subsequent_indent="  ")
        for effect, verb in (("refused", "refuses"), ("float", "in float32")):
            lines += _nodes([node for node in item["nodes"] if node["effect"] == effect], verb, width)
    return lines


def operator_lines(analysis: Document) -> list[str]:
    """Operators with their shares, the heaviest first."""
    macs = analysis["totals"]["macs"]
    time = sum(row["milliseconds"] or 0.0 for row in analysis["operators"])
    lines = [f"{'Operator':<24}{'nodes':>7}{'parameters':>13}{'MACs':>10}{'MACs %':>9}{'time %':>9}"]
    for row in analysis["operators"]:
        spent = _share(row["milliseconds"], time)
        name = shortened(row["operator"], 23)
        lines.append(
            f"{name:<24}{row['count']:>7}{amount(row['parameters']):>13}{amount(row['macs']):>10}"
            f"{_share(row['macs'], macs):>9}{spent:>9}"
        )
    return lines


def layer_lines(analysis: Document, everything: bool, width: int) -> list[str]:
    """The layers that take most time (or, where none was measured, multiply most); all of them in the graph's order."""
    layers: Sequence[Document] = analysis["layers"]
    macs, time = analysis["totals"]["macs"], sum(layer["milliseconds"] or 0.0 for layer in layers)
    by = "time" if time else "MACs"
    heaviest = sorted(layers, key=lambda layer: (-(layer["milliseconds"] or 0.0), -layer["macs"]))
    numbers = {layer["node"]: number for number, layer in enumerate(layers, 1)}
    shown = layers if everything or len(layers) <= SHOWN else heaviest[:SHOWN]
    kind = 10 if width < 100 else 22
    room = max(20, width - 42 - kind)
    head = f"{'#':>4} {'Layer':<{room}} {'operator':<{kind}}"
    lines = [f"{head}{'MACs %':>7}{'time %':>7}{'MAC/B':>7}  {'bound':<8}{'INT8':>5}"]
    for layer in shown:
        intensity, gain = layer["intensity"]["float32"], layer["int8_at_most"]
        name, operator = shortened(layer["node"], room), shortened(layer["operator"], kind - 1)
        lines.append(
            f"{numbers[layer['node']]:>4} {name:<{room}} {operator:<{kind}}"
            f"{_share(layer['macs'], macs):>7}{_share(layer['milliseconds'], time):>7}"
            f"{'-' if intensity is None else f'{intensity:.1f}':>7}  {layer['bound'] or '-':<8}"
            f"{'-' if gain is None else f'{gain:.1f}x':>5}"
        )
    if len(shown) < len(layers):
        rest = f"{len(layers) - len(shown)} more layers"
        lines.append(f"{rest}: --all shows them. These {len(shown)} have most of the {by}.")
    return lines


def amount(number: float) -> str:
    """A count as people read it: 385 M."""
    for unit in ("", " k", " M", " G"):
        if number < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} T"


def percent(share: float) -> str:
    """A share; what is nearly all, or nearly nothing, is not told as all or nothing."""
    if 0.999 < share < 1:
        return "> 99.9 %"
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def shortened(text: str, room: int) -> str:
    """`text` with its middle left out where it is longer than `room`: names differ at their ends."""
    if len(text) <= room:
        return text
    head = (room - 1) // 3
    return f"{text[:head]}…{text[len(text) - (room - 1 - head) :]}"


def _row(key: str, text: str) -> str:
    return f"  {key:<{_KEY}}{text}"


def _wrapped(key: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=f"  {key:<{_KEY}}",
        subsequent_indent=" " * (_KEY + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _tensors(key: str, tensors: Sequence[Document]) -> list[str]:
    rows = [f"{item['name']}  {item['dtype']} {'x'.join(map(str, item['shape'])) or 'scalar'}" for item in tensors]
    return [_row(key if index == 0 else "", row) for index, row in enumerate(rows)]


def _open(opened: Document, width: int) -> list[str]:
    """Dimensions that a build wants frozen, and what to type."""
    lines = []
    for index, (name, dims) in enumerate(opened["inputs"].items()):
        shown = "unknown" if dims is None else "x".join(map(str, dims))
        assumed = "x".join(map(str, opened["assumed"][name]))
        lines += _wrapped("open" if index == 0 else "", f"{name}  {shown}, inspected as {assumed}", width)
    lines += _wrapped("", "A build needs sizes. Add, with your own where they are guesses:", width)
    return lines + [_row("", flag) for flag in _flags(opened["flags"])]


def _flags(flags: str) -> Iterable[str]:
    return (f"--shape {each.strip()}" for each in flags.split("--shape") if each.strip())


def _profile(analysis: Document, width: int) -> list[str]:
    found, key = analysis["profile"], "time" if analysis["came_quantized"] else "float time"
    if found is None:
        return _wrapped(key, analysis["profile_note"], width)
    threads = "1 thread" if found["threads"] == 1 else f"{found['threads']} threads"
    where = "" if found["on_target"] else ", on this machine, not on the target"
    busy = "; the machine was busy" if found["noisy"] else ""
    text = f"{found['milliseconds']:.3g} ms in ONNX Runtime {found['version']}, {threads}{where}{busy}"
    return _wrapped(key, text, width)


def _bounds(analysis: Document) -> str:
    """Which part of the float time is bound by what: as measured, or at the target's roofs where it is not here."""
    measured = analysis["profile"] is not None and analysis["profile"]["on_target"]
    time = {"compute": 0.0, "memory": 0.0, None: 0.0}
    for layer in analysis["layers"]:
        time[layer["bound"]] += (layer["milliseconds"] if measured else layer["roof_milliseconds"]["float32"]) or 0.0
    total = sum(time.values())
    if not total:
        return "nothing is computed"
    return (
        f"{percent(time['compute'] / total)} of its {'time' if measured else 'least time'} is in layers bound by "
        f"compute, {percent(time['memory'] / total)} by memory"
    )


def _takes(item: Document) -> str:
    refused = sum(node["effect"] == "refused" for node in item["nodes"])
    if item["status"] == "all":
        return "all nodes"
    if item["status"] is None:
        return "not known here"
    if item["status"] == "none":
        return "none"
    return f"all but {refused}"


def _nodes(nodes: Sequence[Document], verb: str, width: int) -> list[str]:
    """Nodes by the reason that they share, with the remedy."""
    groups: dict[tuple[str, str], list[Document]] = {}
    for node in nodes:
        groups.setdefault((node["reason"], node["remedy"]), []).append(node)
    lines = []
    for (reason, remedy), members in groups.items():
        named = ", ".join(f"{node['node']} ({node['operator']})" for node in members[:_NAMED])
        more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
        lines += textwrap.wrap(
            f"{verb} {named}{more}: {reason}",
            width,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
        if remedy:
            lines += textwrap.wrap(
                " ".join(remedy.split()), width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
            )
    return lines


def _share(part: float | None, total: float) -> str:
    return "-" if not part or not total else f"{100 * part / total:.1f}"
