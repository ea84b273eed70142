"""Running the original, the quantized reference and the payload side by side on held-out samples.

Each of them carries its own state through a recurrent model, as it would in use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgec.backends.base import Precision
from edgec.contract import Contract
from edgec.events import Listener, Progress
from edgec.metric.measure import Measure
from edgec.metric.request import MetricRequest
from edgec.parity.executed_share import executed_int8_share, judge_executed_share
from edgec.parity.gates import Verdict, eased, judge, together
from edgec.parity.lowering import judge_float, judge_payload, judge_smaller_weights
from edgec.parity.metrics import Comparer, OutputComparison
from edgec.parity.payload import open_lowered
from edgec.parity.thresholds import Gate
from edgec.reference import Reference
from edgec.runtime.golden import write_golden
from edgec.samples import Sample, SampleSource, feeds_of_steps, held_out

if TYPE_CHECKING:
    from edgec.stages.validate import ValidateParams

_REFERENCES = {"int8-weights": "weights.onnx", "fp16": "weights.onnx"}
"""What a payload is lowered from, where that is not the quantized graph."""

PROBES = 8
GOLDEN_SAMPLES = 3
GOLDEN_BYTES = 1_000_000
"""Golden samples after the first stop here, and so do steps after a sample's first."""

Feeds = Mapping[str, np.ndarray]
Steps = list[tuple[Feeds, dict[str, np.ndarray]]]
Runner = Callable[[Feeds], dict[str, np.ndarray]]


def validate(
    ingested: Path,
    quantized: Path | None,
    lowered: Path,
    samples: SampleSource | None,
    metric: MetricRequest | None,
    measured: Path | None,
    params: ValidateParams,
    executed: bool,
    out: Path,
    stage: str,
    emit: Listener,
) -> dict[str, Any]:
    """The document parity.json; writes golden.npz to `out`. See `edgec.stages.validate.run` for the arguments."""
    contract = Contract.read(ingested)
    state = dict(params.state)
    steps = _output_steps(contract, quantized)
    original = Reference(ingested / "model.onnx").run
    reference = Reference(quantized / _REFERENCES.get(params.precision, "qdq.onnx"), "none").run if quantized else None
    payload = open_lowered(lowered) if executed else None
    source, note = _samples(samples, contract, state)
    measure = None
    if metric is not None:
        known = None if measured is None else float(_read(measured / "metric.json")["original"])
        measure = Measure(metric, samples, contract, state, ingested / "model.onnx", known=known)

    quantization, lowering, total = (Comparer(steps, state) for _ in range(3))
    golden = _Golden(len(source))
    for index, sample in enumerate(source):
        emit(Progress(stage, index, len(source), "samples"))
        expected = list(feeds_of_steps(sample, contract, state, original))
        fake = list(feeds_of_steps(sample, contract, state, reference)) if reference else None
        real = list(feeds_of_steps(sample, contract, state, payload)) if payload else None
        if fake is not None:
            _add(quantization, expected, fake)
        if real is not None:
            _add(lowering, fake or expected, real)
            _add(total, expected, real)
        golden.offer(index, real or fake or expected)
    emit(Progress(stage, len(source), len(source), "samples"))

    write_golden(out / "golden.npz", golden.kept, steps)
    results = [comparer.result() for comparer in (quantization, lowering, total)]
    share = executed_int8_share(_read(lowered / "lower.json")["facts"]) if quantized else None
    gate = Gate.from_overrides(params.gate)

    def judged(by: Gate) -> Verdict:
        verdict = _verdict(results, by, params.precision, reference is not None, payload is not None)
        return together(verdict, judge_executed_share(share, by))

    verdict = judged(gate)
    values = None
    if measure is not None:
        values, complaint = _measured(measure, reference, payload)
        if measure.request.max_drop is not None:
            relaxed = judged(gate.relaxed(name for name, _ in params.gate))
            verdict = together(eased(verdict, relaxed), Verdict(not complaint, tuple(complaint), ()))
    return {
        "passed": verdict.passed,
        "runner": "native" if executed else "none",
        "quantization": _section(results[0]),
        "lowering": _section(results[1]),
        "total": _section(results[2]),
        "metric": values,
        "executed_int8": share,
        "failures": list(verdict.failures),
        "warnings": list(verdict.warnings),
        "samples": len(source),
        "golden": {"samples": len(golden.kept), "outputs_of": "payload" if payload else "reference"},
        "note": note,
    }


def _verdict(
    results: Sequence[Sequence[OutputComparison]], gate: Gate, precision: Precision, quantizes: bool, executed: bool
) -> Verdict:
    """The gate's verdict on the outputs. results: quantization, lowering, total."""
    quantization, lowering, total = results
    if quantizes and precision in _REFERENCES:
        if not executed:
            lowering = total = ()
        return judge_smaller_weights(quantization, lowering, total, gate, precision)
    if not executed:  # all that can be judged here is the reference
        return judge(quantization, gate) if quantizes else Verdict(True, (), ())
    if not quantizes:
        return judge_float(total, gate)
    verdict, costs = judge_payload(quantization, total, gate)
    return together(verdict, Verdict(True, (), tuple(costs)))


def _measured(
    measure: Measure, reference: Runner | None, payload: Runner | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The user's metric of all that was made, and why it refuses, if it does."""
    of = {"reference": reference, "artifact": payload}
    values = {side: None if run is None else measure.of(run) for side, run in of.items()}
    last = values["reference"] if values["artifact"] is None else values["artifact"]
    document = {
        "name": measure.request.name,
        "original": measure.original,
        **values,
        "drop": None if last is None else measure.drop(last),
        "max_drop": measure.request.max_drop,
        "samples": len(measure),
        "labels": None if measure.request.labels is None else str(measure.request.labels),
        "evaluation": "own" if measure.request.evaluation is not None else "held out",
    }
    return document, () if last is None else measure.complaints(last)


def _output_steps(contract: Contract, quantized: Path | None) -> dict[str, float]:
    """The quantization step of each output that has one."""
    if quantized is None or not (quantized / "qparams.json").exists():
        return {}
    tensors = _read(quantized / "qparams.json")["tensors"]
    names = (spec.name for spec in contract.outputs)
    return {name: float(tensors[name]["scale"]) for name in names if name in tensors}


def _samples(samples: SampleSource | None, contract: Contract, state: Mapping[str, str]) -> tuple[_Source, str]:
    """What to run on, and what must be said about it."""
    if samples is not None:
        return _Source(samples, held_out(len(samples))[1]), ""
    from edgec.calibration_data.sources import random_source

    return _Source(random_source(contract, PROBES, 0, state), list(range(PROBES)), in_a_row=bool(state)), (
        f"No samples were given: the artifact was compared on {PROBES} random inputs, which shows that it computes the "
        "same, not that the model makes sense."
    )


class _Source:
    """The samples to judge by, read one at a time; `in_a_row` makes one sequence of them."""

    def __init__(self, samples: SampleSource, indices: list[int], in_a_row: bool = False) -> None:
        self._samples = samples
        self._indices = indices
        self._in_a_row = in_a_row

    def __len__(self) -> int:
        return 1 if self._in_a_row else len(self._indices)

    def __iter__(self) -> Iterator[Sample]:
        samples = self._samples.read(self._indices)
        if self._in_a_row:
            samples = iter([Sample("in a row", tuple(step for sample in samples for step in sample.steps))])
        return samples


class _Golden:
    """The few samples that travel in the artifact: the first, the middle and the last, as far as there is room."""

    def __init__(self, count: int) -> None:
        self._wanted = sorted({0, count // 2, count - 1})[:GOLDEN_SAMPLES]
        self._bytes = 0
        self.kept: list[Steps] = []

    def offer(self, index: int, steps: Steps) -> None:
        if index not in self._wanted:
            return
        kept: Steps = []
        for feeds, outputs in steps:
            size = sum(array.nbytes for array in (*feeds.values(), *outputs.values()))
            if self._bytes + size > GOLDEN_BYTES and (kept or self.kept):
                break
            self._bytes += size
            kept.append((feeds, outputs))
        if kept:
            self.kept.append(kept)


def _add(comparer: Comparer, expected: Steps, actual: Steps) -> None:
    for (_, before), (_, after) in zip(expected, actual, strict=True):
        comparer.add(before, after)


def _section(results: Sequence[OutputComparison]) -> dict[str, Any]:
    return {"outputs": [item.to_json() for item in results]}


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
