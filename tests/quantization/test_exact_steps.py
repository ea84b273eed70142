"""Adding a number, or multiplying by a positive one, rounds nothing: the integers stay, their meaning moves."""

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import numpy_helper

from edgec.onnx_graph.graph import Graph
from edgec.quantization.emit import emit
from edgec.quantization.exact_steps import Shift, joined
from edgec.quantization.placement import place
from edgec.quantization.qparams import affine, dequantize, quantize, symmetric16
from edgec.quantization.scales import choose_scales
from edgec.reference import Reference
from tests.quantization.small_graphs import with_all_outputs
from tests.quantization.tiny import network, node, random_feeds, statistics_of

F = np.float32
ALL_INTEGERS = np.arange(-128, 128).astype(np.int8)


@given(
    low=st.floats(-20, 0),
    high=st.floats(0.1, 20),
    by=st.floats(-15, 15).filter(lambda value: abs(value) > 1e-3),
    alone=st.booleans(),
)
def test_a_joined_sum_is_made_of_the_same_integers(low, high, by, alone):
    shift = Shift("x", "y", by=by)
    before, after = affine(low, high), affine(low + by, high + by)
    grids = joined(shift, before, after, alone)
    assume(grids is not None)
    source, result = grids
    np.testing.assert_array_equal(quantize(dequantize(ALL_INTEGERS, source) + F(by), result), ALL_INTEGERS)
    assert source.low <= max(low, source.low) and source.scale <= 1.35 * max(before.scale, after.scale)


@given(low=st.floats(-20, 0), high=st.floats(0.1, 20), times=st.floats(0.01, 100))
def test_a_joined_product_is_made_of_the_same_integers(low, high, times):
    shift = Shift("x", "y", times=times)
    grids = joined(shift, affine(low, high), affine(low * times, high * times), alone=False)
    assert grids is not None
    np.testing.assert_array_equal(quantize(dequantize(ALL_INTEGERS, grids[0]) * F(times), grids[1]), ALL_INTEGERS)


def test_a_constant_below_a_step_moves_no_grid():
    assert joined(Shift("x", "y", by=0.01), affine(0, 10), affine(0, 10), alone=True) is None


def test_sixteen_bits_have_grids_of_their_own():
    assert joined(Shift("x", "y", times=2.0), symmetric16(-1, 1), affine(-2, 2), alone=True) is None


def emitted(middle, constants, profile="strict"):
    nodes = [
        node("Conv", ["x", "v"], ["c"], "first"),
        *middle,
        node("Conv", ["m", "w"], ["y"], "last"),
    ]
    random = np.random.default_rng(3)
    weights = {"v": random.normal(size=(4, 3, 1, 1)).astype(F), "w": random.normal(size=(2, 4, 1, 1)).astype(F)}
    model = network(nodes, {"x": [1, 3, 6, 6]}, ["y"], {**weights, **constants})
    graph, statistics = Graph(model), statistics_of(model, random_feeds(model, 8))
    placement = place(graph, profile, None, statistics)
    scales = choose_scales(graph, placement, statistics, "minmax").slots
    return model, emit(graph, placement, scales), scales


def integers_of(model, names):
    """The quantized values, as integers, on one input."""
    quantized = [f"{name}_quantized" for name in names]
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT8, None) for name in quantized
    )
    outputs = Reference(whole.SerializeToString(), "none").run(random_feeds(model, 1)[0])
    return [outputs[name] for name in quantized]


@pytest.mark.parametrize(
    ("middle", "constants"),
    [
        ([node("Add", ["c", "k"], ["m"], "op")], {"k": F(0.7)}),
        ([node("Add", ["k", "c"], ["m"], "op")], {"k": np.array([-0.9], F)}),
        ([node("Sub", ["c", "k"], ["m"], "op")], {"k": np.full((1, 1, 1, 1), 0.8, F)}),
        ([node("Mul", ["c", "k"], ["m"], "op")], {"k": F(0.123)}),
    ],
)
def test_a_model_rounds_once_where_a_constant_follows(middle, constants):
    _, result, scales = emitted(middle, constants)
    before, after = integers_of(result.model, ["c", "m"])
    np.testing.assert_array_equal(before, after)
    assert scales["c"] != scales["m"]


def test_a_chain_of_constants_rounds_once():
    middle = [node("Mul", ["c", "k"], ["p"], "times"), node("Mul", ["p", "l"], ["m"], "again")]
    _, result, _ = emitted(middle, {"k": F(0.3), "l": F(7.0)})
    first, second, third = integers_of(result.model, ["c", "p", "m"])
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(second, third)


@pytest.mark.parametrize(
    ("middle", "constants"),
    [
        ([node("Mul", ["c", "k"], ["m"], "op")], {"k": F(-2.0)}),  # turns the integers around
        ([node("Sub", ["k", "c"], ["m"], "op")], {"k": F(0.5)}),
        ([node("Add", ["c", "k"], ["m"], "op")], {"k": np.arange(4, dtype=F).reshape(4, 1, 1)}),  # not one number
    ],
)
def test_other_arithmetic_keeps_a_grid_of_its_own(middle, constants):
    model, result, scales = emitted(middle, constants)
    reference = Reference(with_all_outputs(model, ["m"]).SerializeToString()).run(random_feeds(model, 1)[0])["m"]
    assert scales["m"].low <= reference.min() + scales["m"].scale
    assert scales["m"].high >= reference.max() - scales["m"].scale
    assert {item.name for item in result.model.graph.output} == {"y"}


def test_the_sum_stays_near_the_float_model():
    model, result, scales = emitted([node("Add", ["c", "k"], ["m"], "op")], {"k": F(0.7)})
    feeds = random_feeds(model, 1)[0]
    expected = Reference(model.SerializeToString()).run(feeds)["y"]
    found = Reference(result.model.SerializeToString(), "none").run(feeds)["y"]
    weights = numpy_helper.to_array(next(item for item in model.graph.initializer if item.name == "w"))
    rounding = scales["x"].scale * 12 + scales["c"].scale
    assert np.abs(found - expected).max() <= np.abs(weights).sum() * rounding + scales["y"].scale
