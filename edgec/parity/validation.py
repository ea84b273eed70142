"""Running the original, the quantized reference and the payload side by side on held-out samples.

Each of them carries its own state through a recurrent model, as it would in use.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgec.backends.base import Precision
from edgec.contract import Contract
from edgec.events import Listener, Progress
from edgec.metric.artifact import Executed
from edgec.metric.artifact import measured as measured_by
from edgec.metric.measure import Measure
from edgec.metric.request import MetricRequest
from edgec.parity.calibration_profile import MOST_SAMPLES, Profiler
from edgec.parity.executed_samples import affordable, golden, spread
from edgec.parity.executed_share import executed_int8_share, judge_executed_share
from edgec.parity.gates import Verdict, eased, judge, together
from edgec.parity.lowering import judge_float, judge_in_part, judge_payload, judge_smaller_weights
from edgec.parity.metrics import Comparer, OutputComparison
from edgec.parity.payload import Loaded, Payload, Runner, loaded
from edgec.parity.thresholds import Gate
from edgec.reference import Reference
from edgec.runtime.golden import write_golden
from edgec.samples import Sample, SampleSource, feeds_of_steps, held_out

if TYPE_CHECKING:
    from edgec.emulator.machine import Machine
    from edgec.stages.validate import ValidateParams

_REFERENCES = {"int8-weights": "weights.onnx", "fp16": "weights.onnx"}
"""What a payload is lowered from, where that is not the quantized graph."""

PROBES = 8
PROFILED_MACS = 20e9
"""What samples cost that are only run to know the data better, besides those that judge: a second or two."""

GOLDEN_BYTES = 1_000_000
"""Golden samples after the first stop here, and so do steps after a sample's first."""

Feeds = Mapping[str, np.ndarray]
Steps = list[tuple[Feeds, dict[str, np.ndarray]]]


def validate(
    ingested: Path,
    quantized: Path | None,
    lowered: Path,
    samples: SampleSource | None,
    metric: MetricRequest | None,
    measured: Path | None,
    params: ValidateParams,
    machine: Machine | None,
    out: Path,
    stage: str,
    emit: Listener,
) -> dict[str, Any]:
    """The document parity.json; writes golden.npz and profile.json to `out`. For the arguments, see
    `edgec.stages.validate.run`.

    machine: the emulated device that the parameters name.
    """
    contract = Contract.read(ingested)
    state = dict(params.state)
    source, note = _samples(samples, contract, state)
    measure = None
    if metric is not None:
        known = None if measured is None else float(_read(measured / "metric.json")["original"])
        measure = Measure(metric, samples, contract, state, ingested / "model.onnx", known=known)
    macs = int(_read(ingested / "ingest.json")["macs"])
    original = Reference(ingested / "model.onnx").run
    reference = Reference(quantized / _REFERENCES.get(params.precision, "qdq.onnx"), "none").run if quantized else None
    steps = _output_steps(contract, quantized)
    with contextlib.ExitStack() as stack:
        payload: Loaded | None = None
        if params.execution.executes:
            payload = stack.enter_context(loaded(Payload.of_lowered(lowered), machine, out, macs))
        most = affordable(macs, source.steps) if machine is not None else len(source)
        executed = spread(len(source), most) if payload is not None else []
        compared = _Compared(steps, state, len(executed), len(source))
        kept = _Golden(len(source))
        profiler = Profiler(contract, state)
        everywhere = len(executed) == len(source)
        outputs: list[Any] = []  # of the payload, one entry a sample, as a metric takes them
        for index, sample in enumerate(source):
            emit(Progress(stage, index, len(source), "samples"))
            expected = list(feeds_of_steps(sample, contract, state, original))
            fake = list(feeds_of_steps(sample, contract, state, reference)) if reference else None
            real = list(feeds_of_steps(sample, contract, state, payload.run)) if payload and index in executed else None
            compared.add(expected, fake, real)
            kept.offer(index, real or fake or expected)
            profiler.add((real if everywhere else None) or fake or expected)
            if real is not None and measure is not None and measure.is_on_held_out:
                outputs.append([found for _, found in real] if state else real[0][1])
        emit(Progress(stage, len(source), len(source), "samples"))
        write_golden(out / "golden.npz", kept.kept, steps)
        if samples is not None and payload is not None and machine is None:
            for sample in samples.read(_more(len(samples), macs, source.steps)):
                profiler.add(list(feeds_of_steps(sample, contract, state, payload.run)))
        _write_profile(out, profiler, everywhere, note)
        values = None
        if measure is not None:
            ran = None
            if payload is not None and measure.is_on_held_out:
                ran = Executed(executed, lambda: outputs)
            elif payload is not None:
                ran = _on_evaluation(measure, payload.run, most if machine is not None else len(measure))
            values = measured_by(measure, reference, ran)

    share = executed_int8_share(_read(lowered / "lower.json")["facts"]) if quantized else None
    gate = Gate.from_overrides(params.gate)

    def judged(by: Gate) -> Verdict:
        verdict = _verdict(compared, by, params.precision, reference is not None)
        return together(verdict, judge_executed_share(share, by))

    verdict = judged(gate)
    if values is not None:
        if values.document["max_drop"] is not None:
            verdict = eased(verdict, judged(gate.relaxed(name for name, _ in params.gate)))
        verdict = together(verdict, Verdict(not values.complaints, values.complaints, values.warnings))
    return {
        "passed": verdict.passed,
        "runner": params.execution.label,
        "emulator": params.execution.emulator,
        "not_executed": params.execution.reason,
        "engine_version": payload.version if payload else None,
        "idle_accelerator": _idle_accelerator(params, payload),
        "quantization": _section(compared.quantization),
        "quantization_executed": _section(compared.part) if compared.executed and not compared.whole else None,
        "lowering": _section(compared.lowering),
        "total": _section(compared.total),
        "metric": values.document if values is not None else None,
        "executed_int8": share,
        "failures": list(verdict.failures),
        "warnings": list(verdict.warnings),
        "samples": len(source),
        "executed_samples": len(executed),
        "golden": {"samples": len(kept.kept), "outputs_of": "payload" if payload else "reference"},
        "note": note,
    }


class _Compared:
    """The comparisons, output by output.

    part: quantization on the samples that the payload was executed on, where these are not all.
    executed: how many they are, of how many.
    """

    def __init__(self, steps: Mapping[str, float], state: Mapping[str, str], executed: int, of: int) -> None:
        self.executed = executed
        self.of = of
        self._comparers = {name: Comparer(steps, state) for name in ("quantization", "part", "lowering", "total")}

    def add(self, expected: Steps, fake: Steps | None, real: Steps | None) -> None:
        """One sample's steps of the original, the reference and the payload, where there are those."""
        if fake is not None:
            self._add("quantization", expected, fake)
        if real is None:
            return
        if fake is not None and not self.whole:
            self._add("part", expected, fake)
        self._add("lowering", fake or expected, real)
        self._add("total", expected, real)

    @property
    def whole(self) -> bool:
        """Whether the payload was executed on all samples."""
        return self.executed == self.of

    @cached_property
    def quantization(self) -> list[OutputComparison]:
        return self._comparers["quantization"].result()

    @cached_property
    def part(self) -> list[OutputComparison]:
        return self._comparers["part"].result()

    @cached_property
    def lowering(self) -> list[OutputComparison]:
        return self._comparers["lowering"].result()

    @cached_property
    def total(self) -> list[OutputComparison]:
        return self._comparers["total"].result()

    def _add(self, name: str, expected: Steps, actual: Steps) -> None:
        for (_, before), (_, after) in zip(expected, actual, strict=True):
            self._comparers[name].add(before, after)


def _verdict(compared: _Compared, gate: Gate, precision: Precision, quantizes: bool) -> Verdict:
    """The gate's verdict on the outputs."""
    if quantizes and precision in _REFERENCES:
        total = compared.total if compared.whole else ()
        return judge_smaller_weights(compared.quantization, compared.lowering, total, gate, precision)
    if not compared.executed:  # all that can be judged here is the reference
        return judge(compared.quantization, gate) if quantizes else Verdict(True, (), ())
    if not quantizes:
        return judge_float(compared.total, gate)
    if compared.whole:
        verdict, costs = judge_payload(compared.quantization, compared.total, gate)
    else:
        verdict, costs = judge_in_part(compared.quantization, compared.part, compared.total, gate, compared.executed)
    return together(verdict, Verdict(True, (), tuple(costs)))


def _more(count: int, macs: int, steps: int) -> list[int]:
    """Samples for the profile besides those that are held out, drawn by chance, always the same."""
    known, judges = held_out(count)
    most = max(0, min(MOST_SAMPLES - len(judges), int(PROFILED_MACS // max(1, macs * steps))))
    spare = sorted(set(known) - set(judges))
    return sorted(random.Random(3).sample(spare, min(most, len(spare))))


def _write_profile(out: Path, profiler: Profiler, of_payload: bool, why_none: str) -> None:
    document = profiler.document("payload" if of_payload else "reference", why_none)
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    (out / "profile.json").write_bytes(text.encode("utf-8", "backslashreplace"))


def _on_evaluation(measure: Measure, run: Runner, most: int) -> Executed:
    """The payload on the metric's own samples; at most so many, drawn by chance, always the same."""
    positions = sorted(random.Random(2).sample(range(len(measure)), min(most, len(measure))))
    return Executed(positions, lambda: measure.some(positions).outputs(run))


def _idle_accelerator(params: ValidateParams, payload: Loaded | None) -> str | None:
    """What the target computes on beside its processor, and what was executed did not."""
    chip = params.target.accelerator
    if chip is None or payload is None or payload.accelerated:
        return None
    return chip.title


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

    @property
    def steps(self) -> int:
        """How often the model runs for the first sample."""
        return len(self._indices) if self._in_a_row else len(next(iter(self._samples.read(self._indices[:1]))).steps)

    def __iter__(self) -> Iterator[Sample]:
        samples = self._samples.read(self._indices)
        if self._in_a_row:
            samples = iter([Sample("in a row", tuple(step for sample in samples for step in sample.steps))])
        return samples


class _Golden:
    """The few samples that travel in the artifact: the first, the middle and the last, as far as there is room."""

    def __init__(self, count: int) -> None:
        self._wanted = golden(count)
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


def _section(results: Sequence[OutputComparison]) -> dict[str, Any]:
    return {"outputs": [item.to_json() for item in results]}


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
