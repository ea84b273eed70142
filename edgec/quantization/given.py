"""Models that arrive quantized, trained with QuantizeLinear and DequantizeLinear in place: taken as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from edgec.onnx_graph.cost import macs
from edgec.onnx_graph.graph import MAC_OPS, Graph, attribute

QDQ = ("QuantizeLinear", "DequantizeLinear")


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether a model has quantization nodes of its own."""
    return any(node.op_type in QDQ for node in model.graph.node)


def table(model: onnx.ModelProto) -> dict[str, Any]:
    """The document qparams.json: the scales that the model brings, as far as they are constants."""
    graph = Graph(model)
    tensors: dict[str, Any] = {}
    weights: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op_type not in QDQ or (scale := graph.constant(node.input[1])) is None:
            continue
        zero_point = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if node.op_type == "QuantizeLinear" and scale.size == 1:
            tensors[node.input[0]] = {
                "scale": float(scale.reshape(-1)[0]),
                "zero_point": 0 if zero_point is None else int(zero_point.reshape(-1)[0]),
                "dtype": "uint8" if zero_point is None else str(zero_point.dtype),
            }
        elif node.op_type == "DequantizeLinear" and graph.constant(node.input[0]) is not None:
            weights[node.input[0]] = {
                "axis": int(attribute(node, "axis", 1)) if scale.ndim else None,
                "scales": [float(value) for value in np.atleast_1d(scale)],
            }
    return {"tensors": tensors, "weights": weights}


def report(model: onnx.ModelProto) -> dict[str, Any]:
    """The document quantize.json. There is no float model to compare with, so nothing was judged."""
    graph = Graph(model)

    def dequantized(name: str) -> bool:
        producer = graph.producer.get(name)
        return producer is not None and producer.op_type == "DequantizeLinear"

    nodes = [node for node in graph.nodes if node.op_type in MAC_OPS]
    inside = {node.name for node in nodes if all(dequantized(name) for name in node.input[:2])}
    cost = macs(graph)
    total = sum(cost.values())
    done = sum(count for name, count in cost.items() if name in inside)
    return {
        "profile": "given",
        "method": "given",
        "bias_correction": False,
        "passed": True,
        "failures": [],
        "warnings": ["The model came quantized. Its quantization error is its author's; only the lowering was judged."],
        "int8_mac_fraction": done / total if total else float(bool(inside)),
        "nodes": {"int8": len(inside), "float": len(nodes) - len(inside)},
        "float_nodes": [
            {"name": node.name, "op": node.op_type, "reason": "the model's author left it in float"}
            for node in nodes
            if node.name not in inside
        ],
        "candidates": [],
        "outputs": [],
        "worst_layers": [],
        "precision": "int8" if total == done else "mixed",
        "clipped": [],
        "held_out": 0,
    }
