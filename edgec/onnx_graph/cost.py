"""What a model costs: multiply-accumulates and parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx
from onnx import NodeProto, TensorProto

from edgec.onnx_graph.fields import ELEMENT_TYPES
from edgec.onnx_graph.graph import MAC_OPS, Graph, attribute, numpy_size
from edgec.onnx_graph.hollow import graphs

_RECURRENT = {"LSTM": 4, "GRU": 3, "RNN": 1}  # gates
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def macs(graph: Graph) -> dict[str, int]:
    """Multiply-accumulates of each node of the main graph that has any, by node name.

    Counted are Conv, ConvTranspose, Gemm, MatMul (also their integer and quantized forms) and recurrent layers; a node
    whose shapes are not known counts as nothing. Padding counts as work, bias does not.
    """
    counts = {node.name: node_macs(graph, node) for node in graph.nodes}
    return {name: count for name, count in counts.items() if count}


def parameters(graph: Graph) -> int:
    """Trained numbers: elements of initializers of a float type that multiply, bias or scale (two or more elements).

    Weights inside DequantizeLinear count as what they stand for.
    """
    quantized = {node.input[0] for node in graph.nodes if node.op_type == "DequantizeLinear"}
    return sum(
        size
        for name, tensor in graph.initializers.items()
        if (tensor.data_type in _FLOATS or name in quantized) and (size := numpy_size(tensor)) > 1
    )


@dataclass(frozen=True)
class StoredBytes:
    """Bytes that constants take: all of them, and those in float32."""

    total: int
    float32: int


def stored_bytes(model: onnx.ModelProto) -> StoredBytes:
    """What the model's initializers take, those of its subgraphs and of files beside it included."""
    total = float32 = 0
    for graph in graphs(model):
        for tensor in graph.initializer:
            size = -(-numpy_size(tensor) * ELEMENT_TYPES[tensor.data_type].bits // 8)
            total += size
            float32 += size if tensor.data_type == TensorProto.FLOAT else 0
    return StoredBytes(total, float32)


def node_macs(graph: Graph, node: NodeProto) -> int:
    """Multiply-accumulates of one node; 0 for an op that has none, or whose shapes are not known."""
    op = node.op_type.removeprefix("QLinear").removesuffix("Integer")
    if op in _RECURRENT:
        return _recurrent(graph, node, _RECURRENT[op])
    if op not in MAC_OPS:
        return 0
    weight = 3 if node.op_type.startswith("QLinear") else 1
    left, right, out = (graph.shape(name) for name in (node.input[0], node.input[weight], node.output[0]))
    if left is None or right is None or out is None:
        return 0
    if op == "Conv":
        return math.prod(out) * math.prod(right[1:])  # right: [out channels, in channels / group, kernel...]
    if op == "ConvTranspose":
        return math.prod(left) * math.prod(right[1:])  # right: [in channels, out channels / group, kernel...]
    if op == "Gemm":
        return math.prod(out) * (left[0] if attribute(node, "transA", 0) else left[1])
    return math.prod(out) * left[-1]


def _recurrent(graph: Graph, node: NodeProto, gates: int) -> int:
    """Steps * batch * directions * gates * hidden * (inputs + hidden)."""
    x, r = graph.shape(node.input[0]), graph.shape(node.input[2])
    if x is None or r is None or len(x) != 3:
        return 0
    directions, hidden = r[0], r[2]
    return x[0] * x[1] * directions * gates * hidden * (x[2] + hidden)
