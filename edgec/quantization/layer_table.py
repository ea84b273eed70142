"""The quantized model layer by layer, as plain data for quantize.json: what computes in which precision, what it costs
alone, and how the ranges that matter most lie on their grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgec.onnx_graph.graph import Graph
from edgec.quantization.placement import Kernel, Placement
from edgec.quantization.qparams import QParams
from edgec.quantization.statistics import TensorStatistics

COLUMNS = 64
"""Columns of a histogram as it is told."""

MOST_RANGES = 12
_OF_WEAK_LAYERS = 8  # of those; the others are for what is clipped


def layers(
    graph: Graph,
    placement: Placement,
    scales: Mapping[str, QParams],
    cost: Mapping[str, int],
    isolated: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Every node that works on floating-point values, in the graph's order; what a kernel fuses is one entry.

    cost: multiply-accumulates by node name. isolated: by the anchor of a kernel, SQNR in dB of the model's worst output
        when that kernel alone computes in INT8; only some are measured, and in a model that was refused also some that
        stay in float.

    Each entry: node, op, members (names of all nodes), fused (operators of those after the first), precision ("int8",
        "int16" or "float"), macs, isolated_db (or None).
    """
    found = []
    for node in graph.nodes:
        kernel = placement.kernels.get(node.name)
        if kernel is not None:
            members = kernel.nodes
            precision = "int16" if _bits(kernel, placement, scales) == 16 else "int8"
        elif node.name in placement.float_nodes:
            members, precision = [node], "float"
        else:
            continue
        level = isolated.get(node.name)
        found.append(
            {
                "node": node.name,
                "op": node.op_type,
                "members": [member.name for member in members],
                "fused": [member.op_type for member in members[1:]],
                "precision": precision,
                "macs": sum(cost.get(member.name, 0) for member in members),
                "isolated_db": None if level is None else round(level, 2),
            }
        )
    return found


def _bits(kernel: Kernel, placement: Placement, scales: Mapping[str, QParams]) -> int:
    """The widest integers that a kernel takes or gives."""
    read = [placement.reads.get((kernel.name, i)) for i in range(len(kernel.anchor.input))]
    slots = [*(slot for slot in read if slot is not None), *kernel.outputs]
    return max((scales[slot].bits for slot in slots if slot in scales), default=8)


def ranges(
    placement: Placement,
    scales: Mapping[str, QParams],
    statistics: Mapping[str, TensorStatistics],
    weakest: Sequence[str],
) -> list[dict[str, Any]]:
    """Histograms of the tensors whose range matters most, with the grid that each was given.

    First what the `weakest` layers (anchors, the weakest first) read and write, then what is clipped most. Values are
    those of the calibration samples, as the float model computed them.

    Each entry: tensor; why ("read by NODE", "written by NODE" or "clipped"); minimum and maximum (exact); grid {"low",
    "high", "step", "bits"}; clipped_share (of sampled values, outside of the grid by more than half a step);
    histogram {"low", "high", "counts"}: columns of equal width from low to high, which spans values and grid.
    """
    reasons: dict[str, str] = {}
    for name in weakest:
        kernel = placement.kernels.get(name)
        if kernel is None:
            continue
        for position in range(len(kernel.anchor.input)):
            if (slot := placement.reads.get((name, position))) is not None:
                reasons.setdefault(slot, f"read by {name}")
        for slot in kernel.outputs:
            reasons.setdefault(slot, f"written by {name}")
    told = {slot: _told(slot, placement, scales, statistics) for slot in scales}
    known = {slot: entry for slot, entry in told.items() if entry is not None}
    chosen = [slot for slot in reasons if slot in known][:_OF_WEAK_LAYERS]
    clipped = sorted(
        (slot for slot in known if slot not in chosen and known[slot]["clipped_share"] > 0),
        key=lambda slot: -float(known[slot]["clipped_share"]),
    )
    chosen += clipped[: MOST_RANGES - len(chosen)]
    return [{**known[slot], "why": reasons.get(slot, "clipped")} for slot in chosen]


def _told(
    slot: str, placement: Placement, scales: Mapping[str, QParams], statistics: Mapping[str, TensorStatistics]
) -> dict[str, Any] | None:
    tensor = placement.slots.get(slot, slot)
    seen = statistics.get(tensor)
    if seen is None or not seen.histogram.any():
        return None
    grid = scales[slot]
    low, high = min(seen.minimum, grid.low), max(seen.maximum, grid.high)
    if not low < high:
        return None
    centers, counts = seen.bin_centers(), seen.histogram
    half = grid.scale / 2
    outside = int(counts[(centers < grid.low - half) | (centers > grid.high + half)].sum())
    columns, _ = np.histogram(np.clip(centers, low, high), bins=COLUMNS, range=(low, high), weights=counts)
    return {
        "tensor": tensor,
        "minimum": seen.minimum,
        "maximum": seen.maximum,
        "grid": {"low": grid.low, "high": grid.high, "step": grid.scale, "bits": grid.bits},
        "clipped_share": outside / int(counts.sum()),
        "histogram": {"low": low, "high": high, "counts": [int(count) for count in columns]},
    }
