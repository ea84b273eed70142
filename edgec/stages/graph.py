"""Graph: what each node costs and loses, in files that Netron and Model Explorer open.

out: graph/model.onnx (the ONNX model that was quantized, without its weights, with metadata of nodes),
    graph/MEASURE.json (Model Explorer's node data)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec import worker
from edgec.backends import backend_tools
from edgec.stage import Stage, StageContext
from edgec.version import __version__

FOLDER = "graph"


@dataclass(frozen=True)
class GraphParams:
    """name: of the graph. target, backend, precision: what was built."""

    name: str
    target: str
    backend: str
    precision: str


def run(
    canonical: Path,
    analyzed: Path | None,
    quantized: Path | None,
    lowered: Path | None,
    measured: Path | None,
    diagnosed: Path | None,
    params: GraphParams,
    context: StageContext,
) -> None:
    """Write the folder. What a build did not come to is None, and missing in the files.

    canonical: model.onnx. analyzed: analysis.json. quantized: quantize.json, qparams.json. lowered: payload/. measured:
    latency.json. diagnosed: diagnosis.json.
    """
    (context.out / FOLDER).mkdir()
    payload = _first_file(lowered)
    steps = _steps(measured)
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
        "payload": payload,
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


def _steps(measured: Path | None) -> dict[str, Any]:
    """The artifact's steps with their times, as they were measured, and in what; where there are none, the reason."""
    latency = _read(measured, "latency.json")
    if latency is None:
        return {"profile": None, "threads": "", "note": "nothing was measured"}
    note = latency["profile_note"] or latency["note"].removeprefix("Not measured: ").rstrip(".")
    threads = latency["threads"]
    return {"profile": latency["profile"], "threads": f"{threads} thread{'s' * (threads > 1)}", "note": note}


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
    from edgec.graph_view.payload_names import tensors_of_layers
    from edgec.graph_view.writing import write_graph

    layers = tensors_of_layers(payload) if payload is not None and payload.suffix == ".xml" else {}
    profile = steps["profile"] and [{**step, "name": _in_the_model(step["name"], layers)} for step in steps["profile"]]
    grids = None if qparams is None else qparams["tensors"]
    documents = Documents(analysis, quantize, grids, diagnosis, profile, f"{params.backend}, {steps['threads']}")
    about = {
        "edgec": __version__,
        "target": params.target,
        "backend": params.backend,
        "precision": params.precision,
        "times of the artifact": "beside each node" if profile else f"none: {steps['note']}",
        "weights": "left out; this file is to be looked at, not to be run",
    }
    tflite = payload if payload is not None and payload.suffix == ".tflite" else None
    write_graph(canonical, documents, reference, tflite, params.name, about, out)


STAGE = Stage("graph", ("onnx", "numpy", *backend_tools()), run)
