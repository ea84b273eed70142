"""A diagnosis in words, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_EXACT_DB = 119.0  # comparisons end at 120 dB


def verdict(document: Mapping[str, Any]) -> str:
    """One sentence: whether it holds, and where the loss is."""
    loss = document["loss"]
    levels = []
    if loss["quantization_db"] is not None:
        levels.append(f"quantization leaves {decibel(loss['quantization_db'])}")
    if loss["lowering_db"] is not None:
        levels.append(f"lowering {decibel(loss['lowering_db'])}")
    if loss["total_db"] is not None:
        levels.append(f"the artifact is at {decibel(loss['total_db'])}")
    measured = f" ({', '.join(levels)}; worst output, {loss['samples']} samples)" if levels else ""
    if document["healthy"]:
        return f"healthy: nothing stands out{measured}"
    if any(cause["cause"] == "degenerate-data" for cause in document["causes"]):
        return f"nothing can be proven on this data{measured}"
    if document["passed"]:
        return f"passes the gate, with reservations{measured}"
    where = {
        "quantization": "the loss is in quantization",
        "lowering": "the loss is in lowering",
        "artifact": "the loss is the artifact's",
    }
    return f"fails the gate; {where.get(loss['where'], 'see below')}{measured}"


def first_fault(first: Mapping[str, Any]) -> str:
    """Where things go wrong first."""
    alone = (
        "" if first["alone_db"] is None else f"; quantized alone, it leaves the outputs {decibel(first['alone_db'])}"
    )
    return (
        f"layer {first['position'] + 1} of {first['of']}, {first['node']} ({first['op']}): "
        f"{decibel(first['accumulated_db'])} with all before it, {decibel(first['isolated_db'])} by itself{alone}"
    )


def smallest_part(smallest: Mapping[str, Any]) -> str:
    """What the bisection ended with."""
    names = smallest["layers"]
    shown = names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}"
    count = f"{len(names)} of {smallest['of']} quantized layers"
    return (
        f"{shown} ({count}): quantized alone, the outputs are at {decibel(smallest['alone_db'])}; "
        f"all layers together, at {decibel(smallest['total_db'])}"
    )


def lowering_line(document: Mapping[str, Any]) -> str:
    """The engine's inner tensors in one sentence; where they depart first is of interest where lowering is at fault."""
    lowering = document["lowering"]
    tensors, first = lowering["tensors"], lowering["first"]
    if first is None or document["loss"]["where"] != "lowering":
        worst = min(tensors, key=lambda row: float(row["sqnr_db"]))
        level = decibel(worst["sqnr_db"])
        return f"{len(tensors)} inner tensors of the engine were compared; the worst, {worst['name']}, at {level}"
    return f"the engine first departs at {first['node']} ({first['op']}): {decibel(first['sqnr_db'])}"


def decibel(value: float | None) -> str:
    if value is None:
        return "-"
    return "exact" if value >= _EXACT_DB else f"{value:.1f} dB"


def lsb(value: float | None) -> str:
    """An error in steps of the tensor's own grid."""
    if value is None:
        return "-"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def lowered(layer: Mapping[str, Any]) -> str:
    """What lowering makes of a layer's output; where the payload has no such tensor, within which kernel it stays."""
    found = layer["lowering"]
    if found is None:
        return "-"
    if "within" in found:
        return f"in {found['within']}"
    return decibel(found["sqnr_db"])


def lowered_lsb(layer: Mapping[str, Any]) -> str:
    """The largest error of lowering in LSB, and the share of values that are off by one or more."""
    found = layer["lowering"]
    if found is None or found.get("max_lsb") is None:
        return "-"
    return f"{found['max_lsb']} ({100 * found['unequal_share']:.2g} %)" if found["max_lsb"] else "0"


def worst_lowered_first(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Inner tensors, those that lowering moves most first."""
    return sorted(rows, key=lambda row: float(row["sqnr_db"]))


def worst_first(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The layers that are rounded, those that cost the outputs most first."""
    return sorted((layer for layer in layers if layer["rounds"]), key=lambda layer: (_harm(layer), layer["position"]))


def _harm(layer: Mapping[str, Any]) -> float:
    """What a layer does to the outputs, or where that was not tried its own error; lower is worse."""
    alone, own = layer["alone_db"], layer["isolated_db"]
    return float(alone if alone is not None else max(own, 20.0) + 20.0)
