"""Normalizations that exporters took apart are whole again, with their gain and shift."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.onnx_graph.canonicalization.same import F, same
from tests.quantization.tiny import network, node

RNG = np.random.default_rng(5)
SHAPE = [2, 5, 8]


def centred(axes, *, square="Pow", root="Div", opset=17):
    """(x - mean) / sqrt(mean((x - mean)^2) + epsilon)."""
    nodes = [node("ReduceMean", ["x"], ["mean"], axes=axes), node("Sub", ["x", "mean"], ["d"])]
    nodes.append(node("Pow", ["d", "two"], ["q"]) if square == "Pow" else node("Mul", ["d", "d"], ["q"]))
    nodes += [node("ReduceMean", ["q"], ["v"], axes=axes), node("Add", ["v", "epsilon"], ["ve"])]
    if root == "Pow":
        return [*nodes, node("Pow", ["ve", "minus_half"], ["r"]), node("Mul", ["d", "r"], ["n"])]
    nodes.append(node("Sqrt", ["ve"], ["s"]))
    if root == "Div":
        return [*nodes, node("Div", ["d", "s"], ["n"])]
    last = node("Reciprocal", ["s"], ["r"]) if root == "Reciprocal" else node("Div", ["one", "s"], ["r"])
    return [*nodes, last, node("Mul", ["r", "d"], ["n"])]


def uncentred(axis, shape, *, limited=True):
    """(x - mean) * (gain / sqrt(mean(x^2) - mean^2 + epsilon)) + shift, means as sums times 1 / n, reduced axes cut."""
    kept = [1 if i == axis else size for i, size in enumerate(shape)]
    nodes = [
        node("ReduceSum", ["x", "axes"], ["total"], keepdims=0),
        node("Mul", ["total", "over_n"], ["mean"]),
        node("Mul", ["x", "x"], ["q"]),
        node("ReduceSum", ["q", "axes"], ["total_q"], keepdims=0),
        node("Mul", ["total_q", "over_n"], ["mean_q"]),
        node("Mul", ["mean", "mean"], ["m2"]),
        node("Sub", ["mean_q", "m2"], ["v0"]),
        node("Max", ["zero", "v0"], ["v"]) if limited else node("Identity", ["v0"], ["v"]),
        node("Reshape", ["v", "kept"], ["vk"]),
        node("Add", ["vk", "epsilon"], ["ve"]),
        node("Sqrt", ["ve"], ["s"]),
        node("Reciprocal", ["s"], ["r"]),
        node("Mul", ["r", "gain"], ["rg"]),
        node("Reshape", ["mean", "kept"], ["mk"]),
        node("Sub", ["x", "mk"], ["d"]),
        node("Mul", ["d", "rg"], ["n"]),
        node("Add", ["n", "shift"], ["y"]),
    ]
    along = [shape[axis] if i == axis else 1 for i in range(len(shape))]
    constants = {
        "axes": np.array([axis]),
        "over_n": F(1 / shape[axis]),
        "kept": np.array(kept),
        "epsilon": F(1e-3),
        "zero": F(0),
        "gain": RNG.normal(size=along).astype(F),
        "shift": RNG.normal(size=along).astype(F),
    }
    return network(nodes, {"x": shape}, ["y"], constants)


def model_of(nodes, shape=SHAPE, outputs=("y",), **constants):
    fixed = {"two": F(2), "one": F(1), "epsilon": F(1e-5), "minus_half": F(-0.5)}
    return network(nodes, {"x": shape}, outputs, {**fixed, **constants})


GAIN, SHIFT = RNG.normal(size=8).astype(F), RNG.normal(size=8).astype(F)
AFFINE = [node("Mul", ["n", "gain"], ["m"]), node("Add", ["m", "shift"], ["y"])]


@pytest.mark.parametrize("square", ["Pow", "Mul"])
@pytest.mark.parametrize("root", ["Div", "Reciprocal", "One", "Pow"])
@pytest.mark.parametrize("axes", [[-1], [2], [1, 2]])
def test_every_spelling_of_layer_normalization(square, root, axes):
    nodes = centred(axes, square=square, root=root)
    nodes[-1].output[0] = "y"
    same(model_of(nodes), "LayerNormalization")


def test_gain_and_shift_go_in():
    same(model_of([*centred([-1]), *AFFINE], gain=GAIN, shift=SHIFT), "LayerNormalization")


def test_a_shift_without_a_gain_goes_in():
    nodes = [*centred([-1]), node("Add", ["shift", "n"], ["y"])]
    same(model_of(nodes, shift=SHIFT), "LayerNormalization")


def test_a_gain_along_other_axes_stays():
    nodes = [*centred([-1]), node("Mul", ["n", "gain"], ["y"])]
    same(model_of(nodes, gain=RNG.normal(size=(5, 1)).astype(F)), "LayerNormalization", "Mul")


def test_another_axis_is_turned_to_the_end():
    nodes = [*centred([1]), *AFFINE]
    constants = {"gain": RNG.normal(size=(5, 1)).astype(F), "shift": RNG.normal(size=(5, 1)).astype(F)}
    same(model_of(nodes, **constants), "Transpose", "LayerNormalization", "Transpose")


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("axis", [1, 2])
def test_the_variance_as_a_mean_of_squares_less_the_squared_mean(limited, axis):
    found = same(uncentred(axis, SHAPE, limited=limited))
    ops = [item.op_type for item in found.model.graph.node]
    assert ops == (["LayerNormalization"] if axis == 2 else ["Transpose", "LayerNormalization", "Transpose"])


def test_means_along_different_axes_are_none():
    nodes = centred([-1])
    nodes[3].attribute[0].ints[:] = [1]
    nodes[-1].output[0] = "y"
    found = same(model_of(nodes))
    assert "LayerNormalization" not in [item.op_type for item in found.model.graph.node]


@pytest.mark.parametrize("seen", ["mean", "v", "d"])
def test_what_is_seen_from_outside_stays(seen):
    nodes = centred([-1])
    nodes[-1].output[0] = "y"
    found = same(model_of(nodes, outputs=("y", seen)))
    assert "LayerNormalization" not in [item.op_type for item in found.model.graph.node]


@pytest.mark.parametrize("seen", [True, False])
def test_rms_normalization(seen):
    nodes = [
        node("Pow", ["x", "two"], ["q"]),
        node("ReduceMean", ["q"], ["v"], axes=[-1]),
        node("Add", ["v", "epsilon"], ["ve"]),
        node("Sqrt", ["ve"], ["s"]),
        node("Div", ["x", "s"], ["n"]),
        node("Mul", ["n", "gain"], ["y"]),
    ]
    model = model_of(nodes, outputs=("y", "v") if seen else ("y",), gain=GAIN)
    found = same(model)
    ops = [item.op_type for item in found.model.graph.node]
    assert (ops == ["RMSNormalization"]) is not seen
    assert found.model.opset_import[0].version == (17 if seen else 23)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=4), st.data())
def test_any_shape_and_axis(shape, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    nodes = centred([axis])
    nodes[-1].output[0] = "y"
    found = same(model_of(nodes, shape))
    assert "LayerNormalization" in [item.op_type for item in found.model.graph.node]
