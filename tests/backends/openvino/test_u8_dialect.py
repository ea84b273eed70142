"""The uint8 dialect changes how activations are stored, and no value that the graph computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgec.backends.openvino.u8_dialect import to_u8_dialect
from edgec.reference import Reference
from tests.contract import models


def _dtypes(model, op, index=2):
    constants = {item.name: item.data_type for item in model.graph.initializer}
    return [constants[node.input[index]] for node in model.graph.node if node.op_type == op]


@pytest.mark.parametrize("make", models.INT8, ids=lambda make: make.__name__)
def test_every_value_stays_the_same(make):
    model = make()
    dialect = to_u8_dialect(model)
    onnx.checker.check_model(dialect, full_check=True)
    before, after = (Reference(each.SerializeToString(), "none") for each in (model, dialect))
    for seed in range(5):
        feeds = {name: 3 * array for name, array in models.feeds_for(model, seed).items()}  # some of it saturates
        expected, actual = before.run(feeds), after.run(feeds)
        for name in expected:
            np.testing.assert_array_equal(actual[name], expected[name])


@settings(max_examples=30, deadline=None)
@given(
    zero_point=st.integers(-128, 127),
    scale=st.floats(2**-10, 8, width=32),
    values=st.lists(st.floats(-2000, 2000, width=32, allow_subnormal=False), min_size=1, max_size=20),
)
def test_saturation_and_rounding_are_those_of_int8(zero_point, scale, values):
    net = models.Net()
    net.add("Identity", [net.q_dq("x", scale, zero_point)], "y")
    model = net.model({"x": (1, [len(values)])}, {"y": (1, [len(values)])})
    feeds = {"x": np.array(values, np.float32)}
    expected = Reference(model.SerializeToString(), "none").run(feeds)["y"]
    actual = Reference(to_u8_dialect(model).SerializeToString(), "none").run(feeds)["y"]
    np.testing.assert_array_equal(actual, expected)


def test_activations_become_uint8_and_weights_stay_int8():
    model = to_u8_dialect(models.conv_int8())
    assert set(_dtypes(model, "QuantizeLinear")) == {TensorProto.UINT8}
    weights = [item.data_type for item in model.graph.initializer if item.name in ("w1.q", "w2.q", "w3.q")]
    assert weights == [TensorProto.INT8] * 3


def test_the_model_that_was_given_is_not_changed():
    model = models.conv_int8()
    before = model.SerializeToString(deterministic=True)
    to_u8_dialect(model)
    assert model.SerializeToString(deterministic=True) == before


def test_zero_points_that_nothing_reads_any_more_are_dropped():
    names = {item.name for item in to_u8_dialect(models.gemm_int8()).graph.initializer}
    assert "features.zero_point" not in names
    assert "features.zero_point.u8" in names


def test_an_int8_tensor_that_leaves_the_graph_is_left_alone():
    """Its consumers outside expect int8."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"]),
        helper.make_node("DequantizeLinear", ["y", "scale", "zero"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 1, [4])],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [4]), helper.make_tensor_value_info("z", 1, [4])],
        [numpy_helper.from_array(np.float32(0.1), "scale"), numpy_helper.from_array(np.int8(3), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert set(_dtypes(to_u8_dialect(model), "QuantizeLinear")) == {TensorProto.INT8}


def test_int8_that_another_operator_computes_on_is_left_alone():
    """A MaxPool on int8 orders values as int8 does; with uint8 it would need another type on both sides."""
    net = models.Net()
    net.constant("scale", np.float32(0.1))
    net.constant("zero", np.int8(3))
    net.add("QuantizeLinear", ["x", "scale", "zero"], "q")
    net.add("MaxPool", ["q"], "pooled", kernel_shape=[2, 2])
    net.add("DequantizeLinear", ["pooled", "scale", "zero"], "y")
    model = net.model({"x": (1, [1, 1, 4, 4])}, {"y": (1, [1, 1, 3, 3])})
    assert set(_dtypes(to_u8_dialect(model), "QuantizeLinear")) == {TensorProto.INT8}


def test_a_dequantization_without_zero_point_gets_one():
    """Left out, it means 0, which is 128 in the dialect."""
    net = models.Net()
    net.constant("scale", np.float32(0.1))
    net.constant("zero", np.int8(0))
    net.add("QuantizeLinear", ["x", "scale", "zero"], "q")
    net.add("DequantizeLinear", ["q", "scale"], "y")
    model = net.model({"x": (1, [3])}, {"y": (1, [3])})
    feeds = {"x": np.array([-1.0, 0.0, 25.0], np.float32)}
    actual = Reference(to_u8_dialect(model).SerializeToString(), "none").run(feeds)["y"]
    np.testing.assert_array_equal(actual, Reference(model.SerializeToString(), "none").run(feeds)["y"])
