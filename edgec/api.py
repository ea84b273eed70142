"""The Python API: what `edgec build` does, from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.candidates.objectives import Objective, read_bytes, read_milliseconds
from edgec.events import Listener, ignore
from edgec.pipeline import build as build_spec
from edgec.result import BuildResult
from edgec.spec import MAX_FLOAT_MACS, PRECISIONS, BuildSpec, Interface, Precision, Profile, is_random

if TYPE_CHECKING:
    from edgec.diagnosis.driver import Diagnosis


def build(
    model: str | Path,
    *,
    targets: str | Sequence[str] = ("host",),
    calibration: str | Path | Iterable[Any] | None = None,
    preprocess: str | Path | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    state: Mapping[str, str] | None = None,
    precision: Precision = "int8",
    profile: Profile = "auto",
    backend: str = "auto",
    interface: Interface = "auto",
    c_object: bool = False,
    graph: bool = False,
    threads: int | None = None,
    search: bool | Sequence[Precision] = False,
    optimize: Objective = "latency",
    max_latency: str | float | None = None,
    max_size: str | int | None = None,
    tune_seconds: float | None = None,
    tune_on: str | None = None,
    tuning: str | Path | None = None,
    max_samples: int | None = None,
    keep_float: Sequence[str] = (),
    gate: Mapping[str, float] | None = None,
    force: Sequence[str] = (),
    forbid: Sequence[str] = (),
    search_seconds: float | None = None,
    max_float_macs: float = MAX_FLOAT_MACS,
    min_int8_macs: float = 0.0,
    metric: str | None = None,
    labels: str | Path | None = None,
    evaluation: str | Path | None = None,
    max_drop: float | None = None,
    simplify: bool = True,
    emulate: bool = True,
    name: str | None = None,
    output: str | Path = "dist",
    listener: Listener = ignore,
    jobs: int = 1,
) -> BuildResult:
    """Compile an ONNX model into a verified artifact for each target.

    model: path of the .onnx file; external data is read from its folder only.
    calibration: a path (folder of images, .npy or .npz files, list file); or "random"; or an iterable of samples, each
        an array, a tuple of arrays in the order of the inputs, or a dict of input name to array. It is read once.
    preprocess: a recipe's name, or the path of a recipe's TOML file; applies to images.
    shapes: static shape of each input that has open dimensions.
    max_samples: use at most this many samples, spread evenly over all.
    precision, profile, backend, keep_float, simplify, name: as the flags of `edgec build`; interface: as --io.
    c_object: put in the model as an object file for C programs, too (docs/tvm.md).
    graph: write the graph with what each node costs and loses, for Netron and Model Explorer (docs/graph.md).
    threads: how many the artifact uses unless told otherwise.
    search: build and measure candidates of these precisions (True: of all, or of `precision` where that is not int8),
        through every backend, with several numbers of threads, and keep the best and the Pareto front (docs/search.md).
    optimize: what the one that is kept is the best in; max_latency ("20ms", or milliseconds) and max_size ("5MB", or
        bytes): what it has to keep to, or LimitNotMet is raised.
    tune_seconds: as --tune, seconds to search tiles of kernels for; tune_on: the board to search on; tuning: a database
        of tiles (docs/tvm.md).
    gate: limits of the parity gate that replace the defaults, by name (docs/parity.md).
    force, forbid, search_seconds, max_float_macs, min_int8_macs: what the search for accuracy must, must not, and may
        do (docs/accuracy.md).
    metric: "module:function" or "file.py:function", a measure of accuracy of your own (docs/metric.md); labels: the
        file of labels that it gets, or "folders"; evaluation: samples to measure on, in place of those held out of the
        calibration data; max_drop: the most that it may fall.
    emulate: whether a target that this machine can't stand in for is emulated, to execute its artifact
        (docs/emulation.md).
    state: output name to input name, for recurrent models; samples then have a leading time axis.
    listener: called with every event (`edgec.events`) while the build runs.

    Returns the result of every target. Raises the EdgecError of the first target that has no artifact; its `result`
    attribute holds the whole BuildResult.
    """
    spec = _specification(
        model,
        targets=targets,
        name=name,
        shapes=shapes,
        state=state,
        calibration=calibration,
        preprocess=preprocess,
        max_samples=max_samples,
        precision=precision,
        profile=profile,
        backend=backend,
        interface=interface,
        c_object=c_object,
        graph=graph,
        threads=threads,
        search=search,
        optimize=optimize,
        max_latency=max_latency,
        max_size=max_size,
        tune_seconds=tune_seconds,
        tune_on=tune_on,
        tuning=tuning,
        simplify=simplify,
        emulate=emulate,
        keep_float=keep_float,
        gate=gate,
        force=force,
        forbid=forbid,
        search_seconds=search_seconds,
        max_float_macs=max_float_macs,
        min_int8_macs=min_int8_macs,
        metric=metric,
        labels=labels,
        evaluation=evaluation,
        max_drop=max_drop,
        output=output,
    )
    result = build_spec(spec, listener=listener, jobs=jobs)
    for built in result.builds:
        if built.error is not None:
            built.error.result = result
            raise built.error
    return result


def diagnose(
    subject: str | Path,
    *,
    original: str | Path | None = None,
    evaluation: str | Path | None = None,
    output: str | Path = "diagnosis",
    listener: Listener = ignore,
    **how: Any,
) -> Diagnosis:
    """Find out why a quantized model differs from the original, layer by layer.

    subject: an ONNX model; or an artifact (.edgec), with `original`, the model that it was built from.
    evaluation: samples to judge by, in place of those held out of the calibration data.
    how: targets, calibration, preprocess, shapes, state, precision, profile, keep_float, gate, ... as for `build`.
    output: the folder for DIAGNOSIS.html and the smallest part of the model that fails.

    Returns the findings: `causes` is empty where nothing stands out. Raises EdgecError as `build` does, but not when a
    gate refuses the model.
    """
    from edgec.diagnosis.driver import diagnose as diagnose_spec

    spec = _specification(subject if original is None else original, output=output, **how)
    artifact = None if original is None else Path(subject)
    return diagnose_spec(spec, artifact, None if evaluation is None else Path(evaluation), listener=listener)


def _specification(model: str | Path, **how: Any) -> BuildSpec:
    """Arguments of `build` as a specification; what is not given has its default."""
    calibration, targets, preprocess = (
        how.get("calibration"),
        how.get("targets", ("host",)),
        how.pop("preprocess", None),
    )
    convert: dict[str, Callable[[Any], Any]] = {
        "shapes": lambda value: {key: tuple(shape) for key, shape in value.items()},
        "state": dict,
        "gate": lambda value: {key: float(limit) for key, limit in value.items()},
        "keep_float": tuple,
        "force": tuple,
        "forbid": tuple,
        "search": tuple,
        "max_latency": lambda value: read_milliseconds(value) if isinstance(value, str) else float(value),
        "max_size": lambda value: read_bytes(value) if isinstance(value, str) else int(value),
        "labels": lambda value: value if value == "folders" else Path(value),
        "tuning": Path,
        "evaluation": Path,
        "output": Path,
    }
    search = how.pop("search", False)
    if search is not False:
        other = how.get("precision", "int8")
        every = PRECISIONS if other in (None, "int8") else (other,)
        how["search"] = every if search is True else tuple(search)
        if how.get("precision") not in how["search"]:
            how["precision"] = next(iter(how["search"]), None)
    fields = {key: convert.get(key, lambda value: value)(value) for key, value in how.items() if value is not None}
    fields["targets"] = (targets,) if isinstance(targets, str) else tuple(targets)
    if isinstance(calibration, str) and not is_random(calibration):
        fields["calibration"] = Path(calibration)
    return BuildSpec(model=Path(model), recipe=None if preprocess is None else str(preprocess), **fields)
