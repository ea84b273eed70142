"""What layers compute, hold and move, counted on a graph small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec.inspection.layers import Bytes, Census, Peak, by_operator, intensity
from edgec.onnx_graph.graph import Graph
from tests.contract import models


def graph_of(nodes, constants, inputs, outputs):
    """A Graph; inputs and outputs by name, with their shapes."""
    infos = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in tensors.items()]
        for tensors in (inputs, outputs)
    ]
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return Graph(helper.make_model(helper.make_graph(nodes, "g", *infos, made)))


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs, [output], f"n_{output}", **attributes)


@pytest.fixture
def residual():
    """x -> conv (8 channels, 1x1) -> relu -> conv back to 4 -> add x. x is 1x4x5x5: 100 elements."""
    return graph_of(
        [
            node("Conv", ["x", "w1", "b1"], "a"),
            node("Relu", ["a"], "r"),
            node("Conv", ["r", "w2"], "c"),
            node("Add", ["c", "x"], "y"),
        ],
        {
            "w1": np.ones((8, 4, 1, 1), np.float32),
            "b1": np.ones(8, np.float32),
            "w2": np.ones((4, 8, 1, 1), np.float32),
        },
        {"x": (1, 4, 5, 5)},
        {"y": (1, 4, 5, 5)},
    )


def test_work_parameters_and_traffic_of_each_layer(residual):
    conv, relu, back, add = Census(residual).layers()
    assert (conv.macs, conv.parameters, conv.shape) == (8 * 25 * 4, 40, (1, 8, 5, 5))
    assert conv.bytes == Bytes(4 * (100 + 200 + 40), 100 + 200 + 32 + 4 * 8), "a bias is held in int32"
    assert relu.bytes == Bytes(), "it is part of the convolution before it"
    assert back.bytes == Bytes(4 * (200 + 100 + 32), 200 + 100 + 32)
    assert (add.macs, add.bytes) == (0, Bytes(4 * 300, 300))
    assert intensity(conv.macs, conv.bytes)["float32"] == pytest.approx(800 / 1360, abs=1e-4)


def test_the_peak_holds_what_is_still_to_be_read(residual):
    """At the second convolution x (100), r in the place of a (200), and c (100) are alive."""
    peak = Census(residual).peak()
    assert peak.bytes == Bytes(1600, 400)
    assert peak.at == "n_c"


def test_an_activation_function_whose_operand_others_read_holds_a_tensor_of_its_own():
    graph = graph_of(
        [node("Neg", ["x"], "a"), node("Relu", ["a"], "r"), node("Add", ["a", "r"], "y")],
        {},
        {"x": (1, 10)},
        {"y": (1, 10)},
    )
    census = Census(graph)
    assert census.layers()[1].bytes == Bytes(80, 20)
    assert census.peak().bytes == Bytes(120, 30)


def test_an_activation_function_whose_operand_a_branch_reads_holds_a_tensor_of_its_own():
    made = helper.make_tensor_value_info("made", TensorProto.FLOAT, (10,))
    branches = {
        f"{way}_branch": helper.make_graph([helper.make_node(op, ["a"], ["made"])], way, [], [made])
        for way, op in (("then", "Neg"), ("else", "Abs"))
    }
    graph = graph_of(
        [node("Neg", ["x"], "a"), node("Relu", ["a"], "r"), node("If", ["c"], "y", **branches)],
        {"c": np.array(True)},
        {"x": (10,)},
        {"r": (10,), "y": (10,)},
    )
    assert Census(graph).layers()[1].bytes == Bytes(80, 20)


def test_a_reshape_moves_nothing_and_its_tensor_is_the_same():
    graph = graph_of(
        [node("Reshape", ["x", "shape"], "a"), node("Neg", ["a"], "y")],
        {"shape": np.array([10], np.int64)},
        {"x": (2, 5)},
        {"y": (10,)},
    )
    census = Census(graph)
    assert census.layers()[0].bytes == Bytes()
    assert census.peak().bytes == Bytes(80, 20)


def test_weights_that_two_layers_share_are_held_once():
    graph = graph_of(
        [node("MatMul", ["x", "w"], "a"), node("MatMul", ["a", "w"], "y")],
        {"w": np.ones((6, 6), np.float32)},
        {"x": (1, 6)},
        {"y": (1, 6)},
    )
    census = Census(graph)
    assert census.parameters() == 36
    assert census.weights() == Bytes(144, 36)
    assert census.weights_held({"n_y"}) == 144, "the one that stays in float32 needs them in float32"


def test_an_embedding_reads_the_rows_that_it_picks():
    graph = graph_of(
        [node("Gather", ["table", "ids"], "y")],
        {"table": np.ones((1000, 8), np.float32), "ids": np.array([3, 4], np.int64)},
        {"x": (1,)},
        {"y": (2, 8)},
    )
    (layer,) = Census(graph).layers()
    assert (layer.parameters, layer.bytes) == (8000, Bytes(2 * 64, 2 * 16))


def test_a_quantized_model_counts_as_the_float_model_that_it_stands_for():
    float_one, quantized = (
        Census(Graph(made()), made is models.conv_int8) for made in (models.conv_float, models.conv_int8)
    )
    work = [[layer.macs for layer in census.layers() if layer.macs] for census in (float_one, quantized)]
    assert work[0] == work[1] != []
    assert quantized.weights().int8 < quantized.weights().float32
    assert all(
        layer.bytes == Bytes()
        for layer in quantized.layers()
        if layer.operator in ("QuantizeLinear", "DequantizeLinear")
    )


def test_a_tensor_of_unknown_shape_is_not_counted_but_told():
    graph = graph_of(
        [node("NonZero", ["x"], "i"), node("Cast", ["i"], "y", to=TensorProto.FLOAT)],
        {},
        {"x": (4,)},
        {"y": ("a", "b")},
    )
    layers = Census(graph).layers()
    assert [layer.bytes for layer in layers] == [None, None]
    assert intensity(0, None) == {"float32": None, "int8": None}


def test_a_tensor_that_only_a_branch_reads_stays_alive_until_then():
    graph = Graph(models.branches())
    assert Census(graph).peak().bytes.float32 > 0
    census = Census(graph)
    (choosing,) = (layer for layer in census.layers() if layer.operator == "If")
    assert census.bodies() == {choosing.node}
    assert choosing.bytes is None
    assert all(layer.node for layer in Census(graph).layers())


def test_a_model_without_nodes_holds_nothing():
    assert Census(graph_of([], {}, {"x": (4,)}, {"x": (4,)})).peak() == Peak(Bytes(), "")


def test_operators_are_summed_up_the_heaviest_first(residual):
    rows = by_operator(Census(residual).layers(), {"n_a": 1.5, "n_c": 0.5, "n_y": 0.25})
    assert [row["operator"] for row in rows] == ["Conv", "Add", "Relu"]
    assert (rows[0]["count"], rows[0]["macs"], rows[0]["milliseconds"]) == (2, 1600, 2.0)
    assert by_operator(Census(residual).layers(), None)[0]["milliseconds"] is None
