"""Nodes without effect go, equal ones are one, and chains that arrange values are short."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from tests.onnx_graph.canonicalization.same import F, same
from tests.quantization.tiny import network, node

X = {"x": [2, 3, 4]}
ENDLESS = {name: np.array(values) for name, values in {"zeros": [0, 0, 0], "big": [9999] * 3, "six": [0] * 6}.items()}


@pytest.mark.parametrize(
    ("one", "constants"),
    [
        (node("Identity", ["a"], ["b"]), {}),
        (node("Dropout", ["a"], ["b"]), {}),
        (node("Cast", ["a"], ["b"], to=TensorProto.FLOAT), {}),
        (node("Transpose", ["a"], ["b"], perm=[0, 1, 2]), {}),
        (node("Reshape", ["a", "shape"], ["b"]), {"shape": np.array([2, 3, 4])}),
        (node("Expand", ["a", "shape"], ["b"]), {"shape": np.array([1, 3, 1])}),
        (node("Slice", ["a", "zeros", "big"], ["b"]), ENDLESS),
        (node("Pad", ["a", "six"], ["b"]), ENDLESS),
        (node("Concat", ["a"], ["b"], axis=1), {}),
        (node("Clip", ["a"], ["b"]), {}),
        (node("Mul", ["one", "a"], ["b"]), {"one": F(1)}),
        (node("Div", ["a", "one"], ["b"]), {"one": F(1)}),
        (node("Add", ["a", "zero"], ["b"]), {"zero": F(0)}),
        (node("Max", ["low", "a"], ["b"]), {"low": F(-np.inf)}),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_nodes_without_effect_go(one, constants):
    same(network([node("Abs", ["x"], ["a"]), one, node("Sin", ["b"], ["y"])], X, ["y"], constants), "Abs", "Sin")
    same(network([node("Abs", ["x"], ["a"]), one], X, ["b"], constants), "Abs")
    same(network([one, node("Sin", ["b"], ["y"])], {"a": X["x"]}, ["y"], constants), "Sin")


@pytest.mark.parametrize(
    ("one", "constants"),
    [
        (node("Mul", ["x", "one"], ["y"]), {"one": np.ones((5, 1, 1, 1), F)}),
        (node("Add", ["x", "zero"], ["y"]), {"zero": F(1e-30)}),
        (node("Transpose", ["x"], ["y"], perm=[1, 0, 2]), {}),
        (node("Reshape", ["x", "shape"], ["y"]), {"shape": np.array([4, 3, 2])}),
        (
            node("Slice", ["x", "last", "first", "axes", "back"], ["y"]),
            {"last": np.array([3]), "first": np.array([-9]), "axes": np.array([2]), "back": np.array([-1])},
        ),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_nodes_with_an_effect_stay(one, constants):
    same(network([one], X, ["y"], constants), one.op_type)


def test_an_output_that_is_an_input_stays_an_identity():
    same(network([node("Identity", ["x"], ["y"]), node("Abs", ["x"], ["z"])], X, ["y", "z"]), "Identity", "Abs")


def test_two_outputs_of_one_value_stay_two():
    same(network([node("Abs", ["x"], ["y"]), node("Identity", ["y"], ["z"])], X, ["y", "z"]), "Abs", "Identity")


def test_equal_nodes_are_one():
    nodes = [
        node("Abs", ["x"], ["a"]),
        node("Abs", ["x"], ["b"]),
        node("LeakyRelu", ["a"], ["c"], alpha=0.1),
        node("LeakyRelu", ["b"], ["d"], alpha=0.1),
        node("LeakyRelu", ["b"], ["e"], alpha=0.2),
        node("Sum", ["c", "d", "e"], ["y"]),
    ]
    found = same(network(nodes, X, ["y"]), "Abs", "LeakyRelu", "LeakyRelu", "Sum")
    assert found.became == {"abs1": "abs0", "leakyrelu3": "leakyrelu2"}


def test_constants_are_compared_by_value():
    nodes = [node("Pow", ["x", "c"], ["a"]), node("Pow", ["x", "d"], ["b"]), node("Sub", ["a", "b"], ["y"])]
    same(network(nodes, X, ["y"], {"c": F(2), "d": F(2)}), "Pow", "Sub")
    same(network(nodes, X, ["y"], {"c": F(2), "d": F(4)}), "Pow", "Pow", "Sub")


def test_equal_nodes_that_are_outputs_stay():
    same(network([node("Abs", ["x"], ["y"]), node("Abs", ["x"], ["z"])], X, ["y", "z"]), "Abs", "Abs")


def test_a_body_of_an_if_keeps_what_it_reads():
    body = onnx.helper.make_graph(
        [node("Sin", ["b"], ["t"], "inner")], "body", [], [onnx.helper.make_tensor_value_info("t", 1, X["x"])]
    )
    nodes = [
        node("Abs", ["x"], ["a"]),
        node("Identity", ["a"], ["b"]),
        node("If", ["which"], ["y"], then_branch=body, else_branch=body),
    ]
    model = network(nodes, {**X, "which": []}, ["y"], dtypes={"which": TensorProto.BOOL})
    same(model, "Abs", "Identity", "If")


def test_transposes_that_undo_each_other_go():
    nodes = [
        node("Transpose", ["x"], ["a"], perm=[1, 2, 0]),
        node("Transpose", ["a"], ["b"], perm=[2, 0, 1]),
        node("Sin", ["b"], ["y"]),
    ]
    same(network(nodes, X, ["y"]), "Sin")


def test_a_transpose_that_someone_else_reads_stays():
    nodes = [
        node("Transpose", ["x"], ["a"], perm=[1, 2, 0]),
        node("Transpose", ["a"], ["y"], perm=[2, 0, 1]),
        node("Sin", ["a"], ["z"]),
    ]
    same(network(nodes, X, ["y", "z"]), "Transpose", "Transpose", "Sin")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["permute", "flatten", "insert", "drop"]), min_size=2, max_size=6), st.data())
def test_any_chain_of_arrangements(steps, data):
    shape, nodes, constants = [2, 1, 3, 4], [], {}
    for index, step in enumerate(steps):
        if step == "permute":
            perm = data.draw(st.permutations(range(len(shape))))
            nodes.append(node("Transpose", [f"t{index}"], [f"t{index + 1}"], perm=perm))
            shape = [shape[axis] for axis in perm]
            continue
        if step == "flatten" and len(shape) > 1:
            shape = [shape[0] * shape[1], *shape[2:]]
        elif step == "insert" and len(shape) < 5:
            shape = [shape[0], 1, *shape[1:]]
        elif 1 in shape and len(shape) > 1:
            shape = shape.copy()
            shape.remove(1)
        constants[f"s{index}"] = np.array(shape)
        nodes.append(node("Reshape", [f"t{index}", f"s{index}"], [f"t{index + 1}"]))
    nodes.append(node("Sin", [f"t{len(steps)}"], ["y"]))
    found = same(network(nodes, {"t0": [2, 1, 3, 4]}, ["y"], constants))
    assert len(found.model.graph.node) <= len(nodes)
