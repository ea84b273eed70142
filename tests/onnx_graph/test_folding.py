"""Branches and arithmetic on shapes go away where static shapes decide them, and only there."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec.onnx_graph.folding import fold_shapes, worth_folding
from tests.onnx_graph.models import model_of

X = np.arange(6, dtype=np.float32).reshape(1, 6)


def folded(model):
    """The model after folding, how many branches went, and a check that it is valid and computes the same."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    result, resolved = fold_shapes(inferred)
    onnx.checker.check_model(result, full_check=True)
    for value in (X, -X):
        expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": value})
        got = onnxruntime.InferenceSession(result.SerializeToString()).run(None, {"x": value})
        for left, right in zip(expected, got, strict=True):
            assert np.array_equal(left, right)
    return result, resolved


def ops(model):
    return [node.op_type for node in model.graph.node]


def branch(name, nodes, outputs, initializers=()):
    infos = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
    tensors = [numpy_helper.from_array(value, name) for name, value in initializers]
    return helper.make_graph(nodes, name, [], infos, tensors)


def condition(size):
    """Is dimension 1 of x equal to `size`? Nodes and weights of the question that torch.squeeze leaves behind."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], name="shape"),
        helper.make_node("Gather", ["s", "one"], ["d"], name="gather"),
        helper.make_node("Equal", ["d", "size"], ["c"], name="equal"),
    ]
    return nodes, {"one": np.array(1), "size": np.array(size)}


def model_with(question, weights, then_branch, else_branch, outputs=("y",)):
    node = helper.make_node("If", ["c"], list(outputs), name="if", then_branch=then_branch, else_branch=else_branch)
    return model_of([*question, node], {"x": [1, 6]}, dict.fromkeys(outputs), weights)


@pytest.mark.parametrize(("size", "expected"), [(6, ["Neg"]), (7, ["Relu", "Neg"])])
def test_the_branch_that_the_shape_decides_is_taken(size, expected):
    nodes, weights = condition(size)
    then = branch("then", [helper.make_node("Neg", ["x"], ["t"], name="a")], ["t"])
    other = [helper.make_node("Relu", ["x"], ["t"], name="a"), helper.make_node("Neg", ["t"], ["u"], name="b")]
    result, resolved = folded(model_with(nodes, weights, then, branch("else", other, ["u"])))
    assert resolved == 1
    assert ops(result) == expected


def test_names_of_a_branch_do_not_meet_those_of_the_main_graph():
    """Two branches, and what follows them, may each have a tensor "mine"; ONNX forbids it only where they overlap."""
    nodes, weights = condition(6)
    inner = [helper.make_node("Neg", ["x"], ["mine"], name="shape"), helper.make_node("Add", ["mine", "w"], ["t"])]
    then = branch("then", inner, ["t"], [("w", np.float32([3]))])
    other = branch("else", [helper.make_node("Relu", ["x"], ["mine"])], ["mine"])
    model = model_with(nodes, weights, then, other)
    again = onnx.NodeProto()
    again.CopyFrom(model.graph.node[-1])
    again.name, again.output[0] = "second if", "z"
    model.graph.node.append(again)
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    result, resolved = folded(model)
    assert resolved == 2
    assert ops(result) == ["Neg", "Add", "Neg", "Add"]


def test_an_output_of_a_branch_that_is_a_constant_stays_one():
    nodes, weights = condition(6)
    then = branch("then", [helper.make_node("Neg", ["x"], ["t"])], ["t", "k"], [("k", np.float32([5]))])
    inner = [helper.make_node("Relu", ["x"], [name]) for name in ("p", "q")]
    result, _ = folded(model_with(nodes, weights, then, branch("else", inner, ["p", "q"]), ("y", "z")))
    assert ops(result) == ["Neg", "Identity"]


def test_branches_inside_of_branches_are_resolved_too():
    nodes, weights = condition(6)
    inner_nodes, inner_weights = condition(7)
    renamed = {"s": "s2", "d": "d2", "c": "c2", "one": "one2", "size": "size2"}
    for node in inner_nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    deep = helper.make_node(
        "If",
        ["c2"],
        ["t"],
        name="deep",
        then_branch=branch("a", [helper.make_node("Neg", ["x"], ["n"])], ["n"]),
        else_branch=branch("b", [helper.make_node("Relu", ["h"], ["m"])], ["m"]),
    )
    before = helper.make_node("Abs", ["x"], ["h"])
    constants = [(renamed[name], value) for name, value in inner_weights.items()]
    then = branch("then", [before, *inner_nodes, deep], ["t"], constants)
    other = branch("else", [helper.make_node("Relu", ["x"], ["t2"])], ["t2"])
    result, resolved = folded(model_with(nodes, weights, then, other))
    assert resolved == 2
    assert ops(result) == ["Abs", "Relu"]


def test_a_branch_that_values_decide_stays():
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["c"]),
    ]
    then = branch("then", [helper.make_node("Neg", ["x"], ["t"])], ["t"])
    other = branch("else", [helper.make_node("Relu", ["x"], ["u"])], ["u"])
    result, resolved = folded(model_with(nodes, {"zero": np.array(0, np.float32)}, then, other))
    assert resolved == 0
    assert ops(result) == ["ReduceSum", "Greater", "If"]


def test_a_computed_reshape_becomes_a_constant_one():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "one", "two"], ["last"]),
        helper.make_node("Div", ["last", "two"], ["half"]),
        helper.make_node("Concat", ["two", "half"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    weights = {"one": np.array([1]), "two": np.array([2])}
    result, _ = folded(model_of(nodes, {"x": [1, 6]}, {"y": None}, weights))
    assert ops(result) == ["Reshape"]
    assert [item.name for item in result.graph.initializer] == ["target"]


def test_a_small_constant_that_asks_for_a_huge_result_is_left_alone():
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        helper.make_node("ReduceMax", ["huge"], ["top"], keepdims=0),
        helper.make_node("Add", ["x", "top"], ["y"]),
    ]
    model = model_of(nodes, {"x": [1, 6]}, {"y": [1, 6]}, {"size": np.array([1 << 20, 1 << 20])})
    result, _ = fold_shapes(onnx.shape_inference.infer_shapes(model, data_prop=True))
    assert ops(result) == ["ConstantOfShape", "ReduceMax", "Add"]


def test_weights_that_are_quantized_stay_quantized():
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"]), helper.make_node("Mul", ["x", "w"], ["y"])]
    weights = {"q": np.array([1, 2, 3, 4, 5, 6], np.int8), "s": np.float32(0.5)}
    result, _ = folded(model_of(nodes, {"x": [1, 6]}, {"y": None}, weights))
    assert ops(result) == ["DequantizeLinear", "Mul"]


def test_a_plain_model_is_not_worth_it():
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 6]}, {"y": [1, 6]})
    assert not worth_folding(onnx.shape_inference.infer_shapes(model))
