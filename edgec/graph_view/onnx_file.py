"""An ONNX model that carries what is known of its nodes as their metadata (`metadata_props`, ONNX 1.16), for Netron and
others that show it. Structure only: of weights, names, types and shapes are left.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import TensorProto

from edgec.graph_view.layers import GraphNode, Known
from edgec.onnx_graph.fields import ELEMENT_TYPES
from edgec.onnx_graph.graph import numpy_size
from edgec.onnx_graph.hollow import nested_tensors

PREFIX = "edgec: "
SMALL = 1024
"""Bytes of constants that stay: shapes, axes, scalars, short biases."""

LEFT_OUT = "weights-are-left-out"
"""Where large constants are said to lie: a file that is not there. Viewers do not ask for it."""

_METADATA = 10
"""The version of ONNX's format (IR) since which nodes have metadata."""


def graph_nodes(model: onnx.ModelProto) -> list[GraphNode]:
    """The nodes of the main graph that have a name."""
    return [
        GraphNode(node.name, node.op_type, tuple(node.input), tuple(node.output))
        for node in model.graph.node
        if node.name
    ]


def annotated(
    model: onnx.ModelProto, known: Mapping[str, Known], name: str, about: Mapping[str, str]
) -> onnx.ModelProto:
    """The structure of `model` with shapes of all tensors that are known, and with metadata.

    name: of the graph. about: metadata of the model.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in (*made.graph.initializer, *nested_tensors(made)):
        _hollow(tensor)
    made = onnx.shape_inference.infer_shapes(made)
    made.ir_version = max(made.ir_version, _METADATA)
    made.graph.name = name
    made.producer_name = "edgec"
    onnx.helper.set_model_props(made, dict(about))
    for node in made.graph.node:
        for key, text in known[node.name].texts.items() if node.name in known else ():
            entry = node.metadata_props.add()
            entry.key, entry.value = PREFIX + key, text
    return made


def _hollow(tensor: onnx.TensorProto) -> None:
    """Take the data out of a large tensor."""
    bits = ELEMENT_TYPES[tensor.data_type].bits if tensor.data_type in ELEMENT_TYPES else 8
    if tensor.data_location == TensorProto.EXTERNAL:
        del tensor.external_data[:]
    elif numpy_size(tensor) * bits // 8 <= SMALL:
        return
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=LEFT_OUT)
