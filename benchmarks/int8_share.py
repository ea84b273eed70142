"""The share of multiply-accumulates that a QDQ model does in INT8, counted the same way whoever made the model.

A multiply-accumulate is INT8 when the data and the weights of its node both come from DequantizeLinear of 8-bit
numbers, at most through nodes that move or choose numbers and change none. Biases don't count.
"""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from onnx import shape_inference

_MOVES = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Identity"}
    | {"Slice", "Split", "Gather", "Concat", "Pad", "MaxPool"}
)
_BYTES = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


def int8_share(path: Path) -> float:
    """0 to 1; 1 of a model without a multiply-accumulate. ValueError where a shape stays open."""
    model = shape_inference.infer_shapes(onnx.load(str(path)), data_prop=True)
    graph = model.graph
    shapes, types = {}, {}
    for info in (*graph.value_info, *graph.input, *graph.output):
        shapes[info.name] = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        types[info.name] = info.type.tensor_type.elem_type
    for weight in graph.initializer:
        shapes[weight.name], types[weight.name] = list(weight.dims), weight.data_type
    producers = {output: node for node in graph.node for output in node.output}

    def in_bytes(name: str) -> bool:
        node = producers.get(name)
        if node is not None and node.op_type in _MOVES:
            return all(in_bytes(source) for source in (node.input if node.op_type == "Concat" else node.input[:1]))
        return node is not None and node.op_type == "DequantizeLinear" and types.get(node.input[0]) in _BYTES

    total = done = 0
    for node in graph.node:
        if macs := _macs(node, shapes):
            total += macs
            done += macs * (in_bytes(node.input[0]) and in_bytes(node.input[1]))
    return done / total if total else 1.0


def _macs(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    """Multiply-accumulates of a node, 0 of one that does none."""

    def shape(name: str) -> list[int]:
        if not all(shapes.get(name, [0])):
            raise ValueError(f"the shape of {name} is not known")
        return shapes[name]

    attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    if node.op_type == "Conv":
        return math.prod(shape(node.output[0])) * math.prod(shape(node.input[1])[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])
    if node.op_type == "MatMul":
        return math.prod(shape(node.output[0])) * shape(node.input[0])[-1]
    if node.op_type == "Gemm":
        return math.prod(shape(node.output[0])) * shape(node.input[0])[0 if attributes.get("transA") else 1]
    if node.op_type in ("LSTM", "GRU", "RNN"):
        steps, batch, _ = shape(node.input[0])
        return steps * batch * (math.prod(shape(node.input[1])) + math.prod(shape(node.input[2])))
    return 0
