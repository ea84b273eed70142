"""What the importer's tests stand on: models of one node, and the comparison with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgec.ir.graph import Graph
from edgec.ir.importer import import_model
from edgec.ir.reference.executor import execute
from edgec.ir.verifier import verify

Shapes = Mapping[str, Sequence[int]]


def model_of(
    nodes: NodeProto | Sequence[NodeProto],
    inputs: Shapes,
    constants: Mapping[str, np.ndarray] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
) -> onnx.ModelProto:
    """A model of float32 inputs; what its outputs are is left to inference."""
    made = [nodes] if isinstance(nodes, NodeProto) else list(nodes)
    for i, node in enumerate(made):
        node.name = node.name or f"node{i}"
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(data, name) for name, data in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    del model.graph.output[:]
    known = {info.name: info for info in [*inferred.graph.output, *inferred.graph.value_info]}
    model.graph.output.extend(known[name] for name in outputs)
    return model


def node(op: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> NodeProto:
    """A node; attributes that are None are left out."""
    given = {name: value for name, value in attributes.items() if value is not None}
    return helper.make_node(op, list(inputs), list(outputs), **given)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers of a normal distribution: float32."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def imported(model: onnx.ModelProto) -> Graph:
    """The graph, verified."""
    graph = import_model(model)
    verify(graph)
    return graph


def assert_same_as_onnxruntime(model: onnx.ModelProto, tolerance: float = 2e-6) -> Graph:
    """Import the model and compare what it computes; returns the graph.

    tolerance: of the largest error, as a share of the largest number in a result.
    """
    graph = imported(model)
    feeds = {
        info.name: random(*(dim.dim_value for dim in info.type.tensor_type.shape.dim), seed=i)
        for i, info in enumerate(model.graph.input)
    }
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    found = execute(graph, feeds)
    for info, expected in zip(session.get_outputs(), session.run(None, feeds), strict=True):
        result = found[info.name]
        assert result.shape == expected.shape, (info.name, result.shape, expected.shape)
        np.testing.assert_allclose(
            result, expected, rtol=0, atol=tolerance * max(1.0, float(np.abs(expected).max(initial=0)))
        )
    return graph


def kinds(graph: Graph) -> list[str]:
    """The labels of the graph's operations, in order."""
    return [operation.kind.label for operation in graph.operations]
