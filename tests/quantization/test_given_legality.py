"""What INT8 kernels do not take in a model that came quantized: named, with a reason and a remedy."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgec.onnx_graph.graph import Graph
from edgec.quantization import given
from edgec.quantization.given_legality import objections, unlike_grids
from edgec.reference import Reference
from tests.contract.models import Net
from tests.quantization import given_models
from tests.quantization.test_given_rewrites import integers, pair, weights


def product(change=None, **options):
    """A Conv between pairs, with something changed."""
    net = Net()
    x = pair(net, "x", options.get("scale", 0.05), options.get("zero", 90), options.get("kind", np.uint8))
    if options.get("plain_input"):
        x = "x"
    w = weights(net, "w", options.get("values", integers((3, 3, 1, 1))), *options.get("weights", (0.01, 0)))
    net.add("Conv", [x, w], "y")
    model = net.model({"x": (1, [1, 3, 4, 4])}, {"y": (1, [1, 3, 4, 4])})
    return objections(Graph(model))


def test_a_plain_pair_of_operands_is_taken():
    assert product() == []


CASES = {
    "has no QuantizeLinear": {"plain_input": True},
    "one for each channel": {"scale": [0.05, 0.06, 0.07], "zero": [1, 2, 3]},
    "zero points other than 0": {"weights": (0.01, 5)},
    "along axis 1": {"weights": ([0.01, 0.02, 0.03], [0, 0, 0], 1)},
}


@pytest.mark.parametrize("reason", CASES)
def test_each_form_that_no_kernel_takes_is_named_with_a_remedy(reason):
    (found,) = product(**CASES[reason])
    assert found.node == "conv.y"
    assert reason in found.reason
    assert found.remedy


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.INT16, TensorProto.FLOAT8E4M3FN])
def test_other_widths_are_named(kind):
    tensor = helper.make_tensor("w.v", kind, [2, 2], [1, 2, 3, 4])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w.v", "s"], ["w"]),
        helper.make_node("MatMul", ["d", "w"], ["y"], "matmul"),
    ]
    infos = [helper.make_tensor_value_info(name, 1, [2, 2]) for name in ("x", "y")]
    constants = [tensor, helper.make_tensor("s", 1, [], [0.1]), helper.make_tensor("z", TensorProto.INT8, [], [0])]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], constants)
    (found,) = objections(Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])))
    assert "its weights have the type" in found.reason
    assert found.remedy == "Quantize it to 8 bits."


def test_blocks_of_scales_are_named():
    net = Net()
    net.constant("v", integers((6, 4)))
    net.constant("s", np.full((3, 4), 0.1, np.float32))
    net.nodes.append(helper.make_node("DequantizeLinear", ["v", "s"], ["w"], axis=0, block_size=2))
    net.add("MatMul", [pair(net, "x", 0.1, 3), "w"], "y")
    infos = [helper.make_tensor_value_info(*item) for item in (("x", 1, [2, 6]), ("y", 1, [2, 4]))]
    graph = helper.make_graph(net.nodes, "g", infos[:1], infos[1:], net.constants)
    (found,) = objections(Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])))
    assert "block" in found.reason


def test_a_node_that_moves_values_between_unlike_grids_is_named():
    net = Net()
    net.add("MaxPool", [pair(net, "x", 0.05, 90)], "m", kernel_shape=[1, 1])
    net.add("Identity", [pair(net, "m", 0.07, 90)], "y")
    model = net.model({"x": (1, [1, 3, 4, 4])}, {"y": (1, [1, 3, 4, 4])})
    assert unlike_grids(Graph(model)) == ["maxpool.m"]


def test_the_share_of_int8_leaves_out_what_is_named():
    net = Net()
    first = weights(net, "a", integers((3, 3, 1, 1)), 0.01, 0)
    net.add("Conv", [pair(net, "x", 0.05, 90), first], "c")
    second = weights(net, "b", integers((9, 3, 1, 1)), 0.01, 7)
    net.add("Conv", [pair(net, "c", 0.05, 90), second], "y")
    model = net.model({"x": (1, [1, 3, 4, 4])}, {"y": (1, [1, 9, 4, 4])})
    document = given.report(given.taken(model))
    assert document["int8_mac_fraction"] == 0.25
    assert document["precision"] == "mixed"
    assert [item["name"] for item in document["float_nodes"]] == ["conv.y"]
    assert any("'conv.y' is computed in float" in text for text in document["warnings"])


def test_without_the_rounding_of_activations_weights_stay_as_they_are():
    net = Net()
    net.add("Conv", [pair(net, "x", 0.05, 90), weights(net, "w", integers((3, 3, 1, 1)), 0.01, 0)], "y")
    model = net.model({"x": (1, [1, 3, 4, 4])}, {"y": (1, [1, 3, 4, 4])})
    plain = given.with_float_activations(model)
    assert [node.op_type for node in plain.graph.node] == ["DequantizeLinear", "Conv"]
    assert given.with_float_activations(plain) is None


def test_a_relu_that_the_quantizer_left_to_the_grid_is_computed_in_float(tmp_path):
    model = given_models.static(tmp_path)
    assert "Relu" not in [node.op_type for node in model.graph.node]
    plain = given.with_float_activations(given.taken(model).model)
    feeds = {"image": np.random.default_rng(3).normal(size=given_models.SHAPE).astype(np.float32)}
    expected = Reference((tmp_path / "float.onnx").read_bytes(), "none").run(feeds)["scores"]
    actual = Reference(plain.SerializeToString(), "none").run(feeds)["scores"]
    np.testing.assert_allclose(actual, expected, atol=0.05 * np.abs(expected).max())
