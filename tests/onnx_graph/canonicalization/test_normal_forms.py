"""What can be written in several ways is written in one."""

import numpy as np
import pytest

from edgec.onnx_graph.canonicalization import canonical
from tests.onnx_graph.canonicalization.same import F, same
from tests.quantization.tiny import network, node

RNG = np.random.default_rng(3)
X = {"x": [1, 4, 6, 6]}
STATISTICS = {"s": RNG.normal(size=4), "t": RNG.normal(size=4), "m": RNG.normal(size=4), "v": RNG.random(4) + 0.1}
STATISTICS = {name: value.astype(F) for name, value in STATISTICS.items()}


@pytest.mark.parametrize("attributes", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}, {"alpha": 3.0, "transB": 1}])
def test_gemm_is_a_product_and_a_bias(attributes):
    weights = RNG.normal(size=(5, 8) if attributes.get("transB") else (8, 5)).astype(F)
    shape = [8, 3] if attributes.get("transA") else [3, 8]
    nodes = [node("Gemm", ["x", "w", "b"], ["y"], **attributes)]
    model = network(nodes, {"x": shape}, ["y"], {"w": weights, "b": RNG.normal(size=5).astype(F)})
    found = same(model, *(["Transpose"] if attributes.get("transA") else []), "Gemm")
    assert {item.name for item in found.model.graph.node[-1].attribute} <= {"transB"}


def test_division_is_multiplication_and_subtraction_is_addition():
    nodes = [node("Div", ["x", "c"], ["d"]), node("Abs", ["d"], ["a"]), node("Sub", ["a", "c"], ["y"])]
    same(network(nodes, X, ["y"], {"c": F(0.7)}), "Mul", "Abs", "Add")


@pytest.mark.parametrize("divisor", [0.0, 1e-42])
def test_a_reciprocal_that_is_not_finite_is_not_taken(divisor):
    same(network([node("Div", ["x", "c"], ["y"])], X, ["y"], {"c": F(divisor)}), "Div")


def test_dividing_a_constant_stays():
    same(
        network(
            [node("Abs", ["x"], ["a"]), node("Add", ["a", "c"], ["b"]), node("Div", ["c", "b"], ["y"])],
            X,
            ["y"],
            {"c": F(2)},
        ),
        "Abs",
        "Add",
        "Div",
    )


@pytest.mark.parametrize(
    ("nodes", "op"),
    [
        ([node("Max", ["x", "zero"], ["y"])], "Relu"),
        ([node("Min", ["half", "x"], ["y"])], "Clip"),
        ([node("Max", ["zero", "x"], ["a"]), node("Min", ["a", "half"], ["y"])], "Clip"),
        ([node("Clip", ["x", "zero"], ["y"])], "Relu"),
        ([node("Relu", ["x"], ["a"]), node("Clip", ["a", "minus", "half"], ["y"])], "Clip"),
    ],
)
def test_limits(nodes, op):
    same(network(nodes, X, ["y"], {"zero": F(0), "half": F(0.5), "minus": F(-1)}), op)


def test_limits_that_do_not_meet_stay():
    nodes = [node("Clip", ["x", "minus", "zero"], ["a"]), node("Clip", ["a", "half", "one"], ["y"])]
    constants = {"zero": F(0), "half": F(0.5), "minus": F(-1), "one": F(1)}
    same(network(nodes, X, ["y"], constants), "Clip", "Clip")


def test_limits_along_an_axis_stay():
    same(network([node("Min", ["x", "row"], ["y"])], X, ["y"], {"row": RNG.normal(size=6).astype(F)}), "Min")


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "Gemm"])
def test_a_batch_norm_folds_into_the_layer_before(op):
    shape = [3, 8] if op == "Gemm" else X["x"]
    weights = RNG.normal(size=(8, 4) if op == "Gemm" else (4, 4, 3, 3)).astype(F)
    nodes = [node(op, ["x", "w"], ["c"]), node("BatchNormalization", ["c", "s", "t", "m", "v"], ["y"])]
    same(network(nodes, {"x": shape}, ["y"], {"w": weights, **STATISTICS}), op)


def test_a_batch_norm_that_cannot_fold_is_a_depthwise_convolution():
    nodes = [node("Relu", ["x"], ["r"]), node("BatchNormalization", ["r", "s", "t", "m", "v"], ["y"])]
    same(network(nodes, X, ["y"], STATISTICS), "Relu", "Conv")


def test_only_the_needed_forms():
    """A model that shall not be simplified keeps its nodes, but for those that quantization can't do without."""
    nodes = [
        node("Identity", ["x"], ["i"]),
        node("Conv", ["i", "w"], ["c"]),
        node("BatchNormalization", ["c", "s", "t", "m", "v"], ["b"]),
        node("HardSigmoid", ["b"], ["g"], alpha=1 / 6),
        node("Mul", ["b", "g"], ["y"]),
    ]
    model = network(nodes, X, ["y"], {"w": RNG.normal(size=(4, 4, 3, 3)).astype(F), **STATISTICS})
    ops = [item.op_type for item in canonical(model, only_needed=True).model.graph.node]
    assert ops == ["Identity", "Conv", "HardSigmoid", "Mul"]
    same(model, "Conv", "HardSwish")
