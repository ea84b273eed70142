"""What the stage `diagnose` does in its worker: opens what is there, runs it, and puts the findings together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.contract import Contract
from edgec.diagnosis.document import Case, diagnose, judged_samples, total_cost
from edgec.diagnosis.findings import CAUSES, Finding
from edgec.diagnosis.float_counterpart import float_counterpart
from edgec.diagnosis.intermediates import compare_intermediates, shows_what_it_ships
from edgec.errors import CalibrationDataError
from edgec.events import Listener, Progress
from edgec.onnx_graph.graph import Graph, load_model
from edgec.parity.executed_samples import affordable
from edgec.parity.gates import judge
from edgec.parity.metrics import Comparer, OutputComparison
from edgec.parity.payload import Payload, Runner, loaded
from edgec.parity.thresholds import Gate
from edgec.quantization import statistics
from edgec.reference import Reference
from edgec.samples import Sample, SampleSource, feeds_of_steps

if TYPE_CHECKING:
    from edgec.emulator.machine import Machine
    from edgec.stages.diagnose import DiagnoseParams

COMPARED = 128
"""Samples that the model's outputs are compared on; single layers are looked at on fewer."""

CLOSE = 30.0
"""An engine that lies this many dB from its reference only rounds otherwise here and there."""


def examine(
    ingested: Path,
    floats: Path,
    quantized: Path | None,
    calibrated: Path | None,
    lowered: Path | None,
    artifact: Path | None,
    samples: SampleSource,
    evaluation: SampleSource | None,
    params: DiagnoseParams,
    machine: Machine | None,
    out: Path,
    stage: str,
    emit: Listener,
) -> dict[str, Any]:
    """The document diagnosis.json. See `edgec.stages.diagnose.run` for the arguments.

    machine: the emulated device that the parameters name.
    """
    contract = Contract.read(ingested)
    state = dict(params.state)
    gate = Gate.from_overrides(params.gate)
    twin = None if quantized is None else load_model(quantized / "qdq.onnx")
    model = float_counterpart(twin) if params.given and twin is not None else load_model(floats / "model.onnx")
    graph = Graph(model)
    judged = judged_samples(evaluation or samples, evaluation is not None, total_cost(graph))
    if not judged:
        raise CalibrationDataError(
            "There are no samples to diagnose with",
            "None were given, and without running the model nothing can be seen.",
            "Name a folder with data like that of the application: --calib PATH.",
        )
    notes = []
    if params.given:
        notes.append(
            "The model came quantized. Its float counterpart is the same model without its Q/DQ nodes: what its "
            "weights were before they were rounded can't be told."
        )
    document: dict[str, Any] = {"layers": [], "causes": [], "first": None, "smallest": None, "histograms": []}
    if twin is not None:
        case = Case(graph, Graph(twin), contract, judged, state, _learned(calibrated), gate, params.name)
        document = diagnose(case, out, lambda done, total: emit(Progress(stage, done, total, "runs")))
    payload = None
    if artifact is not None:
        payload = Payload.of_artifact(artifact)
    elif lowered is not None:
        payload = Payload.of_lowered(lowered)
    if payload is not None and not params.execution.executes:
        notes.append(f"The payload was not executed: {params.execution.reason}.")
        payload = None
    original = model.SerializeToString() if params.given else ingested / "model.onnx"
    reference = Reference(quantized / "qdq.onnx", "none").run if quantized is not None else None
    cost = total_cost(graph)
    compared = judged_samples(evaluation or samples, evaluation is not None, cost, COMPARED)
    if payload is not None and machine is not None:
        compared = compared[: affordable(cost, len(compared[0].steps))]
        notes.append(
            f"The payload ran on {machine.label}, an emulated device: the outputs were compared on "
            f"{len(compared)} samples, and the engine's inner tensors were not."
        )
    runs = sum(len(sample.steps) for sample in compared)
    with ExitStack() as stack:
        ran = None if payload is None else stack.enter_context(loaded(payload, machine, out, cost))
        loss, findings = _split(
            _watched(compared, lambda done: emit(Progress(stage, done, runs, "runs", detail="comparing the outputs"))),
            contract,
            state,
            gate,
            Reference(original).run,
            reference,
            None if ran is None else ran.run,
            artifact is None or params.same_build,
        )
    lowering = None
    shown = payload is not None and machine is None
    if shown and lowered is not None and (_worth_a_look(loss) or shows_what_it_ships(lowered)):
        against = quantized / "qdq.onnx" if quantized is not None else floats / "model.onnx"
        lowering = compare_intermediates(
            lowered,
            against,
            judged,
            contract,
            state,
            lambda done, total: emit(Progress(stage, done, total, "tensors", detail="comparing inside the engine")),
        )
        notes += lowering.pop("notes")
        _beside_the_layers(document["layers"], lowering)
    loss["samples"] = len(compared)
    document["causes"] = [*[finding.to_json() for finding in findings], *document["causes"]]
    document.update(
        {
            "loss": loss,
            "lowering": lowering,
            "samples": len(judged),
            "judged_on": "the evaluation data" if evaluation is not None else "samples that calibration did not see",
            "notes": notes,
            "table": {key: cause.title for key, cause in CAUSES.items()},
        }
    )
    if "outputs" not in document:
        document.update(outputs=loss["total"] or [], passed=loss["passed"], failures=loss["failures"], total_db=None)
    if document["passed"] and not loss["passed"]:  # the reference holds, what ships does not
        document.update(passed=False, failures=loss["failures"])
    if params.given:
        _as_remedies_of_the_float_model(document)
    document["healthy"] = not document["causes"] and bool(document["passed"])
    return document


def _beside_the_layers(layers: Sequence[dict[str, Any]], lowering: Mapping[str, Any]) -> None:
    """Put what lowering costs beside what quantization costs: in each layer, its tensor's error in the payload, or the
    node within whose kernel the tensor stays."""
    rows = {name: row for row in lowering["tensors"] for name in (row["name"], row["value"])}
    figures = ("name", "sqnr_db", "step", "max_lsb", "rms_lsb", "unequal_share")
    for layer in layers:
        row = rows.get(layer["value"]) or rows.get(layer["output"])
        within = lowering["within"].get(layer["value"]) or lowering["within"].get(layer["output"])
        if row is not None:
            layer["lowering"] = {key: row[key] for key in figures}
        elif within is not None:
            layer["lowering"] = {"within": within}


def _as_remedies_of_the_float_model(document: Any) -> None:
    """A model that came quantized takes no flags that change its quantization: they are of use for the float model."""
    if isinstance(document, dict):
        remedy = document.get("remedy")
        if isinstance(remedy, str) and any(f"--{flag} " in remedy for flag in ("force", "profile", "keep-float")):
            document["remedy"] = f"Quantize it otherwise with the tool that made it, or build its float model: {remedy}"
    for value in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        _as_remedies_of_the_float_model(value)


def _learned(calibrated: Path | None) -> Mapping[str, statistics.TensorStatistics]:
    return {} if calibrated is None else statistics.load(calibrated / "statistics.npz")


def _watched(samples: Sequence[Sample], on_runs: Callable[[int], None]) -> Iterator[Sample]:
    """The samples, and word of how many runs those took that were asked for before."""
    done = 0
    for sample in samples:
        on_runs(done)
        yield sample
        done += len(sample.steps)
    on_runs(done)


def _split(
    samples: Iterable[Sample],
    contract: Contract,
    state: Mapping[str, str],
    gate: Gate,
    original: Runner,
    reference: Runner | None,
    payload: Runner | None,
    same_build: bool,
) -> tuple[dict[str, Any], list[Finding]]:
    """Where the loss is: in quantization (original against reference), or in lowering (reference against payload).

    same_build: whether the payload was made from the reference. If not, what lies between them is not lowering.
    """
    quantization, lowering, total = (Comparer(state=state) for _ in range(3))
    for sample in samples:
        expected = [outputs for _, outputs in feeds_of_steps(sample, contract, state, original)]
        fake = [o for _, o in feeds_of_steps(sample, contract, state, reference)] if reference else None
        real = [o for _, o in feeds_of_steps(sample, contract, state, payload)] if payload else None
        for index, outputs in enumerate(expected):
            if fake is not None:
                quantization.add(outputs, fake[index])
            if real is not None:
                if same_build:
                    lowering.add(fake[index] if fake is not None else outputs, real[index])
                total.add(outputs, real[index])
    results = [comparer.result() for comparer in (quantization, lowering, total)]
    last = results[2] or results[0]
    verdict = judge(last, gate)
    quantization_db, lowering_db, total_db = (_worst(result) for result in results)
    where = "none" if verdict.passed else "quantization" if quantization_db is not None else "lowering"
    findings = []
    if not same_build and total_db is not None and not verdict.passed and results[0] and judge(results[0], gate).passed:
        where = "artifact"
        findings.append(
            Finding(
                "other-build",
                None,
                f"the artifact lies {total_db:.1f} dB from the original, the quantized model that was made again "
                f"{quantization_db:.1f} dB: it was built with other data, flags or versions of tools",
                {"artifact_db": total_db, "quantization_db": quantization_db},
            )
        )
    if lowering_db is not None and not verdict.passed and (quantization_db is None or judge(results[0], gate).passed):
        where = "lowering"
        findings.append(
            Finding(
                "lowering",
                None,
                f"the engine's results lie {lowering_db:.1f} dB from those of the same model in ONNX Runtime",
                {"lowering_db": lowering_db, "quantization_db": quantization_db},
            )
        )
    return {
        "where": where,
        "quantization_db": quantization_db,
        "lowering_db": lowering_db,
        "total_db": total_db,
        "passed": verdict.passed,
        "failures": list(verdict.failures),
        "warnings": list(verdict.warnings),
        "total": [item.to_json() for item in results[2]],
    }, findings


def _worth_a_look(loss: Mapping[str, Any]) -> bool:
    """Whether the engine's inner tensors may tell something: where it is at fault, or not as close as it could be."""
    level = loss["lowering_db"]
    return loss["where"] == "lowering" or loss["quantization_db"] is None or (level is not None and level < CLOSE)


def _worst(items: Sequence[OutputComparison]) -> float | None:
    """SQNR of the worst output that is neither a state nor integers, where there is one."""
    values = [item for item in items if item.kind != "integer"]
    values = [item for item in values if item.kind != "state"] or values
    return min((float(f"{item.sqnr_db:.6g}") for item in values), default=None)
