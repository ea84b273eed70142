"""Models of a few nodes over tensors of any dtype, and the comparison of what is imported with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, helper, numpy_helper

from edgec.ir.graph import Graph
from edgec.ir.importer import import_model
from edgec.ir.passes.fold_constants import fold_constants
from edgec.ir.passes.transposes import place_transposes
from edgec.ir.reference import execute
from edgec.ir.verifier import run_passes

Arrays = Mapping[str, np.ndarray]


def model_over(
    nodes: NodeProto | Sequence[NodeProto],
    feeds: Arrays,
    constants: Arrays | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 20,
) -> onnx.ModelProto:
    """A model whose inputs are those of the feeds; ONNX Runtime infers what its outputs are."""
    made = [nodes] if isinstance(nodes, NodeProto) else list(nodes)
    for index, node in enumerate(made):
        node.name = node.name or f"{node.op_type}_{index}"
    graph = helper.make_graph(
        made,
        "g",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(data.dtype), data.shape)
            for name, data in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(data), name) for name, data in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def expected_of(model: onnx.ModelProto, feeds: Arrays) -> dict[str, np.ndarray]:
    """What ONNX Runtime computes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [info.name for info in session.get_outputs()]
    results = session.run(None, {name: np.asarray(data) for name, data in feeds.items()})
    return dict(zip(names, results, strict=True))


def agree(
    nodes: NodeProto | Sequence[NodeProto],
    feeds: Arrays,
    constants: Arrays | None = None,
    outputs: Sequence[str] = ("y",),
    *,
    opset: int = 20,
    tolerance: float = 2e-6,
) -> Graph:
    """Import, run the passes and compare; returns the graph as it was imported.

    tolerance: of the largest error, as a share of the largest number in a result. Integers are to be equal.
    """
    feeds = {name: np.asarray(data) for name, data in feeds.items()}
    model = model_over(nodes, feeds, constants, outputs, opset)
    graph = import_model(model)
    placed = run_passes(graph, [fold_constants, place_transposes])
    for name, expected in expected_of(model, feeds).items():
        for found in (execute(graph, feeds)[name], execute(placed, feeds)[name]):
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
            if expected.dtype == np.float32:
                limit = tolerance * max(1.0, float(np.nanmax(np.abs(expected[np.isfinite(expected)]), initial=0)))
                np.testing.assert_allclose(found, expected, rtol=0, atol=limit, err_msg=name)
            else:
                np.testing.assert_array_equal(found, expected, err_msg=name)
    return graph


def labels(graph: Graph) -> list[str]:
    """The labels of the graph's operations, in order."""
    return [operation.kind.label for operation in graph.operations]
