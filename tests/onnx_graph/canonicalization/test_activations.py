"""Activations that exporters wrote as several nodes are whole again, and what only looks like them stays."""

import itertools
import math

import numpy as np
import onnx
import pytest

from tests.onnx_graph.canonicalization.same import F, same
from tests.quantization.tiny import network, node

X = {"x": [1, 4, 6, 6]}
CONSTANTS = {
    "zero": F(0),
    "half": F(0.5),
    "one": F(1),
    "two": F(2),
    "three": F(3),
    "six": F(6),
    "sixth": F(1 / 6),
    "minus": F(-1),
    "root2": F(math.sqrt(2)),
    "root_half": F(math.sqrt(0.5)),
    "cube": F(0.044715),
    "tanh_scale": F(math.sqrt(2 / math.pi)),
    "powers3": F(3),
}
RELU6 = {
    "clip": [node("Clip", ["a", "zero", "six"], ["k"])],
    "min of max": [node("Max", ["a", "zero"], ["m0"]), node("Min", ["six", "m0"], ["k"])],
    "max of min": [node("Min", ["a", "six"], ["m0"]), node("Max", ["m0", "zero"], ["k"])],
    "relu, then min": [node("Relu", ["a"], ["m0"]), node("Min", ["m0", "six"], ["k"])],
}
ENDS = {
    "x k / 6": [node("Mul", ["x", "k"], ["m"]), node("Div", ["m", "six"], ["y"])],
    "1/6 (k x)": [node("Mul", ["k", "x"], ["m"]), node("Mul", ["sixth", "m"], ["y"])],
    "x (k / 6)": [node("Div", ["k", "six"], ["g"]), node("Mul", ["x", "g"], ["y"])],
    "(k 1/6) x": [node("Mul", ["k", "sixth"], ["g"]), node("Mul", ["g", "x"], ["y"])],
    "(x / 6) k": [node("Div", ["x", "six"], ["g"]), node("Mul", ["g", "k"], ["y"])],
}


def tiny(nodes, outputs=("y",), **constants):
    """A network of copies of the nodes, each with a name of its own."""
    nodes = [onnx.NodeProto.FromString(item.SerializeToString()) for item in nodes]
    for item in nodes:
        item.ClearField("name")
    return network(nodes, X, outputs, {**CONSTANTS, **constants})


@pytest.mark.parametrize("relu6", RELU6.values(), ids=RELU6)
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("plus", [["x", "three"], ["three", "x"]])
def test_every_spelling_of_hard_swish(relu6, end, plus):
    same(tiny([node("Add", plus, ["a"]), *relu6, *end]), "HardSwish", scale=4)


def test_hard_swish_by_its_gate():
    nodes = [node("HardSigmoid", ["x"], ["g"], alpha=1 / 6, beta=0.5), node("Mul", ["x", "g"], ["y"])]
    same(tiny(nodes), "HardSwish", scale=4)


GATE = [node("Add", ["x", "three"], ["a"]), node("Clip", ["a", "zero", "six"], ["k"])]


@pytest.mark.parametrize(
    "nodes",
    [
        [*GATE, node("Mul", ["x", "k"], ["y"])],
        [node("HardSigmoid", ["x"], ["g"], alpha=0.2, beta=0.5), node("Mul", ["x", "g"], ["y"])],
        [node("Add", ["x", "two"], ["a"]), *RELU6["clip"], *ENDS["x k / 6"]],
        [node("Add", ["x", "three"], ["a"]), node("Clip", ["a", "one", "six"], ["k"]), *ENDS["x k / 6"]],
        [*GATE, node("Mul", ["x", "k"], ["m"]), node("Mul", ["m", "six"], ["y"])],
        [node("Abs", ["x"], ["z"]), node("Add", ["z", "three"], ["a"]), *RELU6["clip"], *ENDS["x k / 6"]],
    ],
)
def test_what_only_looks_like_hard_swish(nodes):
    found = same(tiny(nodes), scale=4)
    assert "HardSwish" not in [item.op_type for item in found.model.graph.node]


def test_a_gate_that_someone_else_sees_stays():
    nodes = [*GATE, node("Div", ["k", "six"], ["g"]), node("Mul", ["x", "g"], ["y"])]
    for tail in ([node("Abs", ["g"], ["z"])], [node("Abs", ["k"], ["z"])], [node("Abs", ["a"], ["z"])]):
        found = same(tiny([*nodes, *tail], ("y", "z")), scale=4)
        assert len(found.model.graph.node) > 2
    same(tiny(nodes, ("y", "g")), "HardSigmoid", "Mul", scale=4)


@pytest.mark.parametrize(("slope", "offset"), [(0.2, 0.5), (1 / 6, 0.5), (1.0, 0.0), (0.5, -1.0)])
def test_hard_sigmoid_of_any_slope(slope, offset):
    nodes = [
        node("Mul", ["x", "slope"], ["m"]),
        node("Add", ["offset", "m"], ["a"]),
        node("Clip", ["a", "zero", "one"], ["y"]),
    ]
    same(tiny(nodes, slope=F(slope), offset=F(offset)), *(["Clip"] if slope == 1 else ["HardSigmoid"]), scale=4)


def test_a_falling_line_is_no_hard_sigmoid():
    nodes = [
        node("Mul", ["x", "minus"], ["m"]),
        node("Add", ["half", "m"], ["a"]),
        node("Clip", ["a", "zero", "one"], ["y"]),
    ]
    same(tiny(nodes), "Mul", "Add", "Clip", scale=4)


NEGATIVE = {
    "neg": [node("Neg", ["x"], ["n"])],
    "times -1": [node("Mul", ["minus", "x"], ["n"])],
}


@pytest.mark.parametrize("negative", NEGATIVE.values(), ids=NEGATIVE)
@pytest.mark.parametrize("last", [node("Reciprocal", ["p"], ["y"]), node("Div", ["one", "p"], ["y"])])
def test_sigmoid_by_its_formula(negative, last):
    same(tiny([*negative, node("Exp", ["n"], ["e"]), node("Add", ["one", "e"], ["p"]), last]), "Sigmoid", scale=6)


@pytest.mark.parametrize("negative", NEGATIVE.values(), ids=NEGATIVE)
def test_silu_by_its_formula(negative):
    nodes = [*negative, node("Exp", ["n"], ["e"]), node("Add", ["e", "one"], ["p"]), node("Div", ["x", "p"], ["y"])]
    same(tiny(nodes), "Sigmoid", "Mul", scale=6)


@pytest.mark.parametrize(
    "end",
    [
        [node("Add", ["t", "one"], ["p"]), node("Mul", ["p", "half"], ["y"])],
        [node("Add", ["one", "t"], ["p"]), node("Div", ["p", "two"], ["y"])],
        [node("Mul", ["half", "t"], ["p"]), node("Add", ["p", "half"], ["y"])],
    ],
)
def test_sigmoid_by_tanh(end):
    same(tiny([node("Mul", ["x", "half"], ["h"]), node("Tanh", ["h"], ["t"]), *end]), "Sigmoid", scale=6)


def test_another_argument_is_no_sigmoid():
    nodes = [node("Exp", ["x"], ["e"]), node("Add", ["one", "e"], ["p"]), node("Reciprocal", ["p"], ["y"])]
    same(tiny(nodes), "Exp", "Add", "Reciprocal")
    tail = [node("Add", ["t", "one"], ["p"]), node("Mul", ["p", "half"], ["y"])]
    same(tiny([node("Tanh", ["x"], ["t"]), *tail]), "Tanh", "Add", "Mul")


def test_softplus_by_its_formula():
    same(tiny([node("Exp", ["x"], ["e"]), node("Add", ["e", "one"], ["p"]), node("Log", ["p"], ["y"])]), "Softplus")


ERF = {
    "x / root 2": [node("Div", ["x", "root2"], ["u"])],
    "x * root half": [node("Mul", ["root_half", "x"], ["u"])],
}
FACTORS = [
    [node("Mul", ["x", "g"], ["m"]), node("Mul", ["m", "half"], ["y"])],
    [node("Mul", ["half", "g"], ["m"]), node("Mul", ["x", "m"], ["y"])],
    [node("Mul", ["x", "half"], ["m"]), node("Mul", ["g", "m"], ["y"])],
    [node("Div", ["x", "two"], ["m"]), node("Mul", ["m", "g"], ["y"])],
]


@pytest.mark.parametrize("inside", ERF.values(), ids=ERF)
@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("plus", [["one", "e"], ["e", "one"]])
def test_every_spelling_of_gelu(inside, factors, plus):
    found = same(tiny([*inside, node("Erf", ["u"], ["e"]), node("Add", plus, ["g"]), *factors]), "Gelu", scale=3)
    assert found.model.opset_import[0].version == 20


CUBES = {
    "Pow": [node("Pow", ["x", "powers3"], ["c"]), node("Mul", ["cube", "c"], ["cc"])],
    "products": [node("Mul", ["x", "x"], ["q"]), node("Mul", ["q", "x"], ["c"]), node("Mul", ["c", "cube"], ["cc"])],
    "constant first": [
        node("Mul", ["cube", "x"], ["q"]),
        node("Mul", ["x", "q"], ["c"]),
        node("Mul", ["x", "c"], ["cc"]),
    ],
}


@pytest.mark.parametrize("cubes", CUBES.values(), ids=CUBES)
@pytest.mark.parametrize("factors", FACTORS)
def test_gelu_by_tanh(cubes, factors):
    inside = [*cubes, node("Add", ["x", "cc"], ["s"]), node("Mul", ["s", "tanh_scale"], ["u"])]
    found = same(tiny([*inside, node("Tanh", ["u"], ["e"]), node("Add", ["one", "e"], ["g"]), *factors]), "Gelu")
    assert found.model.graph.node[0].attribute[0].s == b"tanh"


def test_gelu_by_tanh_with_the_factor_taken_out():
    nodes = [
        node("Mul", ["x", "x"], ["q"]),
        node("Mul", ["q", "cube"], ["qc"]),
        node("Add", ["one", "qc"], ["f"]),
        node("Mul", ["x", "tanh_scale"], ["xs"]),
        node("Mul", ["xs", "f"], ["u"]),
        node("Tanh", ["u"], ["e"]),
        node("Add", ["e", "one"], ["g"]),
    ]
    same(tiny([*nodes, *FACTORS[0]]), "Gelu")


@pytest.mark.parametrize(
    "changed", [{"root2": F(1.4)}, {"half": F(0.51)}, {"one": F(1.01)}], ids=["root", "half", "one"]
)
def test_what_only_looks_like_gelu(changed):
    nodes = [*ERF["x / root 2"], node("Erf", ["u"], ["e"]), node("Add", ["e", "one"], ["g"]), *FACTORS[0]]
    found = same(tiny(nodes, **changed))
    assert "Gelu" not in [item.op_type for item in found.model.graph.node]


@pytest.mark.parametrize("seen", ["e", "g", "m"])
def test_a_gelu_whose_inside_is_seen_stays(seen):
    nodes = [*ERF["x / root 2"], node("Erf", ["u"], ["e"]), node("Add", ["e", "one"], ["g"]), *FACTORS[0]]
    assert "Erf" in [item.op_type for item in same(tiny(nodes, ("y", seen))).model.graph.node]


def test_orders_of_a_product_of_three():
    for a, b, c in itertools.permutations(["x", "g", "half"]):
        tail = [node("Mul", [a, b], ["m"]), node("Mul", ["m", c], ["y"])]
        same(tiny([*ERF["x / root 2"], node("Erf", ["u"], ["e"]), node("Add", ["e", "one"], ["g"]), *tail]), "Gelu")


def test_a_model_that_cannot_follow_to_opset_20_keeps_its_erf():
    grid = np.zeros((1, 6, 6, 2), F)
    nodes = [*ERF["x / root 2"], node("Erf", ["u"], ["e"]), node("Add", ["e", "one"], ["g"]), *FACTORS[0]]
    nodes.append(node("GridSample", ["y", "grid"], ["z"]))
    found = same(tiny(nodes, ("z",), grid=grid))
    assert "Erf" in [item.op_type for item in found.model.graph.node]
    assert found.model.opset_import[0].version == 17
