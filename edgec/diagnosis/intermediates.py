"""Lowering, layer by layer: the engine's inner tensors beside those of the model that it was given, in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgec.contract import Contract
from edgec.diagnosis.meters import ErrorMeter
from edgec.onnx_graph.graph import Graph, load_model
from edgec.reference import Reference
from edgec.samples import Sample

AT_ONCE = 48
"""Tensors that are asked for in one session: all of them are in memory together."""

MOST = 384
BROKEN, DROP = 20.0, 15.0
"""Lowering goes wrong at a tensor below BROKEN dB that lies DROP dB below all that it was made of: the last bit of a
rounding differs from kernel to kernel, and grows from layer to layer."""


def compare_intermediates(
    lowered: Path,
    against: Path,
    samples: Sequence[Sample],
    contract: Contract,
    state: Mapping[str, str],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """{"tensors": [{"name", "node", "op", "sqnr_db"}], "first", "notes"}: on the first step of the first sample.

    against: the ONNX model that was lowered.
    """
    made = json.loads((lowered / "lower.json").read_text(encoding="utf-8"))
    module = f"edgec.backends.{made['engine']}.inspection"
    if find_spec(module) is None:
        note = (
            f"The engine {made['engine']} shows no tensors but the model's outputs: lowering was compared there only."
        )
        return {"tensors": [], "first": None, "notes": [note]}
    inspection = import_module(module)
    model = load_model(against)
    graph = Graph(model)
    names = [name for node in graph.nodes for name in node.output if name and graph.is_float(name)][:MOST]
    zeros = {i: np.zeros(contract.input(i).shape, contract.input(i).dtype) for i in state.values()}
    feeds = {**zeros, **samples[0].steps[0]}
    rows: list[dict[str, Any]] = []
    for start in range(0, len(names), AT_ONCE):
        on_progress(start, len(names))
        known, run = inspection.watch(lowered / "payload", made["options"], names[start : start + AT_ONCE])
        if not known:
            continue
        actual = run(feeds)
        expected = Reference(_showing(model, known).SerializeToString(), "none").run(feeds, known)
        for name in known:
            if actual[name].shape != expected[name].shape:
                continue
            meter = ErrorMeter(None)
            meter.add(expected[name], actual[name])
            node = graph.producer[name]
            rows.append({"name": name, "node": node.name, "op": node.op_type, "sqnr_db": float(f"{meter.db:.6g}")})
    first = _first_break(graph, rows)
    notes = [inspection.CAVEAT] if rows else ["The engine knows no inner tensor by the name that it has in the model."]
    if len(names) == MOST:
        notes.append(f"Of the engine's tensors, the first {MOST} were looked at.")
    return {"tensors": rows, "first": first, "notes": notes}


def _first_break(graph: Graph, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The first tensor that lies far below what it was made of."""
    known = {row["name"]: float(row["sqnr_db"]) for row in rows}
    best: dict[str, float] = {}  # of each tensor: its own level, or that of what it was made of
    for node in graph.nodes:
        above = min((best[name] for name in node.input if name in best), default=120.0)
        for name in node.output:
            best[name] = min(above, known.get(name, above))
            if known.get(name, above) < min(BROKEN, above - DROP):
                return next(row for row in rows if row["name"] == name)
    return None


def _showing(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with more outputs."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    present = {item.name for item in wide.graph.output}
    wide.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    return wide
