"""The INT8 form of a model that nobody has calibrated."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec.onnx_graph.graph import Graph
from edgec.quantization.structure import never_negative, strict_structure


def model(*nodes, output="y", constants=None):
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    for index, node in enumerate(made.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return onnx.shape_inference.infer_shapes(made)


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs, [output], **attributes)


@pytest.mark.parametrize(
    ("nodes", "constants", "positive"),
    [
        ([node("Relu", ["x"], "y")], {}, True),
        ([node("Clip", ["x", "low"], "y")], {"low": 0.0}, True),
        ([node("Clip", ["x", "low"], "y")], {"low": -1.0}, False),
        ([node("Clip", ["x"], "y")], {}, False),
        ([node("Relu", ["x"], "r"), node("MaxPool", ["r"], "y", kernel_shape=[2, 2])], {}, True),
        ([node("MaxPool", ["x"], "y", kernel_shape=[2, 2])], {}, False),
        ([node("Relu", ["x"], "r"), node("Add", ["r", "c"], "y")], {"c": 1.0}, True),
        ([node("Relu", ["x"], "r"), node("Add", ["r", "c"], "y")], {"c": -1.0}, False),
        ([node("Relu", ["x"], "r"), node("Sub", ["r", "r"], "y")], {}, False),
        ([node("Relu", ["x"], "r"), node("Concat", ["r", "x"], "y", axis=1)], {}, False),
    ],
)
def test_signs(nodes, constants, positive):
    assert ("y" in never_negative(Graph(model(*nodes, constants=constants)))) is positive


def test_a_convolution_becomes_integers_without_any_data():
    weights = np.random.default_rng(0).normal(size=(4, 4, 3, 3))
    made = model(node("Conv", ["x", "w"], "c", pads=[1, 1, 1, 1]), node("Relu", ["c"], "y"), constants={"w": weights})
    found = strict_structure(made)
    operators = [item.op_type for item in found.model.graph.node]
    assert operators.count("QuantizeLinear") == 2
    assert "Conv" in operators and found.float_nodes == {}
    onnx.checker.check_model(found.model)


def test_what_has_no_integer_form_is_named_with_a_reason():
    weights = np.zeros((4, 4, 1, 1))
    found = strict_structure(
        model(node("Conv", ["x", "w"], "c"), node("Erf", ["c"], "y", name="erf"), constants={"w": weights})
    )
    assert set(found.float_nodes) == {"erf"} and found.float_nodes["erf"]
