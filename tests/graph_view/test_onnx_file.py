"""The ONNX model that viewers open: metadata on nodes, no weights."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgec.graph_view.layers import Known
from edgec.graph_view.onnx_file import LEFT_OUT, annotated, graph_nodes


def _model() -> onnx.ModelProto:
    weights = numpy_helper.from_array(np.ones((32, 3, 3, 3), np.float32), "w")
    bias = numpy_helper.from_array(np.arange(32, dtype=np.float32), "b")
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["y"], "relu"),
        helper.make_node("Identity", ["y"], ["z"]),
    ]
    borders = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in _SHAPES]
    graph = helper.make_graph(nodes, "g", borders[:1], borders[1:], [weights, bias])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


_SHAPES = [("x", [1, 3, 8, 8]), ("z", [1, 32, 6, 6])]


def _annotated(known: dict[str, Known]) -> onnx.ModelProto:
    return onnx.load_from_string(annotated(_model(), known, "m-host", {"target": "host"}).SerializeToString())


def test_nodes_carry_what_is_known_in_the_order_of_saying():
    conv, relu, _ = _annotated({"conv": Known({"macs": "5", "error": "18 dB"})}).graph.node
    assert [(entry.key, entry.value) for entry in conv.metadata_props] == [
        ("edgec: macs", "5"),
        ("edgec: error", "18 dB"),
    ]
    assert not relu.metadata_props


def test_the_format_is_one_that_has_metadata_of_nodes():
    made = _annotated({})
    assert made.ir_version >= 10
    assert made.graph.name == "m-host"
    assert {entry.key: entry.value for entry in made.metadata_props} == {"target": "host"}


def test_weights_are_left_out_and_short_constants_stay():
    weights, bias = _annotated({}).graph.initializer
    assert weights.data_location == TensorProto.EXTERNAL
    assert not weights.raw_data
    assert [(entry.key, entry.value) for entry in weights.external_data] == [("location", LEFT_OUT)]
    np.testing.assert_array_equal(numpy_helper.to_array(bias), np.arange(32))


def test_inner_shapes_are_told():
    found = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in _annotated({}).graph.value_info
    }
    assert found["c"] == [1, 32, 6, 6]


def test_with_weights_it_would_pass_the_checker():
    made = _annotated({"conv": Known({"macs": "5"})})
    weights = made.graph.initializer[0]
    weights.CopyFrom(numpy_helper.from_array(np.zeros(tuple(weights.dims), np.float32), weights.name))
    onnx.checker.check_model(made, full_check=True)


def test_the_model_that_it_is_made_of_stays_as_it_was():
    model = _model()
    before = model.SerializeToString()
    annotated(model, {"conv": Known({"macs": "5"})}, "m", {})
    assert model.SerializeToString() == before


def test_only_nodes_with_a_name_can_be_told_of():
    assert [node.name for node in graph_nodes(_model())] == ["conv", "relu"]
