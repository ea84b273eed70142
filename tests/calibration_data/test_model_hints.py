"""What a model's first node says about the range of its input."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec.calibration_data.model_hints import pixel_ranges


def saved(path, *nodes, **constants):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    initializers = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(
        [helper.make_node(*node, name="first") for node in nodes], "g", inputs, outputs, initializers
    )
    onnx.save(helper.make_model(graph), path)
    return path


@pytest.mark.parametrize(
    ("node", "constants", "high"),
    [
        (("Div", ["x", "c"], ["y"]), {"c": 255}, 255),
        (("Mul", ["x", "c"], ["y"]), {"c": 1 / 255}, 255),
        (("Mul", ["c", "x"], ["y"]), {"c": 1 / 127.5}, 255),
        (("Sub", ["x", "c"], ["y"]), {"c": np.reshape([123.7, 116.3, 103.5], (3, 1, 1))}, 255),
        (("Add", ["x", "c"], ["y"]), {"c": -127.5}, 255),
        (("Sub", ["x", "c"], ["y"]), {"c": np.reshape([0.485, 0.456, 0.406], (3, 1, 1))}, 1),
    ],
)
def test_scaling_at_the_front_is_recognized(tmp_path, node, constants, high):
    found = pixel_ranges(saved(tmp_path / "m.onnx", node, **constants))["x"]
    assert found.high == high
    assert "'first'" in found.reason


def test_it_is_found_behind_a_transposition(tmp_path):
    model = saved(tmp_path / "m.onnx", ("Transpose", ["x"], ["t"]), ("Div", ["t", "c"], ["y"]), c=255)
    assert pixel_ranges(model)["x"].high == 255


def test_a_batch_normalization_states_its_range(tmp_path):
    node = ("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"])
    ones = np.ones(3)
    model = saved(tmp_path / "m.onnx", node, s=ones, b=ones, m=ones * 120, v=ones * 3600)
    assert (pixel_ranges(model)["x"].low, pixel_ranges(model)["x"].high) == (0, 240)


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        (("Conv", ["x", "c"], ["y"]), {"c": np.full((4, 3, 3, 3), 1 / 255)}),
        (("Div", ["c", "x"], ["y"]), {"c": 255}),
        (("Mul", ["x", "c"], ["y"]), {"c": 1.2}),
        (("Relu", ["x"], ["y"]), {}),
        (("Mul", ["x", "x"], ["y"]), {}),
    ],
)
def test_anything_else_says_nothing(tmp_path, node, constants):
    assert pixel_ranges(saved(tmp_path / "m.onnx", node, **constants)) == {}
