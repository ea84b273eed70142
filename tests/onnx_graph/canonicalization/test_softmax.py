"""Softmax is one node, and what it does not have to see is bounded."""

import numpy as np
import pytest
from onnx import TensorProto

from tests.onnx_graph.canonicalization.same import F, same
from tests.quantization.tiny import network, node

RNG = np.random.default_rng(9)
X = {"x": [2, 3, 7]}
AXES = {"axes": np.array([2])}


def values_of(found):
    return {item.name: item for item in found.model.graph.initializer}


def lowest(found):
    from onnx import numpy_helper

    arrays = [numpy_helper.to_array(item) for item in found.model.graph.initializer]
    return min(float(item.min()) for item in arrays if item.dtype == F)


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("last", ["Div", "Reciprocal"])
def test_softmax_by_its_formula(shifted, last):
    nodes = []
    if shifted:
        nodes += [node("ReduceMax", ["x"], ["top"], axes=[2]), node("Sub", ["x", "top"], ["z"])]
    nodes += [node("Exp", ["z" if shifted else "x"], ["e"]), node("ReduceSum", ["e", "axes"], ["s"])]
    if last == "Div":
        nodes.append(node("Div", ["e", "s"], ["y"]))
    else:
        nodes += [node("Reciprocal", ["s"], ["r"]), node("Mul", ["r", "e"], ["y"])]
    same(network(nodes, X, ["y"], AXES), "Softmax")


def test_a_sum_along_two_axes_is_no_softmax():
    nodes = [node("Exp", ["x"], ["e"]), node("ReduceSum", ["e", "axes"], ["s"]), node("Div", ["e", "s"], ["y"])]
    same(network(nodes, X, ["y"], {"axes": np.array([1, 2])}), "Exp", "ReduceSum", "Div")


def test_a_sum_that_is_seen_stays():
    nodes = [node("Exp", ["x"], ["e"]), node("ReduceSum", ["e", "axes"], ["s"]), node("Div", ["e", "s"], ["y"])]
    same(network(nodes, X, ["y", "s"], AXES), "Exp", "ReduceSum", "Div")


@pytest.mark.parametrize("hidden", [-1e4, -1e9, -np.inf, float(np.finfo(F).min)])
def test_a_constant_mask_is_bounded(hidden):
    mask = np.where(np.tri(3, 7, dtype=bool), F(0), F(hidden))
    model = network([node("Add", ["x", "mask"], ["m"]), node("Softmax", ["m"], ["y"])], X, ["y"], {"mask": mask})
    for scale in (1, 8):  # scores that lie up to 50 apart
        found = same(model, "Add", "Softmax", scale=scale)
    assert lowest(found) == -100


def test_a_constant_that_hides_nothing_stays():
    mask = np.linspace(-2000, 0, 21).reshape(3, 7).astype(F)
    model = network([node("Add", ["x", "mask"], ["m"]), node("Softmax", ["m"], ["y"])], X, ["y"], {"mask": mask})
    assert not same(model, "Add", "Softmax").done


@pytest.mark.parametrize("hidden", [-1e4, float(np.finfo(F).min)])
def test_a_computed_mask_is_bounded(hidden):
    nodes = [
        node("Cast", ["mask"], ["f"], to=TensorProto.FLOAT),
        node("Sub", ["one", "f"], ["inverse"]),
        node("Mul", ["inverse", "hidden"], ["added"]),
        node("Add", ["x", "added"], ["m"]),
        node("Softmax", ["m"], ["y"]),
    ]
    constants = {"one": F(1), "hidden": F(hidden)}
    model = network(nodes, {**X, "mask": [2, 1, 7]}, ["y"], constants, dtypes={"mask": TensorProto.INT64})
    mask = RNG.integers(0, 2, (2, 1, 7))
    mask[..., 0] = 1
    found = same(model, feeds=[{"x": RNG.normal(size=X["x"]).astype(F) * 5, "mask": mask}])
    assert found.done["bounded-mask"].count == 1
    assert lowest(found) == -100


def test_a_mask_that_is_used_elsewhere_stays():
    nodes = [
        node("Mul", ["f", "hidden"], ["added"]),
        node("Add", ["x", "added"], ["m"]),
        node("Softmax", ["m"], ["y"]),
        node("Abs", ["added"], ["z"]),
    ]
    model = network(nodes, {**X, "f": [2, 1, 7]}, ["y", "z"], {"hidden": F(-1e4)})
    assert "bounded-mask" not in same(model, feeds=[{"x": np.ones(X["x"], F), "f": np.zeros((2, 1, 7), F)}]).done


@pytest.mark.parametrize("at", [1, 2])
def test_where_before_a_softmax(at):
    branches = ["x", "hidden"] if at == 2 else ["hidden", "x"]
    nodes = [node("Where", ["mask", *branches], ["m"]), node("Softmax", ["m"], ["y"])]
    inputs = {**X, "mask": [2, 3, 7]}
    model = network(nodes, inputs, ["y"], {"hidden": F(-np.inf)}, dtypes={"mask": TensorProto.BOOL})
    mask = np.zeros((2, 3, 7), bool)
    mask[..., :4] = True
    feeds = [{"x": RNG.normal(size=X["x"]).astype(F) * 5, "mask": mask}]
    assert lowest(same(model, "Where", "Softmax", feeds=feeds)) == -100
