"""One form for constants: initializers. One name for every node.

Exporters write constants as Constant nodes, as initializers, or as initializers that are inputs as well. Everything
after ingest wants to ask one question, `is this tensor an initializer`, so that is what they all become.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgec.errors import ModelRefused
from edgec.onnx_graph.hollow import graphs


def constants_to_initializers(model: onnx.ModelProto) -> int:
    """Turn the Constant nodes of the main graph and of all subgraphs into initializers; returns how many.

    A graph's output that is a constant stays a node's output (an Identity of the initializer in the main graph, the
    Constant node itself in a subgraph), since readers differ on initializers as outputs. Raises ModelRefused for a
    sparse constant.
    """
    changed = 0
    for depth, graph in enumerate(list(graphs(model))):
        outputs = {item.name for item in graph.output}
        for index in reversed(range(len(graph.node))):
            node = graph.node[index]
            if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
                continue
            name = node.output[0]
            if name in outputs and depth:
                continue
            tensor = _value(node)
            if name in outputs:
                tensor.name = fresh_name(f"{name}_constant", model)
                node.CopyFrom(onnx.helper.make_node("Identity", [tensor.name], [name], name=node.name))
            else:
                tensor.name = name
                del graph.node[index]
            graph.initializer.append(tensor)
            changed += 1
    return changed


def _value(node: onnx.NodeProto) -> TensorProto:
    """The tensor that a Constant node stands for. Large ones as raw_data."""
    if len(node.attribute) != 1 or node.attribute[0].ref_attr_name:
        raise _refused(node, f"It has {len(node.attribute)} attributes where one value is expected.")
    attribute = node.attribute[0]
    if attribute.name == "value":
        return _raw(attribute.t)
    if attribute.name == "value_float":
        return numpy_helper.from_array(np.array(attribute.f, np.float32))
    if attribute.name == "value_floats":
        return numpy_helper.from_array(np.array(attribute.floats, np.float32))
    if attribute.name == "value_int":
        return numpy_helper.from_array(np.array(attribute.i, np.int64))
    if attribute.name == "value_ints":
        return numpy_helper.from_array(np.array(attribute.ints, np.int64))
    if attribute.name == "value_string":
        return TensorProto(data_type=TensorProto.STRING, string_data=[attribute.s])
    if attribute.name == "value_strings":
        strings = list(attribute.strings)
        return TensorProto(data_type=TensorProto.STRING, dims=[len(strings)], string_data=strings)
    what = "a sparse tensor" if attribute.name == "sparse_value" else f"the unknown attribute {attribute.name!r}"
    raise _refused(node, f"Its value is {what}.")


def _raw(tensor: TensorProto) -> TensorProto:
    """A copy whose data is raw_data wherever the type allows it: one layout for all that reads it later."""
    copy = TensorProto()
    copy.CopyFrom(tensor)
    if copy.data_type != TensorProto.STRING and not copy.HasField("raw_data"):
        copy = numpy_helper.from_array(numpy_helper.to_array(copy))
    copy.ClearField("doc_string")
    return copy


def _refused(node: onnx.NodeProto, why: str) -> ModelRefused:
    name = node.name or (node.output[0] if node.output else "without a name")
    return ModelRefused(
        f"The Constant node {name!r} can't be read",
        why,
        "Export the model with dense constants; `onnxsim` or `torch.onnx.export(do_constant_folding=True)` does so.",
    )


def plain_initializers(model: onnx.ModelProto) -> list[str]:
    """Give all initializers of the main graph the layout raw_data, and take them out of the inputs.

    Returns the names of those that were inputs as well: constants with a value that a caller could replace.
    """
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL and not tensor.HasField("raw_data"):
            name = tensor.name
            tensor.CopyFrom(_raw(tensor))
            tensor.name = name
    names = {tensor.name for tensor in graph.initializer}
    both = []
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in names:
            both.append(graph.input[index].name)
            del graph.input[index]
    return both[::-1]


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node of the main graph and of all subgraphs a name of its own.

    A node that has a name and is the first to have it keeps it. Others are called after their op and place: "Conv_12".
    """
    all_graphs = list(graphs(model))
    taken = {node.name for graph in all_graphs for node in graph.node}
    given: set[str] = set()
    for graph in all_graphs:
        for index, node in enumerate(graph.node):
            if not node.name or node.name in given:
                node.name = _free(f"{node.op_type}_{index}", taken | given)
            given.add(node.name)


def fresh_name(wish: str, model: onnx.ModelProto) -> str:
    """`wish`, or `wish` with a number, such that no tensor of the model has that name."""
    taken: set[str] = set()
    for graph in graphs(model):
        taken.update(item.name for item in (*graph.initializer, *graph.input, *graph.output))
        taken.update(name for node in graph.node for name in node.output)
    return _free(wish, taken)


def _free(wish: str, taken: set[str]) -> str:
    name, number = wish, 1
    while name in taken:
        name, number = f"{wish}_{number}", number + 1
    return name
