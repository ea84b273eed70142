"""A float model some of whose tensors are rounded to integers and back: to see what that alone costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgec.onnx_graph.graph import Graph
from edgec.quantization.names import Names
from edgec.quantization.qparams import QParams


def with_rounded(graph: Graph, tensors: Mapping[str, QParams]) -> onnx.ModelProto:
    """The float model of `graph` in which everyone who reads one of `tensors` reads it rounded; outputs as well."""
    names = Names(graph)
    source = graph.model.graph
    model = onnx.ModelProto(ir_version=graph.model.ir_version)
    model.opset_import.extend(graph.model.opset_import)
    model.functions.extend(graph.model.functions)
    target = model.graph
    target.name = source.name
    target.input.extend(source.input)
    target.output.extend(source.output)
    target.initializer.extend(source.initializer)
    target.sparse_initializer.extend(source.sparse_initializer)
    read_as = {name: names.fresh(f"{name}_rounded") for name in tensors}
    for name in graph.inputs:
        if name in tensors:
            _round(model, names, name, read_as[name], tensors[name])
    for original in graph.nodes:
        node = NodeProto()
        node.CopyFrom(original)
        for i, name in enumerate(node.input):
            node.input[i] = read_as.get(name, name)
        target.node.append(node)
        for i, name in enumerate(original.output):
            if name in tensors and name in graph.outputs:  # the output's name belongs to what is rounded
                raw = names.fresh(f"{name}_raw")
                target.node[-1].output[i] = raw
                _round(model, names, raw, name, tensors[name])
                read_as[name] = name
            elif name in tensors:
                _round(model, names, name, read_as[name], tensors[name])
    return model


def _round(model: onnx.ModelProto, names: Names, source: str, target: str, params: QParams) -> None:
    """Append QuantizeLinear and DequantizeLinear from `source` to `target`."""
    scale, zero_point = names.fresh(f"{target}_scale"), names.fresh(f"{target}_zero_point")
    integers = names.fresh(f"{target}_quantized")
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(params.scale, np.float32), scale),
            numpy_helper.from_array(np.array(params.zero_point, params.dtype), zero_point),
        ]
    )
    for op, inputs, output in (("QuantizeLinear", source, integers), ("DequantizeLinear", integers, target)):
        name = names.fresh(f"{target}_{op}")
        model.graph.node.append(helper.make_node(op, [inputs, scale, zero_point], [output], name=name))
