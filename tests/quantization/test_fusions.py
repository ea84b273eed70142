"""Fusions compute the same with fewer nodes, and only where nobody sees the difference."""

import numpy as np
import pytest

from edgec.quantization.canonical import canonical
from edgec.reference import Reference
from tests.quantization.tiny import network, node, random_feeds

F = np.float32
RNG = np.random.default_rng(11)
X = {"x": [1, 4, 6, 6]}
SIX = {"three": F(3), "six": F(6), "zero": F(0), "sixth": F(1 / 6)}
GATE = [node("Add", ["x", "three"], ["a"]), node("Clip", ["a", "zero", "six"], ["k"])]


def same(model, expected_ops, keep=()):
    """The canonical form has these ops and computes what the model computes."""
    result = canonical(model, keep)
    assert [n.op_type for n in result.graph.node] == expected_ops
    for feed in random_feeds(model, 3):
        before = Reference(model.SerializeToString()).run(feed)
        after = Reference(result.SerializeToString()).run(feed)
        for name, value in before.items():
            assert after[name] == pytest.approx(value, rel=1e-4, abs=1e-5)
    return result


@pytest.mark.parametrize(
    "nodes",
    [
        [*GATE, node("Mul", ["x", "k"], ["m"]), node("Div", ["m", "six"], ["y"])],
        [*GATE, node("Mul", ["k", "x"], ["m"]), node("Mul", ["sixth", "m"], ["y"])],
        [*GATE, node("Div", ["k", "six"], ["g"]), node("Mul", ["x", "g"], ["y"])],
        [*GATE, node("Mul", ["k", "sixth"], ["g"]), node("Mul", ["g", "x"], ["y"])],
        [node("HardSigmoid", ["x"], ["g"], alpha=1 / 6, beta=0.5), node("Mul", ["x", "g"], ["y"])],
    ],
)
def test_every_spelling_of_hardswish(nodes):
    same(network(nodes, X, ["y"], SIX), ["HardSwish"])


@pytest.mark.parametrize(
    "nodes",
    [
        [*GATE, node("Mul", ["x", "k"], ["y"])],
        [*GATE, node("Div", ["k", "six"], ["y"])],
        [node("HardSigmoid", ["x"], ["g"], alpha=0.2, beta=0.5), node("Mul", ["x", "g"], ["y"])],
    ],
)
def test_what_only_looks_like_hardswish(nodes):
    assert "HardSwish" not in [n.op_type for n in canonical(network(nodes, X, ["y"], SIX)).graph.node]


def test_a_gate_that_someone_else_reads_stays():
    nodes = [*GATE, node("Div", ["k", "six"], ["g"]), node("Mul", ["x", "g"], ["y"]), node("Abs", ["g"], ["z"])]
    same(network(nodes, X, ["y", "z"], SIX), ["Add", "Clip", "Mul", "Mul", "Abs"])


def test_nodes_that_shall_stay_float_are_not_fused_away():
    nodes = [node("HardSigmoid", ["x"], ["g"], "gate", alpha=1 / 6), node("Mul", ["x", "g"], ["y"])]
    same(network(nodes, X, ["y"]), ["HardSigmoid", "Mul"], keep={"gate"})


CONV = {"w": RNG.normal(size=(5, 4, 3, 3)).astype(F), "b": RNG.normal(size=5).astype(F)}
TRANSPOSED = {"w": RNG.normal(size=(4, 5, 3, 3)).astype(F)}
GEMM = {"w": RNG.normal(size=(8, 5)).astype(F), "b": F(0.5)}
ROW = RNG.normal(size=(1, 5)).astype(F)
CHANNEL = RNG.normal(size=(5, 1, 1)).astype(F)


@pytest.mark.parametrize(
    ("op", "inputs", "shape", "constants", "after", "constant"),
    [
        ("Conv", ["x", "w", "b"], X["x"], CONV, "Add", CHANNEL),
        ("Conv", ["x", "w"], X["x"], CONV, "Add", F(0.7)),
        ("Conv", ["x", "w", "b"], X["x"], CONV, "Mul", CHANNEL),
        ("Conv", ["x", "w"], X["x"], CONV, "Mul", F(0.7)),
        ("ConvTranspose", ["x", "w"], X["x"], TRANSPOSED, "Add", CHANNEL),
        ("Gemm", ["x", "w", "b"], [3, 8], GEMM, "Add", ROW),
        ("Gemm", ["x", "w", "b"], [3, 8], GEMM, "Mul", ROW),
    ],
)
def test_constants_fold_into_the_layer_before(op, inputs, shape, constants, after, constant):
    nodes = [node(op, inputs, ["c"], "layer"), node(after, ["k", "c"], ["y"])]
    same(network(nodes, {"x": shape}, ["y"], {**constants, "k": constant}), [op])


@pytest.mark.parametrize(
    ("after", "constant"),
    [
        ("Add", RNG.normal(size=(1, 1, 4, 4))),
        ("Mul", RNG.normal(size=(4, 1))),
        ("Add", RNG.normal(size=(2, 5, 1, 1))),
    ],
)
def test_constants_that_vary_along_other_axes_do_not_fold(after, constant):
    nodes = [node("Conv", ["x", "w", "b"], ["c"]), node(after, ["c", "k"], ["y"])]
    same(network(nodes, X, ["y"], {**CONV, "k": constant.astype(F)}), ["Conv", after])


def test_chains_fold_to_the_end_and_keep_the_names_of_tensors():
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], "conv"),
        node("Mul", ["c", "two"], ["m"]),
        node("Add", ["m", "two"], ["a"]),
        node("Div", ["a", "four"], ["d"]),
        node("Relu", ["d"], ["y"]),
    ]
    result = same(network(nodes, X, ["y"], {**CONV, "two": F(2), "four": F(4)}), ["Conv", "Relu"])
    assert result.graph.node[0].output[0] == "d"


@pytest.mark.parametrize("op", ["Conv", "Gemm"])
def test_a_batch_norm_folds_into_the_layer_before(op):
    shape, constants = (X["x"], CONV) if op == "Conv" else ([3, 8], {**GEMM, "b": ROW[0]})
    norm = {"s": ROW[0], "t": ROW[0], "m": ROW[0], "v": np.abs(ROW[0]) + F(0.1)}
    nodes = [node(op, ["x", "w", "b"], ["c"]), node("BatchNormalization", ["c", "s", "t", "m", "v"], ["y"])]
    same(network(nodes, {"x": shape}, ["y"], {**constants, **norm}), [op])


def test_a_batch_norm_that_cannot_fold_is_a_depthwise_convolution():
    norm = {"s": ROW[0, :4], "t": ROW[0, :4], "m": ROW[0, :4], "v": np.abs(ROW[0, :4]) + F(0.1)}
    nodes = [node("Relu", ["x"], ["r"]), node("BatchNormalization", ["r", "s", "t", "m", "v"], ["y"])]
    same(network(nodes, X, ["y"], norm), ["Relu", "Conv"])


def test_every_node_has_a_name_of_its_own():
    model = network([node("Relu", ["x"], ["a"], "n"), node("Relu", ["a"], ["b"]), node("Abs", ["b"], ["y"])], X, ["y"])
    for item, name in zip(model.graph.node, ("n", "", "n"), strict=True):
        item.name = name
    names = [n.name for n in canonical(model).graph.node]
    assert len(set(names)) == 3 and names[0] == "n" and all(names)
