"""Models that came quantized, rewritten: equal values, rule by rule, and those of ONNX Runtime's own quantizers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from edgec.onnx_graph.constants import constants_to_initializers, name_nodes, plain_initializers
from edgec.onnx_graph.graph import Graph
from edgec.quantization import given_rewrites
from edgec.quantization.given import taken
from edgec.quantization.given_legality import objections
from edgec.quantization.given_operators import OPERATORS
from edgec.reference import Reference
from tests.contract.models import Net
from tests.quantization import given_models


def run(model, seed=0):
    return Reference(model.SerializeToString(), "none").run(given_models.feeds(model, seed))


def by_rule(model, name):
    """The model after one rule alone: (changed, names of the nodes that it replaced). It computes the same, exactly."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.value_info[:]
    nodes = given_rewrites.RULES[name](changed)
    onnx.checker.check_model(changed, full_check=True)
    for seed in range(3):
        before, after = run(model, seed), run(changed, seed)
        for key, value in before.items():
            np.testing.assert_array_equal(after[key], value, err_msg=key)
    return changed, nodes


def ops(model):
    return [node.op_type for node in model.graph.node]


def pair(net, tensor, scale, zero, kind=np.uint8, name=""):
    """Q and DQ with these parameters, as arrays of any rank."""
    name = name or tensor
    net.constant(f"{name}.s", np.asarray(scale, np.float32))
    net.constant(f"{name}.z", np.asarray(zero, kind))
    net.add("QuantizeLinear", [tensor, f"{name}.s", f"{name}.z"], f"{name}.q")
    return net.add("DequantizeLinear", [f"{name}.q", f"{name}.s", f"{name}.z"], f"{name}.d")


def weights(net, name, values, scale, zero=None, axis=None):
    net.constant(f"{name}.v", values)
    net.constant(f"{name}.s", np.asarray(scale, np.float32))
    inputs = [f"{name}.v", f"{name}.s"]
    if zero is not None:
        inputs.append(net.constant(f"{name}.z", np.asarray(zero, values.dtype)))
    return net.add("DequantizeLinear", inputs, name, **({} if axis is None else {"axis": axis}))


def integers(shape, kind=np.int8):
    limits = np.iinfo(kind)
    return np.random.default_rng(3).integers(limits.min, limits.max + 1, shape).astype(kind)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 255), st.floats(0.001, 1))
def test_uint8_is_int8_with_another_zero_point(zero, scale):
    net = Net()
    x = pair(net, "x", scale, zero)
    net.add("MatMul", [x, weights(net, "w", integers((6, 4), np.uint8), 0.02, 128)], "y")
    changed, nodes = by_rule(net.model({"x": (1, [3, 6])}, {"y": (1, [3, 4])}), "uint8 as int8")
    assert len(nodes) == 3
    assert {item.data_type for item in changed.graph.initializer} == {TensorProto.FLOAT, TensorProto.INT8}


def test_a_pair_without_a_zero_point_is_uint8_and_gets_one():
    net = Net()
    net.constant("s", np.float32(0.05))
    net.add("QuantizeLinear", ["x", "s"], "q")
    net.add("DequantizeLinear", ["q", "s"], "y")
    changed, _ = by_rule(net.model({"x": (1, [3, 6])}, {"y": (1, [3, 6])}), "uint8 as int8")
    assert Graph(changed).dtype("q") == np.int8


def test_uint8_that_others_read_stays():
    net = Net()
    net.constant("s", np.float32(0.05))
    net.add("QuantizeLinear", ["x", "s"], "q")
    model = net.model({"x": (1, [3, 6])}, {"q": (TensorProto.UINT8, [3, 6])})
    assert by_rule(model, "uint8 as int8")[1] == []


def test_scales_of_one_element_are_scalars():
    net = Net()
    net.add("Identity", [pair(net, "x", [0.1], [3])], "y")
    changed, _ = by_rule(net.model({"x": (1, [3, 6])}, {"y": (1, [3, 6])}), "single values as scalars")
    assert {tuple(item.dims) for item in changed.graph.initializer} == {()}


@pytest.mark.parametrize("axis", [0, 1])
def test_a_quantized_constant_is_the_integers_that_it_gives(axis):
    net = Net()
    count = (6, 4)[axis]
    net.constant("w", net.weights("w", (6, 4)) * np.float32(3))
    net.constant("s", np.linspace(0.01, 0.03, count).astype(np.float32))
    net.constant("z", np.arange(count).astype(np.int8))
    net.add("QuantizeLinear", ["w", "s", "z"], "q", axis=axis)
    net.add("DequantizeLinear", ["q", "s", "z"], "d", axis=axis)
    net.add("MatMul", ["x", "d"], "y")
    changed, nodes = by_rule(net.model({"x": (1, [3, 6])}, {"y": (1, [3, 4])}), "quantized constants")
    assert len(nodes) == 1
    assert "QuantizeLinear" not in ops(changed)


def test_a_pair_on_a_pair_of_the_same_grid_is_none():
    net = Net()
    first = pair(net, "x", 0.05, 7)
    net.add("Relu", [pair(net, first, 0.05, 7, name="again")], "y")
    changed, nodes = by_rule(net.model({"x": (1, [3, 6])}, {"y": (1, [3, 6])}), "pairs on pairs")
    assert len(nodes) == 1
    assert ops(changed).count("QuantizeLinear") == 1


@pytest.mark.parametrize(("scale", "zero"), [(0.06, 7), (0.05, 8)])
def test_a_pair_on_another_grid_stays(scale, zero):
    net = Net()
    net.add("Relu", [pair(net, pair(net, "x", 0.05, 7), scale, zero, name="again")], "y")
    assert by_rule(net.model({"x": (1, [3, 6])}, {"y": (1, [3, 6])}), "pairs on pairs")[1] == []


@pytest.mark.parametrize("axis", [0, 1])
def test_transposed_weights_are_stored_as_they_are_read(axis):
    net = Net()
    scale = np.linspace(0.01, 0.02, (4, 6)[axis])
    w = weights(net, "w", integers((4, 6)), scale, np.zeros(len(scale)), axis)
    net.add("Transpose", [w], "t", perm=[1, 0])
    net.add("MatMul", [pair(net, "x", 0.03, 120), "t"], "y")
    changed, _ = by_rule(net.model({"x": (1, [3, 6])}, {"y": (1, [3, 4])}), "transposed weights")
    assert "Transpose" not in ops(changed)
    assert bool(objections(Graph(changed))) == (axis == 1)  # along the inputs, no kernel takes them


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("Reshape", ["shape"], {}),
        ("Transpose", [], {"perm": [0, 1, 2, 3]}),
        ("MaxPool", [], {"kernel_shape": [1, 1]}),
        ("MaxPool", [], {"kernel_shape": [3, 3], "pads": [1] * 4}),
    ],
)
def test_a_grid_follows_its_values_to_the_product(op, inputs, attributes):
    net = Net()
    net.constant("shape", np.array([1, 3, 4, 4]))
    net.add(op, [pair(net, "x", 0.05, 90), *inputs], "moved", **attributes)
    net.add("Conv", ["moved", weights(net, "w", integers((5, 3, 1, 1)), 0.01, 0)], "y")
    model = net.model({"x": (1, [1, 3, 4, 4])}, {"y": (1, [1, 5, 4, 4])})
    assert objections(Graph(model))
    changed, _ = by_rule(model, "grids carried to products")
    assert not objections(Graph(changed))


def test_a_bias_of_whole_steps_is_int32():
    net = Net()
    scale = np.array([0.01, 0.02, 0.04], np.float32)
    x = pair(net, "x", 0.05, 90)
    steps = np.array([12345, -7, 2**20])
    net.constant("b", (steps * (np.float32(0.05) * scale)).astype(np.float32))
    w = weights(net, "w", integers((3, 3, 1, 1)), scale, np.zeros(3), 0)
    net.add("Conv", [x, w, "b"], "y")
    changed, _ = by_rule(net.model({"x": (1, [1, 3, 4, 4])}, {"y": (1, [1, 3, 4, 4])}), "biases as int32")
    (bias,) = (item for item in changed.graph.initializer if item.data_type == TensorProto.INT32)
    np.testing.assert_array_equal(numpy_helper.to_array(bias), steps)


def test_a_bias_between_steps_stays_float():
    net = Net()
    net.constant("b", np.array([0.00123, 1, 2], np.float32))
    w = weights(net, "w", integers((3, 3, 1, 1)), 0.01, 0)
    net.add("Conv", [pair(net, "x", 0.05, 90), w, "b"], "y")
    assert by_rule(net.model({"x": (1, [1, 3, 4, 4])}, {"y": (1, [1, 3, 4, 4])}), "biases as int32")[1] == []


def prepared(model):
    """As ingest leaves it."""
    constants_to_initializers(model)
    plain_initializers(model)
    name_nodes(model)
    return model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activations": "int8"},
        {"per_channel": False},
        {"activations": "int8", "per_channel": False},
        {"per_channel": False, "symmetric": False},
        {"operators": True},
        {"operators": True, "per_channel": False},
    ],
    ids=str,
)
def test_models_of_onnx_runtimes_quantizer_stay_what_they_are(tmp_path, options):
    model = prepared(given_models.static(tmp_path, **options))
    found = taken(model)
    onnx.checker.check_model(found.model, full_check=True)
    for seed in range(5):
        np.testing.assert_array_equal(run(found.model, seed)["scores"], run(model, seed)["scores"])
    assert not OPERATORS & set(ops(found.model))
    kinds = {item.data_type for item in found.model.graph.initializer}
    assert TensorProto.UINT8 not in kinds
    names = {item.node for item in found.objections}
    if options.get("operators"):
        assert names == {"gemm.scores"}  # that quantizer leaves it in float
    else:
        assert names == (set() if options.get("symmetric", True) else {"conv.c1", "conv.c2", "gemm.scores"})


def test_dynamic_quantization_stays_what_it_is_and_is_named(tmp_path):
    model = prepared(given_models.dynamic(tmp_path))
    found = taken(model)
    for seed in range(5):
        np.testing.assert_array_equal(run(found.model, seed)["y"], run(model, seed)["y"])
    assert set(ops(found.model)) == {"DynamicQuantizeLinear", "DequantizeLinear", "MatMul", "Mul", "Relu"}
    assert all("computed at run time" in item.reason for item in found.objections)
    assert len(found.objections) == 2


def test_edgecs_own_form_needs_no_rewrite():
    from tests.contract import models

    for make in models.INT8:
        found = taken(make())
        assert found.rewrites == ()
        assert found.objections == ()
