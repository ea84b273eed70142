"""Model Explorer's node data: values by node, with colours, one file a measure.

The format is that of `node_data_builder.py` in google-ai-edge/model-explorer: graph id -> {name, results: key ->
{value, bgColor}, thresholds: [{value, bgColor}]}. A threshold colours what is at most its value and
above the one before. A key is a node's id or the name of a tensor that it makes: for ONNX nodes their names, which are
their ids in the adapter model-explorer-onnx; for a .tflite file names of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgec.graph_view.layers import Known
from edgec.graph_view.measures import MEASURES, Measure

_COST = ((0.0, "#f7fbff"), (0.2, "#c6dbef"), (0.5, "#6baed6"), (1.0, "#2171b5"))
"""Of the largest value; text stays readable on all of them, Model Explorer chooses its colour."""

_ERROR = ((10.0, "#d7301f"), (20.0, "#fc8d59"), (30.0, "#fdcc8a"), (40.0, "#fef0d9"), (400.0, "#e5f5e0"))
"""dB: at most this much. Below 20 dB a layer does harm."""

_PRECISION = {"int8": "#c7e9c0", "int16": "#fdd49e", "float": "#fc9272"}


def node_data(
    known: Mapping[str, Known], graph: str, payload: Mapping[str, str], payload_graph: str = "main"
) -> dict[str, dict[str, Any]]:
    """The documents by measure, of those that are known of any node.

    graph: id of the ONNX graph. payload: names of the .tflite file's tensors by the nodes that make them, in the graph
    `payload_graph`; empty where there is no such file.
    """
    documents = {}
    for name, measure in MEASURES.items():
        values = {node: item.numbers[name] for node, item in known.items() if name in item.numbers}
        if not values:
            continue
        document = {graph: _graph(measure, values)}
        inside = {payload[node]: value for node, value in values.items() if node in payload}
        if inside:
            document[payload_graph] = _graph(measure, inside)
        documents[name] = document
    return documents


def _graph(measure: Measure, values: Mapping[str, float | str]) -> dict[str, Any]:
    results: dict[str, dict[str, Any]] = {key: {"value": value} for key, value in values.items()}
    if measure.colours == "precision":
        for result in results.values():
            result["bgColor"] = _PRECISION[result["value"]]
        return {"name": measure.title, "results": results}
    scale: tuple[tuple[float, str], ...] = _ERROR
    if measure.colours == "cost":
        largest = max(float(value) for value in values.values())
        scale = tuple((share * largest, colour) for share, colour in _COST)
    thresholds = [{"value": value, "bgColor": colour} for value, colour in scale]
    return {"name": measure.title, "results": results, "thresholds": thresholds}
