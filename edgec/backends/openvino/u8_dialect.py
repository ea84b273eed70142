"""The uint8 dialect: QDQ graphs as OpenVINO's INT8 kernels want them.

The quantized reference has int8 activations. OpenVINO multiplies uint8 activations by int8 weights; given int8
activations, it loses accuracy. Adding 128 to every activation's value and zero point changes the representation and
nothing else: q - z = (q + 128) - (z + 128), and the saturation bounds [-128, 127] become [0, 255].
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgec.onnx_graph.graph import Graph


def to_u8_dialect(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` whose int8 activations are uint8. Every value that the graph computes stays the same.

    An activation is what a QuantizeLinear makes of another tensor than an initializer, and only DequantizeLinear reads.
    Weights stay int8. An int8 tensor that other operators read, or that is an output of the graph, is left as it is.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = Graph(changed)
    rewritten: set[str] = set()
    added: dict[str, TensorProto] = {}

    for node in graph.nodes:
        if node.op_type != "QuantizeLinear" or node.input[0] in graph.initializers:
            continue
        tensor = node.output[0]
        readers = graph.consumers.get(tensor, [])
        pair = [node, *readers]
        if tensor in graph.outputs or any(reader.op_type != "DequantizeLinear" for reader in readers):
            continue
        if not all(_is_int8(graph, each) for each in pair):
            continue
        for each in pair:
            zero_point = _shifted_zero_point(graph, each)
            if each.op_type == "DequantizeLinear" and len(each.input) < 3:
                each.input.append(zero_point.name)
            else:
                each.input[2] = zero_point.name
            added[zero_point.name] = zero_point
            for attribute in each.attribute:
                if attribute.name == "output_dtype" and each.op_type == "QuantizeLinear":
                    attribute.i = TensorProto.UINT8
        rewritten.add(tensor)

    changed.graph.initializer.extend(added.values())
    _drop_unused(changed, {name for name in graph.initializers if name not in added})
    known = [info for info in changed.graph.value_info if info.name not in rewritten]
    del changed.graph.value_info[:]
    changed.graph.value_info.extend(known)
    return changed


def _is_int8(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a Q or DQ node works on int8 with a zero point that is known now."""
    if len(node.input) > 2 and node.input[2]:
        zero_point = graph.constant(node.input[2])
        return zero_point is not None and zero_point.dtype == np.int8
    return node.op_type == "DequantizeLinear"  # without a zero point, Q makes uint8; DQ takes what it gets


def _shifted_zero_point(graph: Graph, node: onnx.NodeProto) -> TensorProto:
    """The uint8 zero point for `node`; nodes that share an int8 one share the uint8 one."""
    if len(node.input) > 2 and node.input[2]:
        old = graph.constant(node.input[2])
        assert old is not None
        name = f"{node.input[2]}.u8"
    else:
        old = np.zeros((), np.int8)
        name = f"{node.input[0]}.zero_point.u8"
    return numpy_helper.from_array((old.astype(np.int16) + 128).astype(np.uint8), name)


def _drop_unused(model: onnx.ModelProto, candidates: set[str]) -> None:
    """Remove int8 zero points that nothing reads any more."""
    used = {name for node in model.graph.node for name in node.input}
    used.update(output.name for output in model.graph.output)
    if any(
        attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        for node in model.graph.node
        for attribute in node.attribute
    ):
        return  # a subgraph may read any of them
    kept = [item for item in model.graph.initializer if item.name in used or item.name not in candidates]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
