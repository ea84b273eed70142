"""What all targets share: the model as read, simplified and in its normal form, the samples, the user's metric."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgec.calibration_data.sources import open_source, random_source, spool
from edgec.contract import Contract
from edgec.errors import CalibrationDataError, UsageError
from edgec.metric.request import MetricRequest
from edgec.onnx_graph.untrusted import ModelFiles, scan
from edgec.recipes import CalibrationRecipe, load_recipe
from edgec.result import CalibrationFacts, ModelFacts
from edgec.samples import SampleSource
from edgec.spec import BuildSpec, is_random
from edgec.stage import as_pairs
from edgec.stage_runner import StageRunner
from edgec.stages import canonicalize, ingest, metric, simplify
from edgec.store import Entry

_RANDOM_SAMPLES = 16

_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"} | {
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
}
"""Operators of models that come quantized."""


@dataclass(frozen=True)
class Front:
    """What all targets share: the model as read, simplified and brought into its normal form, and the samples.

    spec: as the user gave it; that of one way to an artifact may name a backend where this one does not.
    """

    spec: BuildSpec
    runner: StageRunner
    files: ModelFiles
    facts: ModelFacts
    ingested: Entry
    simplified: Entry
    canonical: Entry
    samples: SampleSource | None
    calibration: CalibrationFacts | None
    recipe: dict[str, Any] | None
    came_quantized: bool
    metric: MetricRequest | None
    measured: Entry | None

    @classmethod
    def open(cls, spec: BuildSpec, runner: StageRunner, scratch: Path) -> Front:
        files = scan(spec.model)
        shapes = tuple(sorted((name, tuple(shape)) for name, shape in spec.shapes.items()))
        ingested = runner.run(
            ingest.STAGE,
            {"model": (files.digest, spec.model)},
            ingest.IngestParams(shapes=shapes, state=as_pairs(spec.state), digest=files.digest),
            even_if_foreseeing=True,  # reading is quick, and a plan for a model that can't be read is worth nothing
        )
        contract = Contract.from_json(ingested.read_json("contract.json"))
        seen = ingested.read_json("ingest.json")
        came_quantized = not _QUANTIZED.isdisjoint(seen["ops"])
        if came_quantized:
            spec.refuse_what_only_float_models_have()
        samples = _open_samples(spec, contract, scratch, needed=_needs_data(spec) and not came_quantized)
        calibration = None if samples is None else _describe(spec.calibration, samples)
        for text in () if samples is None else samples.notes:
            runner.note("samples", text, "warning" if is_random(spec.calibration) else "info")
        recipe = load_recipe(spec.recipe) if spec.recipe else None
        asked = _open_metric(spec, contract, recipe)
        measured = None
        if asked is not None:
            measured = runner.run(
                metric.STAGE,
                {
                    "ingested": ingested,
                    "samples": None if samples is None or asked.evaluation is not None else (samples.digest, samples),
                    "request": (asked.digest, asked),
                },
                metric.MetricParams(state=as_pairs(spec.state)),
                detail=asked.name,
            )
        enabled = spec.simplify and not came_quantized  # folding constants would undo the quantization of weights
        simplified = runner.run(simplify.STAGE, {"ingested": ingested}, simplify.SimplifyParams(enabled=enabled))
        extent: canonicalize.Extent = "none" if came_quantized else "all" if spec.simplify else "needed"
        params = canonicalize.CanonicalizeParams(extent)
        canonical = runner.run(canonicalize.STAGE, {"simplified": simplified}, params)
        size = sum(path.stat().st_size for path in files.files)
        facts = ModelFacts(spec.artifact_name, str(spec.model), files.digest, size, seen["macs"], seen["parameters"])
        return cls(
            spec,
            runner,
            files,
            facts,
            ingested,
            simplified,
            canonical,
            samples,
            calibration,
            recipe.to_json() if recipe is not None else None,
            came_quantized,
            asked,
            measured,
        )


def _needs_data(spec: BuildSpec) -> bool:
    """Whether nothing can be built without: a search leaves INT8 out then, if it has anything else to try."""
    return all(precision == "int8" for precision in spec.search or (spec.precision,))


def _describe(data: Any, samples: SampleSource) -> CalibrationFacts:
    kind: Literal["files", "random", "arrays"] = "arrays"
    if isinstance(data, Path):
        kind = "files"
    elif is_random(data):
        kind = "random"
    return CalibrationFacts(kind, str(data) if isinstance(data, Path) else kind, len(samples), samples.digest)


def _open_samples(spec: BuildSpec, contract: Contract, scratch: Path, *, needed: bool) -> SampleSource | None:
    """The samples that the specification names; None when it names none and none are needed.

    An iterable is written to `scratch` first, one sample at a time: several stages will want to read it.
    """
    data = spec.calibration
    if data is None:
        if needed:
            raise UsageError(
                "INT8 needs calibration data, and none was given",
                "Ranges of activations can only be learned by running the model on data like that of its later use.",
                "Add --calib PATH (a folder of images or of .npy files), or build with --precision float. "
                "--calib random exists for trying things out; its accuracy means nothing.",
            )
        return None
    if is_random(data):
        return random_source(contract, min(_RANDOM_SAMPLES, spec.max_samples or _RANDOM_SAMPLES), 0, spec.state)
    recipe = load_recipe(spec.recipe) if spec.recipe else None
    if isinstance(data, Path):
        return open_source(data, contract, recipe, dict(spec.state), spec.max_samples)
    if recipe is not None:
        raise UsageError(
            "A preprocessing recipe does not apply to samples that are given as arrays",
            "An iterable yields what the model takes, after preprocessing.",
            "Leave preprocess out, or give the path of a folder of images.",
        )
    return spool(data, contract, scratch, dict(spec.state), spec.max_samples)


def _open_metric(spec: BuildSpec, contract: Contract, recipe: CalibrationRecipe | None) -> MetricRequest | None:
    """The user's metric with its labels and its data, where one was asked for."""
    if spec.metric is None:
        return None
    evaluation = None
    if spec.evaluation is not None:
        try:
            evaluation = open_source(spec.evaluation, contract, recipe, dict(spec.state))
        except CalibrationDataError as error:  # whose words are for the data of another flag
            raise CalibrationDataError(
                error.what, error.why, error.fix.replace("--calib", "--eval"), error.details
            ) from error
    return MetricRequest.of(spec.metric, spec.labels, evaluation, spec.max_drop)
