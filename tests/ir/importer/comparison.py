"""What the importer's tests stand on: models of a few nodes, and the comparison with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, helper, numpy_helper

from edgec.ir.graph import Graph
from edgec.ir.importer import import_model
from edgec.ir.passes.fold_constants import fold_constants
from edgec.ir.passes.transposes import place_transposes
from edgec.ir.reference import execute
from edgec.ir.verifier import run_passes, verify

Arrays = Mapping[str, np.ndarray]
Inputs = Mapping[str, np.ndarray | Sequence[int]]
"""An input is given as what it is fed, or as a shape: then it is float32, and fed numbers of a normal distribution."""


def node(op: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> NodeProto:
    """A node; attributes that are None are left out."""
    given = {name: value for name, value in attributes.items() if value is not None}
    return helper.make_node(op, list(inputs), list(outputs), **given)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers of a normal distribution: float32."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def feeds_of(inputs: Inputs) -> dict[str, np.ndarray]:
    """What the inputs are fed."""
    return {
        name: random(*given, seed=index) if isinstance(given, Sequence) else np.asarray(given)
        for index, (name, given) in enumerate(inputs.items())
    }


def model_of(
    nodes: NodeProto | Sequence[NodeProto],
    inputs: Inputs,
    constants: Arrays | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 20,
) -> onnx.ModelProto:
    """A model of these nodes, which states what its inputs are; what its outputs are is left to inference."""
    made = [nodes] if isinstance(nodes, NodeProto) else list(nodes)
    for index, item in enumerate(made):
        item.name = item.name or f"{item.op_type}_{index}"
    graph = helper.make_graph(
        made,
        "g",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(data.dtype), data.shape)
            for name, data in feeds_of(inputs).items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(data), name) for name, data in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def imported(model: onnx.ModelProto) -> Graph:
    """The graph, verified."""
    graph = import_model(model)
    verify(graph)
    return graph


def assert_same_as_onnxruntime(
    model: onnx.ModelProto, feeds: Arrays | None = None, *, tolerance: float = 2e-6
) -> Graph:
    """Import the model, run the passes, and compare what it computes before and after them; returns what was imported.

    feeds: by default numbers of a normal distribution. tolerance: of the largest error, as a share of the largest
    number in a result. Integers are to be equal.
    """
    if feeds is None:
        feeds = feeds_of(
            {info.name: [size.dim_value for size in info.type.tensor_type.shape.dim] for info in model.graph.input}
        )
    graph = imported(model)
    before = execute(graph, feeds)
    after = execute(run_passes(graph, [fold_constants, place_transposes]), feeds)
    for name, expected in _computed_by_onnxruntime(model, feeds).items():
        for found in (before[name], after[name]):
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
            if expected.dtype == np.float32:
                limit = tolerance * max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
                np.testing.assert_allclose(found, expected, rtol=0, atol=limit, err_msg=name)
            else:
                np.testing.assert_array_equal(found, expected, err_msg=name)
    return graph


def agree(
    nodes: NodeProto | Sequence[NodeProto],
    inputs: Inputs,
    constants: Arrays | None = None,
    outputs: Sequence[str] = ("y",),
    *,
    opset: int = 20,
    tolerance: float = 2e-6,
) -> Graph:
    """assert_same_as_onnxruntime for the model of these nodes."""
    return assert_same_as_onnxruntime(
        model_of(nodes, inputs, constants, outputs, opset), feeds_of(inputs), tolerance=tolerance
    )


def labels(graph: Graph) -> list[str]:
    """The labels of the graph's operations, in order."""
    return [operation.kind.label for operation in graph.operations]


def _computed_by_onnxruntime(model: onnx.ModelProto, feeds: Arrays) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [info.name for info in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))
