"""What depends on what, bodies of control flow included."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import GraphProto, TensorProto, helper, numpy_helper

from edgec.onnx_graph.dependence import captured_names, reads, varying


def _info(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])


def _branch(*nodes, output="out"):
    return helper.make_graph(list(nodes), "branch", [], [_info(output)])


def _graph(*nodes, constants=("c",)) -> GraphProto:
    initializers = [numpy_helper.from_array(np.ones(2, np.float32), name) for name in constants]
    return helper.make_graph(list(nodes), "g", [_info("x")], [_info("y")], initializers)


INNER = helper.make_node("Relu", ["x"], ["out"])
NESTED = helper.make_node("If", ["inner_condition"], ["out"], then_branch=_branch(INNER), else_branch=_branch(INNER))


@pytest.mark.parametrize("inner", [INNER, NESTED])
def test_a_node_reads_what_its_bodies_read(inner):
    node = helper.make_node("If", ["c"], ["y"], then_branch=_branch(inner), else_branch=_branch(output="d"))
    assert {"c", "x", "d"} <= set(reads(node))
    assert {"x", "d"} <= set(captured_names([node]))
    assert "c" not in set(captured_names([node]))


def test_inputs_that_are_left_out_are_no_names():
    assert list(reads(helper.make_node("Clip", ["x", "", "c"], ["y"]))) == ["x", "c"]


def test_what_is_computed_from_constants_alone_does_not_vary():
    graph = _graph(helper.make_node("Exp", ["c"], ["e"]), helper.make_node("Add", ["x", "e"], ["y"]))
    assert varying(graph) == {"x", "y"}


@pytest.mark.parametrize("op", ["Shape", "Size", "ConstantOfShape"])
def test_what_follows_from_shapes_does_not_vary(op):
    assert varying(_graph(helper.make_node(op, ["x"], ["s"]), helper.make_node("Cast", ["s"], ["y"], to=1))) == {"x"}


def test_what_a_body_makes_of_an_input_varies():
    node = helper.make_node("If", ["c"], ["y"], then_branch=_branch(INNER), else_branch=_branch(INNER))
    assert "y" in varying(_graph(node))


def test_an_input_with_a_default_that_is_an_initializer_does_not_vary():
    graph = _graph(helper.make_node("Relu", ["c"], ["y"]))
    graph.input.append(_info("c"))
    assert varying(graph) == {"x"}
