"""`edgec diagnose`: the stages of a build up to the proof, whatever the gates say of it, then a look at what is lost.

Runs in the process that the user started: no numpy, no native library.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgec.bundle.errors import as_edgec_error
from edgec.candidates.asked import place
from edgec.contract import Contract
from edgec.diagnosis.findings import Finding
from edgec.digest import digest_file
from edgec.errors import ModelRefused, UsageError, as_edgec_errors
from edgec.events import Listener, ignore
from edgec.graph_files import SUFFIX as GRAPH
from edgec.graph_files import make_graph, params_of, publish_graph
from edgec.output_folder import check_writable, write_whole
from edgec.parity.thresholds import Gate
from edgec.pipeline.analysis import analyzed_if_possible
from edgec.pipeline.front import Front
from edgec.pipeline.target_path import TargetPath
from edgec.recipes import load_recipe
from edgec.result import ModelFacts
from edgec.runners.execution import Execution
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import ArtifactFailure
from edgec.spec import BuildSpec
from edgec.stage import as_pairs
from edgec.stage_runner import StageRunner
from edgec.stages import diagnose as stage
from edgec.store import Entry, Store
from edgec.targets import Target, load_target
from edgec.version import __version__

REPORT = "DIAGNOSIS"


@dataclass(frozen=True)
class Diagnosis:
    """What was found out. `document` is what the stage left, with what is known of the artifact.

    report: the HTML page. files: the smallest failing part, where there is one. graph: the folder for viewers
    of graphs, where one was asked for.
    """

    model: ModelFacts
    target: str
    document: Mapping[str, Any]
    report: Path
    files: tuple[Path, ...]
    graph: Path | None = None

    @property
    def causes(self) -> list[Mapping[str, Any]]:
        """What is to blame, the most important first; empty for a healthy model."""
        return list(self.document["causes"])

    def to_json(self) -> dict[str, Any]:
        return {
            "edgec": __version__,
            "schema": 1,
            "status": "diagnosed",
            "exit_code": 0,
            "model": self.model.to_json(),
            "target": self.target,
            "diagnosis": dict(self.document),
            "report": str(self.report),
            "files": [str(path) for path in self.files],
            "graph": self.graph and str(self.graph),
            "error": None,
        }


def diagnose(
    spec: BuildSpec,
    artifact: Path | None = None,
    evaluation: Path | None = None,
    *,
    store: Store | None = None,
    listener: Listener = ignore,
) -> Diagnosis:
    """Find out why the model of `spec`, quantized as `spec` says, differs from the original.

    artifact: an .edgec file to explain; target, precision, state and shapes are then its own, and so is what runs.
    evaluation: data to judge by, in place of the part that is held out of the calibration data.
    The page, its document and the smallest failing part are written to `spec.output`.

    Raises UsageError when there is no data, or when the artifact has other inputs and outputs than the model;
    ArtifactError when it is damaged.
    """
    with as_edgec_errors():
        store = store or Store.default()
        manifest = None if artifact is None else _manifest(artifact)
        if manifest is not None:
            spec = _as_built(spec, manifest)
        if spec.calibration is None:
            raise UsageError(
                "There is no data to diagnose with",
                "What a layer loses can only be seen by running the model.",
                "Add --calib PATH, with the data that the model was or will be calibrated on.",
            )
        if len(spec.targets) > 1:
            raise UsageError(
                "A diagnosis is made for one target at a time",
                f"Given were {', '.join(spec.targets)}.",
                "Give one --target.",
            )
        Gate.from_overrides(as_pairs(spec.gate))
        check_writable(spec.output)
        target = load_target(spec.targets[0])
        execution = place(spec, target)
        with store.in_use(), store.scratch() as scratch:
            runner = StageRunner(store, listener)
            return _diagnose(spec, target, execution, artifact, evaluation, manifest, runner, scratch)


def _diagnose(
    spec: BuildSpec,
    target: Target,
    execution: Execution,
    artifact: Path | None,
    evaluation: Path | None,
    manifest: Mapping[str, Any] | None,
    runner: StageRunner,
    scratch: Path,
) -> Diagnosis:
    front = _open(spec, manifest, runner, scratch)
    if manifest is not None:
        _check_contract(Contract.read(front.ingested.path), manifest)
    path = TargetPath(spec, target, front, runner.for_target(target.name), spec.precision, execution, gated=False)
    path.proof()
    judges = None
    if evaluation is not None:
        other = replace(spec, calibration=evaluation)
        judges = _open(other, manifest, StageRunner(runner.store, ignore), scratch).samples
    assert front.samples is not None
    same_build = manifest is None or _same_build(manifest, path)
    entry = path.runner.run(
        stage.STAGE,
        {
            "ingested": front.ingested,
            "floats": front.canonical,
            "quantized": path.quantized,
            "calibrated": path.calibrated,
            "lowered": path.lowered,
            "artifact": None if artifact is None else (digest_file(artifact), artifact.absolute()),
            "samples": (front.samples.digest, front.samples),
            "evaluation": None if judges is None else (judges.digest, judges),
        },
        stage.DiagnoseParams(
            name=spec.artifact_name,
            target=target,
            execution=execution,
            state=as_pairs(spec.state),
            gate=as_pairs(spec.gate),
            given=front.came_quantized,
            same_build=same_build,
        ),
        detail=f"{len(front.samples)} samples",
    )
    document = entry.read_json("diagnosis.json")
    if manifest is not None:
        document["artifact"] = _about_artifact(artifact, manifest, same_build)
        found = [each.to_json() for each in _mistaken(manifest, front)]
        document["causes"] = [*found, *document["causes"]]
        document["healthy"] = document["healthy"] and not found
    graph = _graph(path, entry) if spec.graph else None
    return _publish(spec, target.name, front.facts, document, entry, graph)


def _open(spec: BuildSpec, manifest: Mapping[str, Any] | None, runner: StageRunner, scratch: Path) -> Front:
    """The model as a build reads it; open dimensions are as they were in the artifact."""
    if manifest is None or spec.shapes:
        return Front.open(spec, runner, scratch)
    try:
        return Front.open(spec, runner, scratch)
    except ModelRefused:
        shapes = {item["name"]: tuple(item["shape"]) for item in manifest["inputs"]}
        return Front.open(replace(spec, shapes=shapes), runner, scratch)


# --- an artifact ---


def _manifest(path: Path) -> Mapping[str, Any]:
    """What an artifact says of itself, once all of it has been checked."""
    try:
        bundle = Bundle.open(path)
        bundle.verify()
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
    return bundle.manifest


def _as_built(spec: BuildSpec, manifest: Mapping[str, Any]) -> BuildSpec:
    """`spec` with what the artifact decides."""
    recipe = spec.recipe
    shipped = manifest.get("preprocess")
    if recipe is None and shipped is not None:
        recipe = str(shipped["name"])
        try:
            load_recipe(recipe)
        except UsageError as error:
            raise UsageError(
                f"The artifact was made with the recipe {recipe!r}, which is not here",
                error.what,
                "Name its TOML file: --preprocess PATH.",
            ) from error
    precision: Any = {"mixed": "int8"}.get(manifest["precision"], manifest["precision"])
    return replace(
        spec,
        targets=(str(manifest["target"]),),
        backend=str(manifest["backend"]),
        precision=precision,
        state=dict(manifest["state"]),
        recipe=recipe,
        name=spec.name or str(manifest["name"]),
    )


def _check_contract(contract: Contract, manifest: Mapping[str, Any]) -> None:
    for what, specs in (("inputs", contract.inputs), ("outputs", contract.outputs)):
        here = [(spec.name, spec.dtype, tuple(spec.shape)) for spec in specs]
        there = [(item["name"], item["dtype"], tuple(item["shape"])) for item in manifest[what]]
        if here != there:
            raise UsageError(
                "The artifact was not built from this model, in this shape",
                f"The model's {what} are {_listed(here)}; the artifact's are {_listed(there)}.",
                "Give the model that it was built from (--model), and the --shape of that build.",
            )


def _listed(specs: list[tuple[str, str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {dtype} {'x'.join(map(str, shape))}" for name, dtype, shape in specs)


def _mistaken(manifest: Mapping[str, Any], front: Front) -> list[Finding]:
    """What is not what the artifact was built from."""
    found = []
    here, there = front.facts.sha256, str(manifest.get("model_sha256"))
    if here != there:
        found.append(
            Finding(
                "other-model",
                None,
                f"the artifact was built from another model: its SHA-256 is {there[:16]}..., that of the one given "
                f"{here[:16]}...",
                {"artifact_model_sha256": there, "model_sha256": here},
            )
        )
    given, shipped = front.recipe, manifest.get("preprocess")
    if given != shipped and {**(given or {}), "title": ""} != {**(shipped or {}), "title": ""}:
        ours, theirs = given or {}, shipped or {}
        keys = sorted(key for key in {*ours, *theirs} - {"title"} if ours.get(key) != theirs.get(key))
        found.append(
            Finding(
                "other-preprocessing",
                None,
                f"the data is prepared otherwise than in the artifact: {', '.join(keys)} differ",
                {"differ": keys, "given": given and given["name"], "artifact": shipped and shipped["name"]},
            )
        )
    return found


def _same_build(manifest: Mapping[str, Any], path: TargetPath) -> bool:
    """Whether the artifact holds, byte for byte, what was lowered just now."""
    assert path.lowered is not None
    made = path.lowered.read_json("lower.json")["files"]
    files = manifest["files"]
    listed = {name: files[f"payload/{name}"]["sha256"] for name in made if f"payload/{name}" in files}
    return len(listed) == len(made) == len(manifest["payload"]) and all(
        digest_file(path.lowered.path / "payload" / name) == digest for name, digest in listed.items()
    )


def _about_artifact(artifact: Path | None, manifest: Mapping[str, Any], same: bool) -> dict[str, Any]:
    """What the artifact says of itself, and whether the reference that was looked at is the one it was made from."""
    if same:
        text = "The quantized reference that was looked at is the one that the artifact was made from."
    else:
        text = (
            "The quantized reference was made again and is not the one that the artifact was made from: other data, "
            "flags or versions of tools. What is said of single layers holds for the new one; the artifact's own "
            "outputs were compared as they are."
        )
    return {
        "path": str(artifact),
        "target": manifest["target"],
        "precision": manifest["precision"],
        "model_sha256": manifest.get("model_sha256"),
        "same_reference": same,
        "note": text,
    }


# --- what is written ---


def _graph(path: TargetPath, diagnosed: Entry) -> Entry | None:
    """The graph for viewers, with what was measured here; None, with a warning, where it can't be made."""
    made = {
        "canonical": path.front.canonical,
        "analyzed": analyzed_if_possible(path.front, path.target, path.runner),
        "quantized": path.quantized,
        "lowered": path.lowered,
        "diagnosed": diagnosed,
    }
    return make_graph(path.runner, made, params_of(path.spec, path.target, path.precision))


def _publish(
    spec: BuildSpec,
    target: str,
    facts: ModelFacts,
    document: Mapping[str, Any],
    entry: Entry,
    graph: Entry | None,
) -> Diagnosis:
    from edgec.report.diagnosis import render_diagnosis

    page = spec.output / f"{REPORT}.html"
    smallest = document.get("smallest") or {}
    files = tuple(spec.output / name for name in smallest.get("files", ()))
    spec.output.mkdir(parents=True, exist_ok=True)
    drawn = None if graph is None else publish_graph(graph, page.with_suffix(GRAPH))
    found = Diagnosis(facts, target, document, page, files, drawn)
    for file in files:
        shutil.copyfile(entry.path / file.name, file)
    text = json.dumps(found.to_json(), indent=1, sort_keys=True, ensure_ascii=False)
    write_whole(page.with_suffix(".json"), text.encode("utf-8", "backslashreplace"))
    write_whole(page, render_diagnosis(found.to_json()).encode("utf-8", "backslashreplace"))
    return found
