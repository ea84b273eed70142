"""The order of the stages.

    scan -> ingest -> metric -> simplify -> canonicalize                  once; metric where one was asked for
         -> peaks -> analyze                                              for every target: what the model is like
                                                                          there; peaks of this machine only
         -> support -> calibrate -> quantize                              for every target: INT8 (quantize only, of a
                                                                          model that came quantized)
         -> compress                                                      or smaller weights; nothing for float
         -> tune                                                          where tiles of kernels are searched for
         -> lower -> validate -> pack -> measure
         -> count                                                         to choose among backends for a device that is
                                                                          not here

`build` walks it for every target, and for each of a target's backends where the user left that open; `plan` walks it
without working. Each step asks the store first. What a stage does is
the stage's own business; what is decided here is only which stage comes next, and what becomes of a verdict.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edgec import worker
from edgec.attempts import (
    Attempt,
    attempts,
    backend_of,
    described_as,
    is_tuned,
    known_tiles,
    profile_of,
    tuning_place,
    ways,
)
from edgec.backends import load_backend
from edgec.backends.base import Backend, Precision
from edgec.backends.support import (
    interface_of,
    profiles_of,
)
from edgec.backends.tvm.tuning import database
from edgec.calibration_data.sources import open_source, random_source, spool
from edgec.candidates import Candidate, keep
from edgec.contract import Contract
from edgec.cost import figures_of
from edgec.digest import digest_of
from edgec.errors import (
    CalibrationDataError,
    DeviceError,
    EdgecError,
    ParityGateError,
    ToolMissing,
    UsageError,
    as_edgec_errors,
)
from edgec.events import Listener, ignore
from edgec.graph_files import SUFFIX as GRAPH
from edgec.graph_files import graph_of, publish_graph
from edgec.metric.request import MetricRequest
from edgec.onnx_graph.untrusted import ModelFiles, scan
from edgec.outcome import Outcome
from edgec.output_folder import check_writable, describe_file, publish, write_whole
from edgec.parity.thresholds import Gate
from edgec.pruning import reason_among, reason_before
from edgec.recipes import CalibrationRecipe, load_recipe
from edgec.refusal import refusal
from edgec.result import ArtifactFile, BuildResult, CalibrationFacts, ModelFacts, StageRecord, TargetBuild
from edgec.runners import ssh
from edgec.runners.execution import Execution
from edgec.samples import SampleSource
from edgec.spec import BuildSpec, is_random
from edgec.stage_runner import NOT_MADE, StageRunner
from edgec.stages import (
    analyze,
    calibrate,
    canonicalize,
    compress,
    count,
    ingest,
    lower,
    measure,
    metric,
    pack,
    peaks,
    quantize,
    simplify,
    support,
    tune,
    validate,
)
from edgec.store import Entry, Store
from edgec.targets import Target, cpu_name, load_target

_RANDOM_SAMPLES = 16
FRONT = ".front"
"""What the folder is called beside an artifact that holds the others of its Pareto front."""

_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"} | {
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
}
"""Operators of models that come quantized."""


def build(spec: BuildSpec, *, store: Store | None = None, listener: Listener = ignore, jobs: int = 1) -> BuildResult:
    """Build `spec` for all its targets.

    Errors of one target do not stop the others: they are in its TargetBuild. An error that concerns all of them (the
    model, the specification, the calibration data) is raised.
    """
    with as_edgec_errors():
        store = store or Store.default()
        targets = _targets(spec)
        Gate.from_overrides(as_pairs(spec.gate))
        check_writable(spec.output)
        found = ways(spec, targets)
        with store.in_use(), store.scratch() as scratch:
            front = Front.open(spec, StageRunner(store, listener), scratch)
            builds = _each(lambda target: _build_target(target, front, found[target.name]), targets, jobs)
    return BuildResult(front.facts, builds)


def _targets(spec: BuildSpec) -> list[Target]:
    """The targets of `spec`. Raises UsageError for two descriptions of one name: their artifacts have one place."""
    targets: dict[str, tuple[str, Target]] = {}
    for asked in spec.targets:
        target = load_target(asked)
        if target.name in targets:
            raise UsageError(
                f"{targets[target.name][0]} and {asked} are both called {target.name!r}",
                "The name of the target is part of the artifact's: one would replace the other.",
                f'Change `name = "{target.name}"` in one of them, or build them into two folders (-o).',
            )
        targets[target.name] = asked, target
    return [target for _, target in targets.values()]


def _each(work: Callable[[Target], TargetBuild], targets: Sequence[Target], jobs: int) -> tuple[TargetBuild, ...]:
    """`work` for every target, up to `jobs` at a time; the threads only wait for worker processes."""
    if jobs == 1:
        return tuple(work(target) for target in targets)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            return tuple(pool.map(work, targets))
        except KeyboardInterrupt:
            with worker.interrupting():
                pool.shutdown(wait=True, cancel_futures=True)
            raise


@dataclass(frozen=True)
class Plan:
    """stages: what is to be done, and what is there. missing: targets that can't be built as things are, and why.

    candidates: of a search, by target: what would be tried, each with the reason if it can't be. What need not be
    built after all is only known from the figures of those before it.
    """

    stages: list[StageRecord]
    missing: dict[str, ToolMissing]
    candidates: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def plan(spec: BuildSpec, *, store: Store | None = None) -> Plan:
    """What `build` would do: every stage of every target, and whether its result is already there.

    The model is really read (so that what is wrong with it shows now); nothing else is run, and nothing is written to
    the output folder. Of a target whose emulator is missing, only the stages that all targets share are known.
    """
    with as_edgec_errors():
        store = store or Store.default()
        records: dict[str, StageRecord] = {}
        targets = _targets(spec)
        found = {target.name: attempts(spec, target) for target in targets}
        missing: dict[str, ToolMissing] = {}
        for target in targets:
            if isinstance(error := found[target.name][0].where, ToolMissing):
                missing[target.name] = error
            elif isinstance(error, EdgecError):
                raise error
        with store.in_use(), store.scratch() as scratch:
            front = Front.open(spec, StageRunner(store, ignore, foresee=True), scratch)
            for target in targets:
                runner = front.runner.for_target(target.name)
                analyzed(front, target, runner)
                for way in found[target.name]:
                    if not isinstance(way.where, Execution):
                        continue
                    path = TargetPath(way.spec, target, front, runner, way.spec.precision, way.where)
                    with contextlib.suppress(ParityGateError):  # known to fail: what comes after will not be reached
                        path.artifact()
                        if len(found[target.name]) > 1:
                            path.count()
                for record in runner.records:
                    records.setdefault(f"{record.key} {record.name} {record.detail}", record)
        candidates = {
            target.name: [(way.name, _impossible(way)) for way in found[target.name]]
            for target in targets
            if spec.search
        }
        return Plan(list(records.values()), missing, candidates)


@dataclass(frozen=True)
class Front:
    """What all targets share: the model as read, simplified and brought into its normal form, and the samples."""

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


@dataclass
class TargetPath:
    """The stages after the front, for one target; holds the results as far as it came.

    execution: where its payload is executed.
    gated: whether a gate that refuses stops the path. A diagnosis looks at what was refused, too.
    """

    spec: BuildSpec
    target: Target
    front: Front
    runner: StageRunner
    precision: Precision
    execution: Execution
    gated: bool = True
    calibrated: Entry | None = None
    quantized: Entry | None = None
    compressed: Entry | None = None
    tuned: Entry | None = None
    lowered: Entry | None = None
    validated: Entry | None = None
    packed: Entry | None = None
    measured: Entry | None = None
    counted: Entry | None = None

    def proof(self) -> None:
        """Run the stages up to the comparison with the original. Raises when a stage fails or a gate refuses."""
        backend = backend_of(self.spec, self.target)
        interface = interface_of(backend, self.spec.interface)
        front, spec = self.front, self.spec
        model, file = front.canonical, "model.onnx"
        if spec.precision == "int8":
            if not front.came_quantized:  # such a model is rewritten first, and lowering asks the same
                self.runner.run(
                    support.STAGE,
                    {"simplified": front.canonical},
                    support.SupportParams(backend, self.target),
                    detail=f"{backend} for {self.target.name}",
                )
            self._quantize(load_backend(backend))
            assert self.quantized is not None
            model, file = self.quantized, "qdq.onnx"
        elif spec.precision != "float":
            self.compressed = self.runner.run(
                compress.STAGE,
                {"model": model},
                compress.CompressParams(spec.precision, tuple(spec.keep_float)),
                detail=spec.precision,
            )
            model, file = self.compressed, compress.REFERENCE
        self._tune(model, file)
        self.lowered = self.runner.run(
            lower.STAGE,
            {"model": model, **({"tuned": self.tuned} if self.tuned is not None else {})},
            lower.LowerParams(backend, self.target, self.precision, file, interface, front.recipe, spec.c_object),
            detail=f"{backend} for {self.target.name}",
        )
        self.validated = self.runner.run(
            validate.STAGE,
            {
                "ingested": front.ingested,
                "quantized": self.quantized or self.compressed,
                "lowered": self.lowered,
                "samples": self._samples(),
                "metric": None if front.metric is None else (front.metric.digest, front.metric),
                "measured": front.measured,
            },
            validate.ValidateParams(
                target=self.target,
                execution=self.execution,
                state=as_pairs(spec.state),
                gate=as_pairs(spec.gate),
                precision=spec.precision,
            ),
            detail=f"{backend} for {self.target.name}, {_where(self.execution)}",
        )
        self._judge(self.validated, "parity.json", "The artifact's results differ too much from the original model's")

    def artifact(self) -> None:
        """Run all stages of this target. Raises when a stage fails or a gate refuses."""
        self.proof()
        self.ship()

    def ship(self) -> None:
        """Pack and measure what was proven."""
        front, spec = self.front, self.spec
        self.packed = self.runner.run(
            pack.STAGE,
            {"ingested": front.ingested, "lowered": self.lowered, "validated": self.validated},
            pack.PackParams(
                name=spec.artifact_name,
                target=self.target,
                execution=self.execution,
                backend=backend_of(spec, self.target),
                precision=self.precision,
                model_sha256=front.files.digest,
                calibration_sha256=front.samples.digest if front.samples else None,
                recipe=front.recipe,
                state=as_pairs(spec.state),
                tuning_sha256=self.tuned.digest if self.tuned is not None else None,
                threads=spec.threads,
            ),
            detail=_computing(spec),
        )
        self.measured = self.runner.run(
            measure.STAGE,
            {"ingested": front.ingested, "packed": self.packed},
            measure.MeasureParams(
                artifact=self.artifact_name,
                threads=spec.threads or 1,
                accelerator=self.target.accelerator.title if self.target.accelerator is not None else None,
            ),
            detail=_computing(spec),
        )

    def count(self) -> None:
        """Count the instructions of an artifact that an emulated device executes; nothing for any other."""
        if self.execution.place == "qemu":
            self.counted = self.runner.run(
                count.STAGE,
                {"packed": self.packed},
                count.CountParams(self.artifact_name, self.target, (self.execution.label, self.execution.version)),
                detail=f"on {self.execution.label}",
            )

    @property
    def artifact_name(self) -> str:
        return f"{self.spec.artifact_name}-{self.target.name}.edgec"

    def _samples(self) -> tuple[str, SampleSource] | None:
        samples = self.front.samples
        return None if samples is None else (samples.digest, samples)

    def _quantize(self, backend: Backend) -> None:
        spec, front = self.spec, self.front
        samples = self._samples()
        state = as_pairs(spec.state)
        judge = front.metric if front.metric is not None and front.metric.max_drop is not None else None
        if not front.came_quantized:
            assert front.samples is not None
            self.calibrated = self.runner.run(
                calibrate.STAGE,
                {"simplified": front.canonical, "samples": samples},
                calibrate.CalibrateParams(state=state),
                detail=f"{len(front.samples)} samples",
            )
        self.quantized = self.runner.run(
            quantize.STAGE,
            {
                "simplified": front.canonical,
                "calibrated": self.calibrated,
                "samples": samples,
                **({"metric": (judge.digest, judge)} if judge is not None else {}),
            },
            quantize.QuantizeParams(
                profiles=profiles_of(backend.name, spec.profile),
                keep_float=tuple(spec.keep_float),
                state=state,
                gate=as_pairs(spec.gate),
                reduced_range=backend.saturates(self.target),
                per_tensor=tuple(sorted(backend.per_tensor_weights)),
                against_int16=_against_16_bits(backend, spec),
                against_products_of_activations=backend.against_products_of_activations(
                    interface_of(backend.name, spec.interface), self.target
                ),
                force=tuple(sorted(spec.force)),
                forbid=tuple(sorted(spec.forbid)),
                search_seconds=spec.search_seconds,
                max_float_macs=spec.max_float_macs,
                min_int8_macs=spec.min_int8_macs,
            ),
            detail=f"profile {spec.profile}",
        )
        if self.quantized.digest != NOT_MADE:
            self.precision = self.quantized.read_json("quantize.json")["precision"]
        self._judge(self.quantized, "quantize.json", "INT8 changes the model's results too much")

    def _tune(self, model: Entry, file: str) -> None:
        """Search tiles, or read them from a database, where that was asked for."""
        spec = self.spec
        searching = spec.tune_seconds is not None
        if not searching and spec.tuning is None:
            return
        place, text = tuning_place(spec, self.target), known_tiles(spec, self.target).text()
        there = None if spec.tune_on is None else ssh.facts_of(spec.tune_on).processors_of(self.target)
        cpu, numbers = there or (cpu_name(), ())
        params = tune.TuneParams(self.target, file, cpu, spec.tune_seconds, spec.tune_on, numbers)
        try:
            self.tuned = self.runner.run(
                tune.STAGE,
                {"model": model, "known": (digest_of(text), text)},
                params,
                detail=f"{spec.tune_seconds:g} s{f' on {spec.tune_on}' if spec.tune_on else ''}"
                if searching
                else str(place),
            )
        except DeviceError as error:  # the board is lost, and neither what was found on it nor the build
            if spec.tune_on is None:
                raise
            text = error.details.get(tune.FOUND, text)
            self.runner.note(
                tune.STAGE.name,
                f"{error.what}. {error.why} What was measured before is kept and used; repeat the command to go on.",
            )
            self.tuned = self.runner.run(
                tune.STAGE, {"model": model, "known": (digest_of(text), text)}, replace(params, seconds=None)
            )
        if searching and self.tuned.digest != NOT_MADE and not self.runner.foresee:
            found = (self.tuned.path / "tuning.json").read_text(encoding="utf-8")
            database.update(place, database.Database.parse(found, str(place)))

    def _judge(self, entry: Entry, name: str, what: str) -> None:
        if entry.digest == NOT_MADE or not self.gated:
            return
        verdict = entry.read_json(name)
        if verdict["passed"]:
            return
        found = self.quantized.read_json("quantize.json") if self.quantized else {}
        raise refusal(what, verdict["failures"], found, self.spec, self.target.name)


def analyzed(front: Front, target: Target, runner: StageRunner) -> Entry:
    """What the model is like on the target: the stage analyze, with what this machine can do where it is the target."""
    known = None
    if target.here and target.performance is None:
        known = runner.run(peaks.STAGE, {}, peaks.PeaksParams(cpu_name()))
    return runner.run(
        analyze.STAGE,
        {"canonical": front.canonical, **({"peaks": known} if known is not None else {})},
        analyze.AnalyzeParams(target, front.came_quantized),
        detail=f"for {target.name}",
    )


def analyzed_if_possible(front: Front, target: Target, runner: StageRunner) -> Entry | None:
    """The same; None, with a warning, where it fails: a build does not need it."""
    try:
        return analyzed(front, target, runner)
    except EdgecError as error:
        runner.note("analyze", f"The model could not be analyzed, which the build does not need: {error.what}")
        return None


def _where(execution: Execution) -> str:
    """Where a payload runs, for a plan."""
    return {"native": "on this machine", "none": "not executed"}.get(execution.place, f"on {execution.label}")


def _computing(spec: BuildSpec) -> str:
    """With how many threads, for a plan."""
    return "" if spec.threads is None else f"{spec.threads} thread{'s' * (spec.threads > 1)}"


def _build_target(target: Target, front: Front, ways: Sequence[Attempt]) -> TargetBuild:
    """All stages of one target, its artifact and its report; errors become part of the result.

    Of several ways, the artifact and the report of the one that is kept; of a search, also the others of its Pareto
    front, in a folder of their own.
    """
    spec = ways[0].spec
    runner = front.runner.for_target(target.name)
    analysis = analyzed_if_possible(front, target, runner)
    tried = _tried(ways, target, front, runner, analysis)
    outcomes = [outcome for _, outcome in tried]
    chosen = keep([candidate for candidate, _ in tried], spec.optimize, spec.limits)
    kept = outcomes[chosen.kept]
    assert kept is not None, "what was not tried is not kept"
    outcome = replace(kept, choice=chosen if len(ways) > 1 else None)
    if chosen.error is not None:
        outcome = replace(outcome, artifact=None, error=chosen.error)
    report = spec.output / f"{spec.artifact_name}-{target.name}.report.html"
    outcome, graph = graph_of(outcome, front.runner) if spec.graph else (outcome, None)
    built = outcome.result(report)
    with as_edgec_errors():  # the artifact last: where its report can't be made, nothing is shipped
        texts = outcome.reports(built)
        for suffix, text in texts.items():
            write_whole(report.with_suffix(f".{suffix}"), text.encode("utf-8", "backslashreplace"))
        if graph is not None:
            place = spec.output / f"{spec.artifact_name}-{target.name}{GRAPH}"
            built = replace(built, graph=publish_graph(graph, place))
        if spec.search and chosen.error is None:
            others = {number: outcomes[number] for number in chosen.front if number != chosen.kept}
            _publish_front({chosen.candidates[number].name: each for number, each in others.items() if each}, built)
        if outcome.artifact is not None and outcome.packed is not None:
            publish(outcome.packed.path / outcome.artifact.path.name, outcome.artifact.path)
    return built


def _publish_front(others: Mapping[str, Outcome], kept: TargetBuild) -> None:
    """Put the artifacts of a Pareto front, with what their builds recorded, into the folder of the front.

    What a former search left there goes. others: by name, without the one that is `kept`.
    """
    assert kept.artifact is not None
    folder = kept.artifact.path.with_suffix(FRONT)
    if not others and not folder.is_dir():
        return
    folder.mkdir(exist_ok=True)
    for old in (*folder.glob("*.edgec"), *folder.glob("*.report.json")):
        old.unlink()
    for name, outcome in others.items():
        assert outcome.artifact is not None and outcome.packed is not None
        place = folder / f"{kept.artifact.path.stem}-{'-'.join(name.replace(',', '').split())}.edgec"
        shown = replace(outcome, artifact=replace(outcome.artifact, path=place))
        record = shown.record(shown.result(place.with_suffix(".report.json")))
        write_whole(place.with_suffix(".report.json"), record.encode("utf-8", "backslashreplace"))
        publish(outcome.packed.path / outcome.artifact.path.name, place)


def _tried(
    ways: Sequence[Attempt], target: Target, front: Front, runner: StageRunner, analysis: Entry | None
) -> list[tuple[Candidate, Outcome | None]]:
    """Every way as a candidate, with what it came to; of a search, those that can't be worth it are not built.

    Ways that differ in their number of threads only share all stages but the last two.
    """
    figures = figures_of(described_as(ways[0].spec, target))
    known = None if analysis is None else analysis.read_json("analysis.json")
    found: list[tuple[Candidate, Outcome | None]] = []
    proven: dict[str, TargetPath] = {}
    siblings: dict[str, list[Candidate]] = {}
    for number, way in enumerate(ways, 1):
        spec = way.spec
        base = replace(way, spec=replace(spec, threads=None)).name
        before = siblings.setdefault(base, [])
        if spec.search and found:  # the first is tried: where no way is open, it is its error that is told
            others = [candidate for candidate, _ in found if candidate not in before]
            if reason := _against(way, known, before, others):
                runner.note("search", f"{way.name} is not tried: {reason}", "info")
                found.append((_left_out(way, reason), None))
                continue
        called = target.name
        if len(ways) > 1:
            called += f" ({number} of {len(ways)}: {way.name})" if spec.search else f" through {spec.backend}"
        path, outcome = _follow(way, target, front, runner.for_target(called), proven.get(base), len(ways) > 1)
        outcome = replace(outcome, analyzed=analysis, figures=figures)
        candidate = outcome.candidate
        if outcome.error is None:
            proven[base] = path
            twins = [each for each, other in found if other is not None and other.artifact == outcome.artifact]
            if twins:
                candidate = _left_out(way, f"it came out the same, byte for byte, as {twins[0].name}")
        before.append(candidate)
        found.append((candidate, outcome))
    return found


def _against(
    way: Attempt, analysis: Mapping[str, Any] | None, siblings: Sequence[Candidate], others: Sequence[Candidate]
) -> str:
    """Why this way of a search is not worth building; "" where it may be. siblings: with fewer threads."""
    if reason := _impossible(way):
        return reason
    if siblings and siblings[-1].not_tried:
        return siblings[-1].not_tried
    if reason := reason_before(way.spec, analysis, way.spec.limits):
        return reason
    return reason_among(way.spec.threads or 1, siblings, others, way.spec.limits) if siblings else ""


def _impossible(way: Attempt) -> str:
    """Why this way can't be followed at all; "" where it can."""
    return f"{way.where.what}. {way.where.why}".strip() if isinstance(way.where, EdgecError) else ""


def _left_out(way: Attempt, reason: str) -> Candidate:
    """A way that is not followed to its end, as a candidate."""
    spec = way.spec
    return Candidate(
        backend=spec.backend,
        precision=spec.precision,
        artifact_bytes=None,
        latency=None,
        error=None,
        profile=profile_of(spec),
        tuned=is_tuned(spec),
        threads=spec.threads,
        not_tried=" ".join(reason.split()),
    )


def _follow(
    attempt: Attempt, target: Target, front: Front, runner: StageRunner, proven: TargetPath | None, several: bool
) -> tuple[TargetPath, Outcome]:
    """All stages of one way to an artifact. proven: the same way with another number of threads, as far as it is the
    same. several: there are others to compare it with."""
    spec = attempt.spec
    execution = attempt.where if isinstance(attempt.where, Execution) else Execution("none", "none")
    if proven is None:
        path = TargetPath(spec, target, front, runner, spec.precision, execution)
    else:
        path = replace(proven, spec=spec, runner=runner, packed=None, measured=None, counted=None)
        runner.records[:] = [each for each in proven.runner.records if each.name not in (pack.STAGE.name, "measure")]
    error: EdgecError | None = None
    artifact: ArtifactFile | None = None
    try:
        with as_edgec_errors():
            if isinstance(attempt.where, EdgecError):
                raise attempt.where
            if proven is None:
                path.artifact()
            else:
                path.ship()
            if several:
                path.count()
            assert path.packed is not None
            artifact = describe_file(path.packed.path / path.artifact_name, spec.output)
    except EdgecError as raised:
        error = raised
    outcome = Outcome(
        spec=spec,
        model=front.facts,
        target=target,
        backend=spec.backend if spec.backend in target.backends else target.backends[0],
        precision=path.precision,
        artifact=artifact,
        error=error,
        calibration=front.calibration,
        recipe=front.recipe,
        ingested=front.ingested,
        simplified=front.simplified,
        canonical=front.canonical,
        calibrated=path.calibrated,
        quantized=path.quantized,
        compressed=path.compressed,
        lowered=path.lowered,
        validated=path.validated,
        packed=path.packed,
        measured=path.measured,
        counted=path.counted,
        stages=tuple(path.runner.records),
        notes=tuple(path.runner.notes),
    )
    return path, outcome


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


def _against_16_bits(backend: Backend, spec: BuildSpec) -> str:
    """Why the search may not choose 16-bit activations; "" where it may, or was told to."""
    asked = "16-bit" in spec.force and 16 in backend.activation_bits
    return "" if asked else backend.against_16_bits


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


def as_pairs(mapping: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """A mapping as the parameters of a stage hold it: hashable, and the same in every order of writing."""
    return tuple(sorted(mapping.items()))
