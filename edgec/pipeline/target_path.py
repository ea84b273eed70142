"""The stages after the front, for one target, one backend and one precision."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgec.backends import load_backend
from edgec.backends.base import Backend
from edgec.backends.support import interface_of, profiles_of
from edgec.backends.tvm.tuning import database
from edgec.candidates.asked import backend_of, known_tiles, tuning_place
from edgec.digest import digest_of
from edgec.errors import DeviceError
from edgec.pipeline.front import Front
from edgec.pipeline.materials import materials, request
from edgec.refusal import refusal
from edgec.runners import ssh
from edgec.runners.execution import Execution
from edgec.samples import SampleSource
from edgec.spec import BuildSpec, Precision
from edgec.stage import as_pairs
from edgec.stage_runner import NOT_MADE, StageRunner
from edgec.stages import calibrate, compress, count, lower, measure, pack, quantize, support, tune, validate
from edgec.store import Entry
from edgec.targets import Target, cpu_name


@dataclass
class TargetPath:
    """The stages after the front, for one target; holds the results as far as it came.

    execution: where its payload is executed.
    gated: whether a gate that refuses stops the path. A diagnosis looks at what was refused, too.
    activation_bytes: what an analysis says that activations need (`edgec.pipeline.analysis`).
    """

    spec: BuildSpec
    target: Target
    front: Front
    runner: StageRunner
    precision: Precision
    execution: Execution
    gated: bool = True
    activation_bytes: dict[str, int] | None = None
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
                recipe=front.recipe,
                state=as_pairs(spec.state),
                threads=spec.threads,
                request=request(front.spec, front, self.target),
                materials=materials(front, self.target, self.tuned.digest if self.tuned is not None else None),
                activation_bytes=self.activation_bytes,
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


def _where(execution: Execution) -> str:
    """Where a payload runs, for a plan."""
    return {"native": "on this machine", "none": "not executed"}.get(execution.place, f"on {execution.label}")


def _computing(spec: BuildSpec) -> str:
    """With how many threads, for a plan."""
    return "" if spec.threads is None else f"{spec.threads} thread{'s' * (spec.threads > 1)}"


def _against_16_bits(backend: Backend, spec: BuildSpec) -> str:
    """Why the search may not choose 16-bit activations; "" where it may, or was told to."""
    asked = "16-bit" in spec.force and 16 in backend.activation_bits
    return "" if asked else backend.against_16_bits
