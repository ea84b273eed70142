"""Lowering, layer by layer: the engine's inner tensors beside those of the model that it was given, in ONNX Runtime.

A tensor that the payload holds as integers is compared with what lies behind the Q/DQ pair: both were rounded to the
same grid, so what is left between them is what the kernels do otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgec.backends.inspection import Inspection, Wanted, load_inspection
from edgec.contract import Contract
from edgec.diagnosis.layers import DEQUANTIZE, QUANTIZE
from edgec.diagnosis.meters import ErrorMeter
from edgec.onnx_graph.graph import Graph, load_model
from edgec.reference import Reference
from edgec.samples import Sample

MOST = 384
"""Tensors that are looked at where looking costs the engine its fused kernels."""

BYTES_AT_ONCE = 256 << 20
"""Of tensors that the reference shows in one session: all of them are in memory together."""

STEPS = 16
"""Steps, four of a sample at most, that are compared where the engine shows what it ships."""

BROKEN, DROP = 20.0, 15.0
"""Lowering goes wrong at a tensor below BROKEN dB that lies DROP dB below all that it was made of: the last bit of a
rounding differs from kernel to kernel, and grows from layer to layer."""


@dataclass
class TensorError:
    """How far one inner tensor of the payload is from the reference.

    name: in the payload. value: the tensor of the lowered model that it is compared with. step: 1 LSB, where it holds
    integers.
    """

    name: str
    value: str
    step: float | None
    meter: ErrorMeter = field(default_factory=lambda: ErrorMeter(None))
    largest: float = 0.0
    unequal: int = 0

    def add(self, expected: np.ndarray, actual: np.ndarray) -> None:
        """One run."""
        self.meter.add(expected, actual)
        off = np.abs(np.asarray(expected, np.float64) - actual)
        self.largest = max(self.largest, float(off.max(initial=0.0)))
        self.unequal += int((off > (self.step or 0.0) / 2).sum())

    def row(self, graph: Graph) -> dict[str, Any]:
        """As in the document; the *_lsb are None for tensors that the payload holds in float."""
        node = graph.producer[self.name]
        lsb = self.step
        return {
            "name": self.name,
            "value": self.value,
            "node": node.name,
            "op": node.op_type,
            "sqnr_db": _rounded(self.meter.db),
            "step": _rounded(lsb),
            "max_lsb": None if lsb is None else round(self.largest / lsb),
            "rms_lsb": None if lsb is None else _rounded(self.meter.rms / lsb),
            "unequal_share": None if lsb is None else _rounded(self.unequal / max(self.meter.count, 1)),
        }


def compare_intermediates(
    lowered: Path,
    against: Path,
    samples: Sequence[Sample],
    contract: Contract,
    state: Mapping[str, str],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """{"tensors": [TensorError.row], "first", "within", "as_shipped", "notes"}.

    On the first steps of the samples; on the very first one where the engine has to be disturbed for it.
    against: the ONNX model that was lowered. within: tensors of it that the payload does not have, and the node whose
    kernel makes them on its way.
    """
    made = json.loads((lowered / "lower.json").read_text(encoding="utf-8"))
    inspection = load_inspection(made["engine"])
    if inspection is None:
        note = (
            f"The engine {made['engine']} shows no tensors but the model's outputs: lowering was compared there only."
        )
        return {"tensors": [], "first": None, "within": {}, "as_shipped": False, "notes": [note]}
    model = load_model(against)
    graph = Graph(model)
    wanted = _wanted(graph)
    notes = []
    if not inspection.AS_SHIPPED and len(wanted) > MOST:
        wanted = wanted[:MOST]
        notes.append(f"Of the engine's tensors, the first {MOST} were looked at.")
    found: list[TensorError] = []
    done = 0
    for batch in _batches(wanted, inspection.AT_ONCE):
        on_progress(done, len(wanted))
        found += _compare(inspection, lowered, made["options"], model, graph, batch, samples, contract, state)
        done += len(batch)
    rows = [item.row(graph) for item in found]
    notes.insert(
        0, inspection.CAVEAT if rows else "The engine knows no inner tensor by the name that it has in the model."
    )
    return {
        "tensors": rows,
        "first": _first_break(graph, rows),
        "within": _within(graph, rows, {item.name for item in wanted}),
        "as_shipped": inspection.AS_SHIPPED,
        "notes": notes,
    }


def shows_what_it_ships(lowered: Path) -> bool:
    """Whether the engine of a payload shows the kernels that it runs, so that looking at them is always worth it."""
    made = json.loads((lowered / "lower.json").read_text(encoding="utf-8"))
    inspection = load_inspection(made["engine"])
    return inspection is not None and inspection.AS_SHIPPED


def _wanted(graph: Graph) -> list[Wanted]:
    """All tensors that hold real numbers and are computed, as floats or as integers that stand for them."""
    found = []
    for node in graph.nodes:
        for name in node.output:
            shape = graph.shape(name) if name else None
            if shape is None or (node.op_type == DEQUANTIZE and graph.constant(node.input[0]) is not None):
                continue
            if node.op_type == QUANTIZE:
                found.append(Wanted(name, shape, integers=True))
            elif graph.is_float(name):
                found.append(Wanted(name, shape))
    return found


def _batches(wanted: Sequence[Wanted], most: int) -> Iterator[list[Wanted]]:
    batch: list[Wanted] = []
    room = BYTES_AT_ONCE
    for item in wanted:
        size = 4 * int(np.prod(item.shape, dtype=np.int64))
        if batch and (len(batch) == most or size > room):
            yield batch
            batch, room = [], BYTES_AT_ONCE
        batch.append(item)
        room -= size
    if batch:
        yield batch


def _compare(
    inspection: Inspection,
    lowered: Path,
    options: Mapping[str, Any],
    model: onnx.ModelProto,
    graph: Graph,
    batch: Sequence[Wanted],
    samples: Sequence[Sample],
    contract: Contract,
    state: Mapping[str, str],
) -> list[TensorError]:
    """The error of each tensor of `batch` that the payload has. Both sides carry states of their own."""
    asked = {item.name for item in batch}
    carried = [Wanted(name, graph.shape(name) or ()) for name in state if name not in asked]
    watched = inspection.watch(lowered / "payload", options, [*batch, *carried])
    found = [
        TensorError(name, _compared_with(graph, name, watched.steps.get(name)), watched.steps.get(name))
        for name in watched.names
        if name in asked
    ]
    if not found:
        return []
    values = list(dict.fromkeys([*(item.value for item in found), *state]))
    reference = Reference(_showing(model, values).SerializeToString(), "none")
    misfits: set[str] = set()
    zeros = {i: np.zeros(contract.input(i).shape, contract.input(i).dtype) for i in state.values()}
    for sample, count in _first_steps(samples, STEPS if inspection.AS_SHIPPED else 1):
        ours, theirs = dict(zeros), dict(zeros)
        for step in sample.steps[:count]:
            actual = watched.run({**ours, **step})
            expected = reference.run({**theirs, **step}, values)
            for item in found:
                if actual[item.name].shape == expected[item.value].shape:
                    item.add(expected[item.value], actual[item.name])
                else:
                    misfits.add(item.name)
            ours = {into: actual[source] for source, into in state.items() if source in watched.names}
            theirs = {into: expected[source] for source, into in state.items()}
            ours = {**theirs, **ours}
    return [item for item in found if item.name not in misfits]


def _first_steps(samples: Sequence[Sample], most: int) -> Iterator[tuple[Sample, int]]:
    """Samples and how many of their steps to run: `most` altogether, four of each at most."""
    for sample in samples:
        count = min(4, most, len(sample.steps))
        if not count:
            return
        yield sample, count
        most -= count


def _compared_with(graph: Graph, name: str, step: float | None) -> str:
    """The tensor of the lowered model that holds the same values: behind the Q/DQ pair for what is kept as integers."""
    if step is None:
        return name
    quantizers = [node for node in graph.consumers.get(name, []) if node.op_type == QUANTIZE]
    if (producer := graph.producer[name]).op_type == QUANTIZE:
        quantizers = [producer]
    quantizers.sort(key=lambda node: not _has_step(graph, node.input[1], step))
    for node in quantizers:
        for reader in graph.consumers.get(node.output[0], []):
            if reader.op_type == DEQUANTIZE:
                return str(reader.output[0])
    return name


def _has_step(graph: Graph, scale: str, step: float) -> bool:
    value = graph.constant(scale)
    return value is not None and value.size == 1 and np.float32(value.reshape(-1)[0]) == np.float32(step)


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


def _within(graph: Graph, rows: Sequence[dict[str, Any]], looked_for: Collection[str]) -> dict[str, str]:
    """Tensors that the payload does not have though they were looked for: the first node behind each that it has."""
    known = {row["name"] for row in rows} | {row["value"] for row in rows}
    found: dict[str, str] = {}
    for node in reversed(graph.nodes):
        for name in node.output:
            if name in known or name not in looked_for or not graph.is_float(name):
                continue
            for reader in graph.consumers.get(name, []):
                if any(output in known for output in reader.output):
                    found[name] = str(reader.name or reader.op_type)
                    break
                behind = next((found[output] for output in reader.output if output in found), None)
                if behind is not None:
                    found[name] = behind
                    break
    return found


def _showing(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with more outputs."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    present = {item.name for item in wide.graph.output}
    wide.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    return wide


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
