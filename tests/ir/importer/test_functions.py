import numpy as np
import pytest
from onnx import helper

from edgec.ir.importer import examine
from edgec.ir.importer.functions import BY_DEFINITION
from tests.ir.importer.comparison import agree, model_of

RNG = np.random.default_rng(4)
Q = RNG.normal(size=(1, 2, 5, 8)).astype(np.float32)


@pytest.mark.parametrize("causal", [0, 1])
def test_attention_is_imported_as_it_is_defined(causal):
    attention = helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=causal, name="heads")
    graph = agree(attention, {"q": Q, "k": Q[::-1] * 2, "v": Q + 1}, opset=23, tolerance=1e-5)
    assert {operation.origin for operation in graph.operations} == {("heads",)}
    assert all(name == "y" or name.startswith("y/") for operation in graph.operations for name in operation.outputs)


def test_attributes_that_are_left_out_have_their_defaults():
    window = helper.make_node("HannWindow", ["size"], ["w"])
    nodes = [window, helper.make_node("Mul", ["x", "w"], ["y"])]
    agree(nodes, {"x": np.ones(6, np.float32)}, {"size": np.array(6)})


def test_what_a_definition_lacks_is_named_with_the_operator_inside():
    window = helper.make_node("HannWindow", ["size"], ["y"], name="hann")
    (found,) = examine(model_of(window, {"size": np.array(6)}))
    assert (found.node, found.op) == ("hann", "HannWindow")
    assert found.reason == "within its definition, Range: its limit is computed at run time"


@pytest.mark.parametrize("operator", BY_DEFINITION)
def test_onnx_defines_them(operator):
    import onnx.defs

    schema = onnx.defs.get_schema(operator)
    assert schema.has_function or schema.has_context_dependent_function
