"""What can be measured: an artifact, or a model in ONNX Runtime. Opened in the subject's own process."""

from __future__ import annotations

import json
import platform
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.bundle.errors import as_edgec_error
from edgec.errors import DeviceError, EdgecError, ModelRefused, ToolMissing, UsageError
from edgec.runtime.bundle import Bundle
from edgec.runtime.device import architecture, check_device
from edgec.runtime.errors import ArtifactFailure, DeviceUnfit

if TYPE_CHECKING:
    import numpy as np

    from edgec.runtime.engines import Step

Feeds = Mapping[str, "np.ndarray"]

ORT_SPINNING = "session.force_spinning_stop"
"""ONNX Runtime's threads wait for the next run by spinning; between its turns they would take the cores from others."""


@dataclass(frozen=True)
class Opened:
    """A subject that can run.

    document: what it is, as in the measurement (name, target, backend, precision, engine, engine_version, threads).
    profile: (feeds, milliseconds of an inference) to steps, or None, and a note.
    notes: what the user should hear about how inputs were understood.
    """

    document: dict[str, Any]
    run: Callable[[Feeds], Any]
    feeds: Sequence[Feeds]
    profile: Callable[[Feeds, float], tuple[list[dict[str, Any]] | None, str]]
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Artifact:
    """An artifact of edgec. inputs: files to feed, as for its `run`; its first golden sample where there are none."""

    path: Path
    inputs: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return str(self.path)

    def check(self) -> dict[str, Any]:
        """The manifest of an artifact that this machine can run; loads nothing.

        Raises ArtifactError for what is none, UsageError for a file that is not there, DeviceError for another
        machine's, with the commands that time it there.
        """
        if not self.path.exists():
            raise UsageError(f"There is no {self.path}", "Nothing is there to be measured.", "Check the path.")
        if self.path.suffix == ".onnx":
            raise UsageError(
                f"{self.path} is a model, and not an artifact",
                "What is measured is what ships; a model is what artifacts are compared with.",
                f"Build it (edgec build {self.path}), then: edgec bench FILE.edgec --baseline {self.path}",
            )
        try:
            manifest = dict(Bundle.open(self.path).manifest)
            check_device(manifest)
        except DeviceUnfit as unfit:
            raise self._elsewhere(unfit, manifest) from unfit
        except ArtifactFailure as failure:
            raise _named(self.path, as_edgec_error(failure)) from failure
        return manifest

    def _elsewhere(self, unfit: DeviceUnfit, manifest: Mapping[str, Any]) -> EdgecError:
        name = self.path.name
        lines = [
            f"Measure it on its device, over ssh: edgec bench {self.path} --on USER@DEVICE",
            f"Or copy it there, and on the device: python3 {name} bench",
        ]
        if architecture() != manifest["arch"]:
            lines.append(f"Without the device, count what it executes: edgec bench --emulate {self.path}")
        return DeviceError(f"{self.path} can't be measured here: {unfit.what}", unfit.why, "\n".join(lines))

    def open(self, threads: int | None) -> Opened:
        """Load it. Raises ToolMissing without its engine, ArtifactError when it does not verify, and so on."""
        try:
            return self._opened(threads)
        except ArtifactFailure as failure:
            raise _named(self.path, as_edgec_error(failure)) from failure

    def _opened(self, threads: int | None) -> Opened:
        from edgec.runtime.bench import identity, profiled
        from edgec.runtime.bench_command import feeds_for
        from edgec.runtime.model import Model

        bundle = Bundle.open(self.path)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = Model.load(bundle, threads)
        notes = [str(each.message) for each in caught if each.category is RuntimeWarning]
        feeds = feeds_for(bundle, self.inputs, notes)

        def profile(feeds: Feeds, median_ms: float) -> tuple[list[dict[str, Any]] | None, str]:
            return profiled(bundle, threads, feeds, median_ms)

        return Opened(identity(model, threads), model.run, feeds, profile, notes)


@dataclass(frozen=True)
class OnnxModel:
    """A model in ONNX Runtime. like: the artifact whose inputs it gets."""

    path: Path
    like: Artifact

    @property
    def label(self) -> str:
        return str(self.path)

    def check(self) -> dict[str, Any]:
        """That it is a model which names no files beyond its folder, before native code reads it.

        Raises UsageError where there is none, ModelRefused, and ToolMissing without ONNX Runtime.
        """
        from importlib.util import find_spec

        from edgec.onnx_graph.untrusted import open_model

        if not self.path.is_file():
            raise UsageError(
                f"There is no baseline {self.path}",
                "The baseline is the ONNX model that the artifact was built from.",
                "Check the path given with --baseline.",
            )
        if find_spec("onnxruntime") is None:
            raise ToolMissing(
                "ONNX Runtime is not installed",
                "The baseline runs in it.",
                "Install it: pip install onnxruntime, or leave out --baseline.",
            )
        with open_model(self.path):
            pass
        return {}

    def open(self, threads: int | None) -> Opened:
        """Load it in ONNX Runtime, with all its optimizations; its feeds are the artifact's.

        Raises ModelRefused for what is no model, UsageError for a model with other inputs.
        """
        if threads is None:
            threads = Bundle.open(self.like.path).manifest["threads"]
        session = self._session(threads, None)
        import onnxruntime

        outputs = [output.name for output in session.get_outputs()]
        feeds, notes = self._feeds(session)
        document = {
            "name": self.path.stem,
            "target": "host",
            "backend": "onnxruntime",
            "precision": "original",
            "engine": "onnxruntime",
            "engine_version": onnxruntime.__version__,
            "threads": threads or 0,
            "machine": platform.machine(),
        }
        notes = [*notes, *self._another_model()]
        return Opened(document, lambda fed: session.run(outputs, fed), feeds, self._profiler(threads), notes)

    def _another_model(self) -> Sequence[str]:
        """What to say where the artifact was built from other bytes than these."""
        from edgec.onnx_graph.untrusted import scan

        built_from = Bundle.open(self.like.path).manifest.get("model_sha256")
        if not built_from or scan(self.path).digest == built_from:
            return ()
        return (f"{self.like.path} was not built from this model: its SHA-256 is another one.",)

    def _session(self, threads: int | None, profile: str | None) -> Any:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry(ORT_SPINNING, "1")
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        try:
            return ort.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelRefused(
                f"ONNX Runtime can't load the baseline {self.path}",
                str(error).strip().splitlines()[0],
                "Give the ONNX model that the artifact was built from.",
            ) from error

    def _feeds(self, session: Any) -> tuple[Sequence[Feeds], Sequence[str]]:
        """The artifact's feeds, where they fit the model's inputs."""
        from edgec.runtime.bench_command import feeds_for
        from edgec.runtime.model import specs

        bundle = Bundle.open(self.like.path)
        notes: list[str] = []
        try:
            feeds = feeds_for(bundle, self.like.inputs, notes)
        except ArtifactFailure as failure:
            raise _named(self.like.path, as_edgec_error(failure)) from failure
        takes = {each.name: (_dtype(each.type), each.shape) for each in session.get_inputs()}
        given = {each.name: (each.dtype, each.shape) for each in specs(bundle.manifest["inputs"])}
        if set(takes) != set(given) or not all(_fits(takes[name], given[name]) for name in given):
            raise UsageError(
                f"The baseline {self.path} has other inputs than {self.like.path}",
                f"It takes {_described(takes)}; the artifact takes {_described(given)}.",
                "Give the ONNX model that the artifact was built from.",
            )
        return feeds, notes

    def _profiler(self, threads: int | None) -> Callable[[Feeds, float], tuple[list[dict[str, Any]] | None, str]]:
        def profile(feeds: Feeds, median_ms: float) -> tuple[list[dict[str, Any]] | None, str]:
            from edgec.runtime.bench import profile_note, profiled_runs
            from edgec.runtime.profiles import profile_of

            runs = profiled_runs(median_ms)
            with tempfile.TemporaryDirectory() as folder:
                session = self._session(threads, f"{folder}/profile")
                for _ in range(runs + 1):
                    session.run(None, dict(feeds))
                events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            return profile_of(steps_of_trace(events, runs)), profile_note(runs)

        return profile


def steps_of_trace(events: Sequence[Mapping[str, Any]], runs: int) -> list[Step]:
    """The steps of ONNX Runtime's profile: milliseconds of each node in one of `runs` runs, which one more preceded.

    events: Chrome trace events; a node's is {"cat": "Node", "name": "NAME_kernel_time", "dur": microseconds,
    "args": {"op_name"}}. A node of a loop's body has several in each run.
    """
    from edgec.runtime.engines import Step
    from edgec.runtime.profiles import middle_mean

    times: dict[str, list[float]] = {}
    operators: dict[str, str] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            node = name[: -len("_kernel_time")]
            operators[node] = event["args"]["op_name"]
            times.setdefault(node, []).append(event["dur"] / 1e3)
    steps = []
    for node, spent in times.items():
        each = max(1, len(spent) // (runs + 1))
        steps.append(Step(node, operators[node], middle_mean(spent[each:] or spent) * each))
    return steps


def _named(path: Path, error: EdgecError) -> EdgecError:
    """The error with the file that it is about, which a comparison of several has to say."""
    if str(path) in error.what:
        return error
    return type(error)(f"{path}: {error.what}", error.why, error.fix, error.details)


_ORT_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}


def _dtype(told: str) -> str:
    """numpy's name for ONNX Runtime's "tensor(int64)"."""
    return _ORT_DTYPES.get(told, told.removeprefix("tensor(").removesuffix(")"))


def _fits(takes: tuple[str, Sequence[Any]], given: tuple[str, Sequence[int]]) -> bool:
    (dtype, shape), (given_dtype, sizes) = takes, given
    if dtype != given_dtype or len(shape) != len(sizes):
        return False
    return all(not isinstance(axis, int) or axis in (size, -1) for axis, size in zip(shape, sizes, strict=True))


def _described(inputs: Mapping[str, tuple[str, Sequence[Any]]]) -> str:
    return "; ".join(f"{name}: {dtype} {'x'.join(map(str, shape))}" for name, (dtype, shape) in inputs.items())


Subject = Artifact | OnnxModel
