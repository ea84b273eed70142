"""Multiply-accumulates and parameters, against counts made by hand."""

import numpy as np
import pytest
from onnx import helper

from edgec.onnx_graph.cost import macs, parameters
from edgec.onnx_graph.graph import Graph
from tests.onnx_graph.models import model_of, two_layers


def cost_of(node, inputs, outputs, weights):
    return macs(Graph(model_of([node], inputs, outputs, weights)))


def weight(*shape):
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("node", "inputs", "outputs", "weights", "expected"),
    [
        (
            helper.make_node("Conv", ["x", "w"], ["y"], name="n", strides=[2, 2]),
            {"x": [2, 3, 9, 9]},
            {"y": [2, 8, 4, 4]},
            {"w": weight(8, 3, 3, 3)},
            2 * 8 * 4 * 4 * 3 * 3 * 3,
        ),
        (
            helper.make_node("Conv", ["x", "w"], ["y"], name="n", group=6),
            {"x": [1, 6, 5, 5]},
            {"y": [1, 6, 3, 3]},
            {"w": weight(6, 1, 3, 3)},
            6 * 3 * 3 * 3 * 3,
        ),
        (
            helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="n", strides=[2, 2]),
            {"x": [1, 4, 5, 5]},
            {"y": [1, 2, 10, 10]},
            {"w": weight(4, 2, 2, 2)},
            4 * 5 * 5 * 2 * 2 * 2,
        ),
        (
            helper.make_node("Gemm", ["x", "w"], ["y"], name="n", transA=1, transB=1),
            {"x": [7, 3]},
            {"y": [3, 5]},
            {"w": weight(5, 7)},
            3 * 5 * 7,
        ),
        (
            helper.make_node("MatMul", ["x", "w"], ["y"], name="n"),
            {"x": [2, 4, 3, 7]},
            {"y": [2, 4, 3, 5]},
            {"w": weight(7, 5)},
            2 * 4 * 3 * 5 * 7,
        ),
        (
            helper.make_node("LSTM", ["x", "w", "r"], ["y"], name="n", hidden_size=6),
            {"x": [10, 2, 3]},
            {"y": [10, 1, 2, 6]},
            {"w": weight(1, 24, 3), "r": weight(1, 24, 6)},
            10 * 2 * 4 * 6 * (3 + 6),
        ),
    ],
    ids=["strided Conv", "depthwise Conv", "ConvTranspose", "transposed Gemm", "batched MatMul", "LSTM"],
)
def test_macs_of_one_node(node, inputs, outputs, weights, expected):
    assert cost_of(node, inputs, outputs, weights) == {"n": expected}


def test_only_nodes_that_multiply_are_listed():
    assert set(macs(Graph(two_layers()))) == {"conv", "fc"}


def test_unknown_shapes_count_as_nothing():
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="n")
    assert cost_of(node, {"x": ["n", 7]}, {"y": None}, {"w": weight(7, 5)}) == {}


def test_parameters_are_trained_numbers():
    weights = {"w": weight(7, 5), "epsilon": np.float32(1e-5), "axes": np.arange(4)}
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="n")
    assert parameters(Graph(model_of([node], {"x": [1, 7]}, {"y": [1, 5]}, weights))) == 35


def test_quantized_weights_count_as_what_they_stand_for():
    weights = {"q": np.ones((7, 5), np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], name="dq"),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="n"),
    ]
    assert parameters(Graph(model_of(nodes, {"x": [1, 7]}, {"y": [1, 5]}, weights))) == 35
