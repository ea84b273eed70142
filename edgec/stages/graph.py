"""Graph: what each node costs and loses, in files that Netron and Model Explorer open.

out: graph/model.onnx (the ONNX model that was quantized, without its weights, with metadata of nodes),
    graph/MEASURE.json (Model Explorer's node data)

The artifact's steps are timed here, where this machine can stand in for the target and the engine tells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edgec import worker
from edgec.backends import backend_tools
from edgec.stage import Stage, StageContext
from edgec.version import __version__

FOLDER = "graph"
_RUNS = 30


@dataclass(frozen=True)
class GraphParams:
    """name: of the graph. target, backend, precision: what was built. artifact: file name in the packed folder.

    here: whether the artifact is executed on this machine, whose times are the target's.
    """

    name: str
    target: str
    backend: str
    precision: str
    artifact: str | None = None
    here: bool = False


def run(
    canonical: Path,
    analyzed: Path | None,
    quantized: Path | None,
    lowered: Path | None,
    packed: Path | None,
    diagnosed: Path | None,
    params: GraphParams,
    context: StageContext,
) -> None:
    """Write the folder. What a build did not come to is None, and missing in the files.

    canonical: model.onnx. analyzed: analysis.json. quantized: quantize.json, qparams.json. lowered: payload/. packed:
    the artifact. diagnosed: diagnosis.json.
    """
    (context.out / FOLDER).mkdir()
    payload = _first_file(lowered)
    steps: dict[str, Any] = {"profile": None, "engine": "", "note": "the artifact was not executed on this machine"}
    if packed is not None and params.artifact is not None and params.here:
        steps = worker.call(
            _profile, {"artifact": packed / params.artifact, "payload": payload, "runs": _RUNS}, timeout=600
        )
    if steps["profile"] is None:
        context.info(f"The graph has no times of the artifact: {steps['note']}.")
    job = {
        "canonical": canonical / "model.onnx",
        "analysis": _read(analyzed, "analysis.json"),
        "quantize": _read(quantized, "quantize.json"),
        "qparams": _read(quantized, "qparams.json"),
        "diagnosis": _read(diagnosed, "diagnosis.json"),
        "steps": steps,
        "reference": None if quantized is None else quantized / "qdq.onnx",
        "payload": payload if payload is not None and payload.suffix == ".tflite" else None,
        "params": params,
        "out": context.out / FOLDER,
    }
    worker.call(_write, job, timeout=600)


def _read(folder: Path | None, name: str) -> Any:
    """A document, where the stage left it."""
    file = None if folder is None else folder / name
    return json.loads(file.read_text(encoding="utf-8")) if file is not None and file.is_file() else None


def _first_file(lowered: Path | None) -> Path | None:
    """The file of a payload that its engine opens first."""
    if lowered is None:
        return None
    files: list[str] = json.loads((lowered / "lower.json").read_text(encoding="utf-8"))["files"]
    return lowered / "payload" / files[0]


def _profile(artifact: Path, payload: Path | None, runs: int) -> dict[str, Any]:
    """In a worker: the artifact's steps on one thread; where there are none, the reason."""
    from edgec.contract import Contract
    from edgec.graph_view.payload_names import tensors_of_layers
    from edgec.runners.timing import probe
    from edgec.runtime.bundle import Bundle
    from edgec.runtime.engines import no_profile, open_for_profile

    bundle = Bundle.open(artifact)
    needed = bundle.manifest["engine"]
    if reason := no_profile(needed["name"]):
        return {"profile": None, "engine": needed["name"], "note": reason}
    engine = open_for_profile(needed["name"], bundle.payload(), needed["options"], 1)
    feeds = probe(Contract.from_json(bundle.manifest))
    for _ in range(5):
        engine.run(feeds)
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(runs):  # one at a time: of a run that is disturbed, no median takes notice
        for step in engine.profile(feeds, 1) or ():
            times.setdefault((step.name, step.operator), []).append(step.milliseconds)
    layers = tensors_of_layers(payload) if payload is not None and payload.suffix == ".xml" else {}
    if not times:
        return {"profile": None, "engine": needed["name"], "note": "its engine tells no times of steps"}
    profile = [
        {"name": _in_the_model(name, layers), "operator": operator, "milliseconds": median(taken) * len(taken) / runs}
        for (name, operator), taken in times.items()
    ]
    return {"profile": profile, "engine": f"{needed['name']}, 1 thread", "note": ""}


def _in_the_model(name: str, layers: Mapping[str, str]) -> str:
    """The name of a step; of OpenVINO's, which are called after a layer, with /ADDITION where it was fused, the tensor
    that it makes."""
    return layers.get(name) or layers.get(name.split("/")[0]) or name


def _write(
    canonical: Path,
    analysis: Any,
    quantize: Any,
    qparams: Any,
    diagnosis: Any,
    steps: dict[str, Any],
    reference: Path | None,
    payload: Path | None,
    params: GraphParams,
    out: Path,
) -> None:
    """In a worker: everything that needs onnx."""
    from edgec.graph_view.layers import Documents
    from edgec.graph_view.writing import write_graph

    grids = None if qparams is None else qparams["tensors"]
    documents = Documents(analysis, quantize, grids, diagnosis, steps["profile"], steps["engine"])
    about = {
        "edgec": __version__,
        "target": params.target,
        "backend": params.backend,
        "precision": params.precision,
        "times of the artifact": "beside each node" if steps["profile"] else f"none: {steps['note']}",
        "weights": "left out; this file is to be looked at, not to be run",
    }
    write_graph(canonical, documents, reference, payload, params.name, about, out)


STAGE = Stage("graph", ("onnx", "numpy", *backend_tools()), run)
