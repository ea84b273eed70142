"""The float model that belongs to a model with QuantizeLinear and DequantizeLinear of its own.

Its weights are the real values of the integers: what they were before, nobody can tell any more. A quantizer whose grid
begins at zero may stand in for a Relu, as quantization-aware training leaves it; a Relu takes its place, which changes
nothing where there are no negative values.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgec.diagnosis.layers import DEQUANTIZE, QUANTIZE, names_read
from edgec.diagnosis.walk import without_rounding
from edgec.onnx_graph.graph import Graph, attribute


def float_counterpart(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` without Q/DQ pairs; tensors in front of a pair keep their names."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = Graph(result)
    renamed: dict[str, str] = {}
    nodes: list[NodeProto] = []
    constants: dict[str, np.ndarray] = {}
    for original in graph.nodes:
        node = NodeProto()
        node.CopyFrom(original)
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        integers = graph.constant(original.input[0]) if original.input else None
        if node.op_type == DEQUANTIZE and integers is not None:
            constants[node.output[0]] = _dequantized(graph, original, integers)
        elif node.op_type in (QUANTIZE, DEQUANTIZE):
            source, target = node.input[0], node.output[0]
            if node.op_type == QUANTIZE and begins_at_zero(graph, original):
                source = f"{node.input[0]}_not_negative"
                nodes.append(helper.make_node("Relu", [node.input[0]], [source], name=f"{source}/Relu"))
            if target in graph.outputs:
                nodes.append(helper.make_node("Identity", [source], [target], name=f"{target}/Identity"))
            renamed[target] = source
        else:
            nodes.append(node)
    del result.graph.node[:], result.graph.value_info[:]
    result.graph.node.extend(nodes)
    live = {name for node in nodes for name in node.input} | set(graph.outputs)
    kept = [item for item in result.graph.initializer if item.name in live]
    del result.graph.initializer[:]
    result.graph.initializer.extend(kept)
    result.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return result


def with_rounded_constants_only(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` without the Q/DQ pairs of its activations: just its weights and biases are rounded."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = Graph(result)
    known = {*graph.outputs, *(name for node in graph.nodes for name in set(names_read(node)) - set(node.input))}
    nodes: list[NodeProto] = []
    renamed: dict[str, str] = {}
    for original in graph.nodes:
        kept, new = without_rounding([original], graph, renamed)
        nodes += kept
        renamed.update(new)
        for target, source in new.items():
            if target in known:  # others know it by this name
                nodes.append(helper.make_node("Identity", [source], [target], name=f"{target}/Identity"))
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def _dequantized(graph: Graph, node: NodeProto, integers: np.ndarray) -> np.ndarray:
    scale = graph.constant(node.input[1])
    zero_point = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros((), np.int32)
    assert scale is not None and zero_point is not None
    if scale.size > 1:
        shape = [1] * integers.ndim
        shape[int(attribute(node, "axis", 1))] = -1
        scale = scale.reshape(shape)
        zero_point = zero_point.reshape(shape) if zero_point.size > 1 else zero_point
    return np.asarray((integers.astype(np.int64) - zero_point.astype(np.int64)) * scale, np.float32)


def begins_at_zero(graph: Graph, node: NodeProto) -> bool:
    """Whether a QuantizeLinear has a grid without negative values, as a Relu in front of it has."""
    if len(node.input) < 3 or not node.input[2]:
        return False
    zero_point = graph.constant(node.input[2])
    return (
        zero_point is not None
        and zero_point.size == 1
        and int(zero_point.reshape(-1)[0]) == np.iinfo(zero_point.dtype).min
    )
