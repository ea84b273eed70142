"""The diagnosis of a model as a document: what is lost where, since which layer, why, and what helps."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgec.contract import Contract
from edgec.diagnosis import patterns, standalone
from edgec.diagnosis.bisect import smallest_run
from edgec.diagnosis.data import about_data
from edgec.diagnosis.faults import HARM, Witness, blamed, first_fault, own_db, suspects
from edgec.diagnosis.findings import Finding
from edgec.diagnosis.layers import Twins
from edgec.diagnosis.measure import CloseLook, LayerFigures, Measured, OutputError, measure, span
from edgec.diagnosis.walk import Walker
from edgec.onnx_graph.cost import macs
from edgec.onnx_graph.graph import Graph
from edgec.parity.gates import judge
from edgec.parity.metrics import OutputComparison
from edgec.parity.thresholds import Gate
from edgec.quantization.held_out import FEWEST_SAMPLES, MACS_PER_TRIAL
from edgec.quantization.statistics import TensorStatistics
from edgec.samples import Sample, SampleSource, held_out

MOST_SAMPLES = 16
TRIED_ON = 4
"""Samples, and steps of each, that single layers are tried on."""

CLOSE = 2
SHOWN_HISTOGRAMS = 6


@dataclass(frozen=True)
class Case:
    """What is to be diagnosed.

    samples: the judged ones. learned: what calibration saw, by tensor; empty when unknown.
    gate: the limits that a verdict is given by. name: what files are called after.
    """

    floats: Graph
    quantized: Graph
    contract: Contract
    samples: Sequence[Sample]
    state: Mapping[str, str] = field(default_factory=dict)
    learned: Mapping[str, TensorStatistics] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)
    name: str = "model"


def judged_samples(source: SampleSource, all_of_them: bool, cost: int, most: int = MOST_SAMPLES) -> list[Sample]:
    """The samples to diagnose on, drawn by chance, the same every time: from those that calibration did not see, or
    from `all_of_them`. At most `most`, the first ones of which are those that a smaller number gives; fewer of a large
    model."""
    indices = list(range(len(source))) if all_of_them else held_out(len(source))[1]
    if not indices:
        return []
    drawn = random.Random(1).sample(indices, len(indices))
    first = next(iter(source.read(drawn[:1])))
    affordable = int(MACS_PER_TRIAL // max(1, 3 * cost * len(first.steps)))
    return [first, *source.read(drawn[1 : min(most, max(FEWEST_SAMPLES, affordable))])]


def diagnose(
    case: Case, out: Path, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """The diagnosis of a quantized model; writes the smallest failing part to `out`, where something fails."""
    twins = Twins(case.floats, case.quantized)
    walker = Walker(twins)
    work = _Work(on_progress, sum(len(sample.steps) for sample in case.samples))
    measured = measure(walker, case.samples, case.contract, case.state, work.step)
    verdict = judge(measured.outputs, case.gate)
    trials = OutputError(walker, case.samples, case.contract, case.state, TRIED_ON)
    rounded = [layer.index for layer in twins.layers if layer.quantized]
    total_db = trials.db(rounded)
    looked_at = suspects(measured)
    work.more(len(looked_at))
    for index in looked_at:
        measured.figures[index].alone_db = trials.db([index])
        work.step()
    close = CloseLook(walker, measured.figures)
    work.more(sum(len(sample.steps[:CLOSE]) for sample in case.samples[:CLOSE]))
    close.take(case.samples[:CLOSE], case.contract, case.state, looked_at, work.step)

    normal, curves = patterns.normalizations(case.floats), patterns.decomposed_activations(case.floats)
    witness = Witness(twins, measured, case.learned, normal, curves)
    proves = _proves(measured.outputs)
    general = about_data(case.floats, measured, case.learned)
    faults = blamed(measured, total_db) if proves else []
    named = witness.causes(faults, general)
    first = first_fault(faults, measured, twins, total_db)
    suffers = proves and bool(rounded) and (not verdict.passed or total_db < HARM)
    smallest = None
    if suffers:
        smallest = _smallest(case, walker, trials, measured, total_db, out, work)
    if suffers and not faults:
        general.append(_spread(measured, total_db))
    findings = [*general, *_unique(named, first)]
    if not proves:
        findings.insert(0, _nothing_proven(measured.outputs))
    return {
        "samples": len(case.samples),
        "outputs": [item.to_json() for item in measured.outputs],
        "passed": verdict.passed,
        "failures": list(verdict.failures),
        "healthy": not findings and verdict.passed,
        "total_db": _round(total_db),
        "first": None if first is None else _first(first, measured, named[first.layer.index]),
        "causes": [finding.to_json() for finding in findings],
        "layers": [_row(item, measured, named.get(item.layer.index)) for item in measured.figures.values()],
        "unseen": _unseen(twins, measured),
        "smallest": smallest,
        "histograms": _histograms(close, measured, looked_at),
    }


@dataclass
class _Work:
    """Progress, in runs of the model."""

    tell: Callable[[int, int], None]
    total: int
    done: int = 0

    def more(self, count: int) -> None:
        self.total += count

    def step(self) -> None:
        self.done += 1
        self.total = max(self.total, self.done)
        self.tell(self.done, self.total)


def _proves(outputs: Sequence[OutputComparison]) -> bool:
    return not outputs or any(item.degenerate is None for item in outputs)


def _nothing_proven(outputs: Sequence[OutputComparison]) -> Finding:
    item = outputs[0]
    return Finding(
        "degenerate-data",
        None,
        f"the original model itself does nothing on this data that could be judged: {item.name!r}: {item.degenerate}",
        {"outputs": {item.name: item.degenerate for item in outputs}},
    )


def _spread(measured: Measured, total_db: float) -> Finding:
    tried = [item.alone_db for item in measured.figures.values() if item.alone_db is not None]
    return Finding(
        "spread",
        None,
        f"no layer does the harm by itself: the worst one alone leaves the outputs at {min(tried):.1f} dB, all layers "
        f"together at {total_db:.1f} dB",
        {"worst_alone_db": _round(min(tried)), "total_db": _round(total_db)},
    )


def _unique(named: Mapping[int, Finding], first: LayerFigures | None) -> list[Finding]:
    """One finding for each cause and place, that of the first fault in front."""
    order = sorted(named, key=lambda index: (first is None or index != first.layer.index, index))
    found: dict[tuple[str, str | None], Finding] = {}
    for index in order:
        if named[index].node is not None:  # what concerns the whole model is among the general findings
            found.setdefault((named[index].cause, named[index].node), named[index])
    return list(found.values())


def _smallest(
    case: Case,
    walker: Walker,
    trials: OutputError,
    measured: Measured,
    total_db: float,
    out: Path,
    work: _Work,
) -> dict[str, Any] | None:
    """The shortest run of layers that by itself makes at least half of the noise, written to `out`."""
    layers = [layer for layer in walker.twins.layers if layer.quantized]
    limit = total_db + 3.0

    def fails(indices: Sequence[int]) -> bool:
        work.more(1)
        work.step()
        return trials.db(indices) <= limit

    run = smallest_run([layer.index for layer in layers], fails)
    if not run:
        return None
    between = [layer for layer in walker.twins.layers if run[0] <= layer.index <= run[-1]]
    between = [layer for layer in between if layer.index in run or _needed(layer.index, run, walker.twins)]
    alone_db = trials.db(run)
    document: dict[str, Any] = {
        "layers": [layer.name for layer in between],
        "ops": [layer.op for layer in between],
        "alone_db": _round(alone_db),
        "total_db": _round(total_db),
        "of": len(layers),
        "files": [],
        "local_db": None,
    }
    if standalone.can_stand_alone(between, walker.twins):
        name = f"{case.name}-smallest"
        first = case.samples[0].steps[0]
        zeros = {i: np.zeros(case.contract.input(i).shape, case.contract.input(i).dtype) for i in case.state.values()}
        document["local_db"] = _round(standalone.write(out, name, walker.twins, between, walker, {**zeros, **first}))
        document["files"] = [f"{name}.onnx", f"{name}-inputs.npz", f"{name}.py"]
        document["nodes"] = sum(len(layer.nodes) for layer in between)
    return document


def _needed(index: int, run: Sequence[int], twins: Twins) -> bool:
    """Whether a float layer lies on the way from one layer of the run to another."""
    behind: set[int] = set()
    for layer in twins.layers[run[0] : run[-1] + 1]:
        sources = {twins.maker[name].index for name in layer.reads if name in twins.maker}
        if layer.index in run or sources & behind:
            behind.add(layer.index)
    if index not in behind:
        return False
    ahead = {index}
    for layer in twins.layers[index : run[-1] + 1]:
        sources = {twins.maker[name].index for name in layer.reads if name in twins.maker}
        if sources & ahead:
            ahead.add(layer.index)
    return bool(ahead & set(run))


def _first(item: LayerFigures, measured: Measured, finding: Finding) -> dict[str, Any]:
    return {
        "node": item.layer.name,
        "op": item.layer.op,
        "position": item.layer.index,
        "of": len(measured.figures),
        "accumulated_db": _round(item.accumulated.db),
        "isolated_db": _round(own_db(item)),
        "alone_db": _round(item.alone_db),
        "cause": finding.to_json(),
    }


def _row(item: LayerFigures, measured: Measured, finding: Finding | None) -> dict[str, Any]:
    layer, seen = item.layer, item.output_range
    grid = seen.grid
    return {
        "position": layer.index,
        "node": layer.name,
        "op": layer.op,
        "nodes": len(layer.nodes),
        "int8": layer.int8,
        "rounds": layer.quantized,
        "reads": list(layer.reads),
        "output": layer.outputs[0],
        "value": layer.handed_on[layer.outputs[0]],
        "accumulated_db": _round(item.accumulated.db),
        "accumulated_lsb": None if grid is None else _round(item.accumulated.rms / grid.step),
        "isolated_db": None if item.isolated is None else _round(item.isolated.db),
        "lowering": None,
        "alone_db": _round(item.alone_db),
        "weights_db": _round(item.parts.weights_db),
        "inputs_db": _round(item.parts.inputs_db),
        "output_db": _round(item.parts.output_db),
        "low": _round(seen.low),
        "high": _round(seen.high),
        "grid": None if grid is None else {"low": grid.low, "high": grid.high, "step": grid.step, "steps": grid.steps},
        "steps_used": None if grid is None else seen.steps_used,
        "clipped_share": None if grid is None else float(f"{seen.clipped_share:.4g}"),
        "channels": item.accumulated.moving,
        "dead_channels": list(item.isolated.dead[:16]) if item.isolated is not None else [],
        "dead_share": 0.0
        if item.isolated is None
        else float(f"{len(item.isolated.dead) / max(item.accumulated.moving, 1):.4g}"),
        "cause": None if finding is None else finding.to_json(),
    }


def _unseen(twins: Twins, measured: Measured) -> list[str]:
    """Nodes of the float model that no tensor of the twin could be compared with."""
    seen = {node.name for index in measured.figures for node in twins.layers[index].nodes}
    return [
        str(node.name)
        for node in twins.floats.nodes
        if node.name not in seen and any(twins.floats.is_float(name) for name in node.output)
    ]


def _histograms(close: CloseLook, measured: Measured, looked_at: Sequence[int]) -> list[dict[str, Any]]:
    """Of the worst tensors that are rounded: counts, the axis, the grid."""
    found = []
    order = sorted(looked_at, key=lambda i: (measured.figures[i].alone_db or 0.0, i))
    for index in order:
        item = measured.figures[index]
        name = next((n for n in item.layer.outputs if n in close.histograms), None)
        grid = item.output_range.grid
        if name is None or grid is None:
            continue
        low, high = span(item.output_range)
        found.append(
            {
                "tensor": name,
                "node": item.layer.name,
                "counts": [int(count) for count in close.histograms[name]],
                "low": low,
                "high": high,
                "seen": [_round(item.output_range.low), _round(item.output_range.high)],
                "grid": {"low": grid.low, "high": grid.high, "step": grid.step},
                "clipped_share": float(f"{item.output_range.clipped_share:.4g}"),
                "steps_used": item.output_range.steps_used,
            }
        )
    return found[:SHOWN_HISTOGRAMS]


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def total_cost(graph: Graph) -> int:
    """Multiply-accumulates of one run."""
    return sum(macs(graph).values())
