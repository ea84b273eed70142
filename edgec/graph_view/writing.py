"""A folder for viewers of graphs: model.onnx with metadata, and one .json of Model Explorer's node data a measure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import onnx

from edgec.graph_view.layers import Documents, kernels, known_of
from edgec.graph_view.measures import MODEL
from edgec.graph_view.node_data import node_data
from edgec.graph_view.onnx_file import annotated, graph_nodes
from edgec.graph_view.payload_names import payload_names, tensor_names


def write_graph(
    canonical: Path,
    documents: Documents,
    quantized: Path | None,
    payload: Path | None,
    name: str,
    about: Mapping[str, str],
    out: Path,
) -> None:
    """Write what viewers read into `out`.

    canonical: the ONNX model that was quantized. quantized: what came of it; payload: the .tflite file that this was
    lowered to; None where there is none. name: of the graph. about: metadata of the model.
    """
    model = onnx.load(canonical, load_external_data=False)
    nodes = graph_nodes(model)
    known = known_of(nodes, documents)
    names = {}
    if payload is not None:
        lowered = [] if quantized is None else graph_nodes(onnx.load(quantized, load_external_data=False))
        names = payload_names(nodes, kernels(nodes, documents.quantize), lowered, tensor_names(payload))
    onnx.save(annotated(model, known, name, about), out / MODEL)
    for measure, document in node_data(known, name, names).items():
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        (out / f"{measure}.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
