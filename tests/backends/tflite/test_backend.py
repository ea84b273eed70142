"""The backend beyond the contract of all: integers at the border, int16 activations, small weights, what it tells."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgec.backends.base import LowerJob
from edgec.backends.tflite.backend import BACKEND
from edgec.backends.tflite.lowering import lower
from edgec.errors import UnsupportedOp
from edgec.ir import kinds
from edgec.ir.graph import Quantization
from edgec.ir.reference import execute
from edgec.reference import Reference
from edgec.runtime.engines import open_engine
from edgec.targets import load_target
from tests.backends.tflite.operations import One, q8
from tests.backends.tflite.running import interpreter, legal
from tests.contract import models


def lowered(model, folder, precision="int8", interface="float"):
    out = folder / f"{precision}-{interface}"
    out.mkdir()
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    payload = BACKEND.lower(LowerJob(path, load_target("host"), precision, out, interface))
    files = {name: (out / name).read_bytes() for name in payload.files}
    return payload, files, open_engine(payload.engine, files, payload.options, threads=1)


@pytest.mark.parametrize(("interface", "between"), [("int8", 0), ("uint8", 2)])
def test_with_an_interface_of_integers_the_file_takes_them_and_the_artifact_float(tmp_path, interface, between):
    model = models.conv_int8()
    _, _, plain = lowered(model, tmp_path)
    payload, files, engine = lowered(model, tmp_path, interface=interface)
    made = interpreter(files["model.tflite"])
    (given,), (taken,) = made.get_input_details(), made.get_output_details()
    assert given["dtype"] == taken["dtype"] == np.dtype(interface)
    assert given["shape"].tolist() == [1, 16, 16, 3]
    assert payload.facts["operators"].get("QUANTIZE", 0) == between
    assert "DEQUANTIZE" not in payload.facts["operators"]
    for seed in range(5):
        feeds = models.feeds_for(model, seed)
        np.testing.assert_array_equal(engine.run(feeds)["scores"], plain.run(feeds)["scores"])


def test_integers_that_are_the_models_own_stay_what_they_are(tmp_path):
    net = models.Net()
    net.constant("scale", np.float32(0.1))
    net.constant("zero_point", np.int8(3))
    real = net.add("DequantizeLinear", ["x", "scale", "zero_point"], "real")
    net.add("QuantizeLinear", [net.add("Relu", [real], "r"), "scale", "zero_point"], "y")
    model = net.model({"x": (TensorProto.INT8, [4])}, {"y": (TensorProto.INT8, [4])})
    payload, _, engine = lowered(model, tmp_path, "float", interface="uint8")
    assert [item["dtype"] for item in (*payload.options["inputs"], *payload.options["outputs"])] == ["int8", "int8"]
    assert engine.run({"x": np.array([-128, 2, 4, 127], np.int8)})["y"].tolist() == [3, 3, 4, 127]


def test_an_int8_file_says_in_its_metadata_what_its_integers_stand_for(tmp_path):
    _, files, _ = lowered(models.conv_int8(), tmp_path, interface="int8")
    made = interpreter(files["model.tflite"])
    formulas = re.findall(rb"int8; real = \(integer ([+-]) (\d+)\) \* ([\d.e-]+)", files["model.tflite"])
    details = [*made.get_input_details(), *made.get_output_details()]
    said = {(int(point) * (-1 if sign == b"+" else 1), np.float32(scale)) for sign, point, scale in formulas}
    assert said == {(zero_point, np.float32(scale)) for scale, zero_point in (item["quantization"] for item in details)}


def test_an_int8_file_is_within_a_step_of_the_integer_reference_per_layer(tmp_path):
    model = models.conv_int8()
    graph = lower(model).graph
    _, _, engine = lowered(model, tmp_path)
    for seed in range(5):
        feeds = models.feeds_for(model, seed)
        stored = {name: value.transpose(graph.layouts[name]) for name, value in feeds.items()}
        expected = execute(graph, stored)["scores"]
        assert np.abs(engine.run(feeds)["scores"] - expected).max() <= 1 / 32 + 1e-6


def wide_activations():
    """Two convolutions and a Gemm with int16 activations."""
    net = models.Net()

    def q_dq(tensor, scale):
        net.constant(f"{tensor}.scale", np.float32(scale))
        net.constant(f"{tensor}.zero_point", np.int16(0))
        parameters = [f"{tensor}.scale", f"{tensor}.zero_point"]
        net.add("QuantizeLinear", [tensor, *parameters], f"{tensor}.q")
        return net.add("DequantizeLinear", [f"{tensor}.q", *parameters], f"{tensor}.dq")

    x = q_dq("image", 3 / 32767)
    net.add("Conv", [x, net.int8_weights("w1", (8, 3, 3, 3))], "c1", pads=[1] * 4, strides=[2, 2])
    r1 = q_dq(net.add("Relu", ["c1"], "r1"), 4 / 32767)
    pooled = q_dq(net.add("GlobalAveragePool", [r1], "pooled"), 2 / 32767)
    flat = q_dq(net.add("Flatten", [pooled], "flat"), 2 / 32767)
    net.add("Gemm", [flat, net.int8_weights("w3", (10, 8))], "raw", transB=1)
    net.add("Identity", [q_dq("raw", 4 / 32767)], "scores")
    graph = helper.make_graph(
        net.nodes,
        "net",
        [helper.make_tensor_value_info("image", 1, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("scores", 1, [1, 10])],
        net.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_activations_of_16_bits_are_multiplied_as_such(tmp_path):
    model = wide_activations()
    payload, _, engine = lowered(model, tmp_path)
    assert payload.facts["int8_mac_fraction_executed"] == payload.facts["int8_mac_fraction_declared"] == 1.0
    assert payload.facts["lost_int8"] == []
    reference = Reference(model.SerializeToString(), "none")
    for seed in range(5):
        feeds = models.feeds_for(model, seed)
        expected = reference.run(feeds)["scores"]
        assert np.abs(engine.run(feeds)["scores"] - expected).max() <= 4 * 4 / 32767


def test_images_have_their_channels_last_and_nothing_is_transposed(tmp_path):
    payload, _, _ = lowered(models.conv_float(), tmp_path, "float")
    (image,) = payload.options["inputs"]
    assert image["permutation"] == [0, 2, 3, 1]
    assert payload.facts["transposes"] == []


def test_what_has_no_integer_kernel_is_named_with_a_reason(tmp_path):
    """Between two quantized convolutions lies a Sin."""
    net = models.Net()
    x = net.q_dq("image", 3 / 127, 5)
    net.add("Conv", [x, net.int8_weights("w1", (8, 3, 3, 3))], "c1", pads=[1] * 4)
    c1 = net.q_dq("c1", 4 / 127, 0)
    s = net.q_dq(net.add("Sin", [c1], "s"), 1 / 127, 0)
    net.add("Conv", [s, net.int8_weights("w2", (8, 8, 3, 3))], "c2", pads=[1] * 4)
    net.add("Identity", [net.q_dq("c2", 4 / 127, 0)], "y")
    model = net.model({"image": (1, [1, 3, 8, 8])}, {"y": (1, [1, 8, 8, 8])})
    payload, _, _ = lowered(model, tmp_path)
    (found,) = payload.facts["float_operations"]
    assert found["operation"] == "sin"
    assert "sin" in found["reason"]
    assert payload.facts["operators"]["SIN"] == 1
    assert payload.facts["lost_int8"] == []


@pytest.mark.parametrize("precision", ["fp16", "int8-weights"])
def test_small_weights_are_dequantized_once_and_shared(tmp_path, precision):
    payload, _, _ = lowered(models.smaller_weights(precision), tmp_path, precision)
    assert payload.facts["operators"]["DEQUANTIZE"] == 7  # one for each of the weights
    assert payload.facts["int8_primitives"] == 0


def single(op, inputs, output, initializers=(), **attributes):
    node = helper.make_node(op, [name for name, *_ in inputs], ["y"], name="the_node", **attributes)
    given = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    result = [helper.make_tensor_value_info("y", *output)]
    graph = helper.make_graph([node], "g", given, result, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_an_operator_without_a_kernel_is_refused_by_name_before_it_is_lowered(tmp_path):
    int32 = TensorProto.INT32
    model = single("BitwiseAnd", [("a", int32, [2]), ("b", int32, [2])], (int32, [2]))
    onnx.save(model, tmp_path / "model.onnx")
    (verdict,) = BACKEND.supports(tmp_path / "model.onnx", load_target("host"))
    assert (verdict.node, verdict.op, verdict.supported) == ("the_node", "BitwiseAnd", False)
    assert "bitwise_and" in verdict.reason
    assert verdict.remedy
    with pytest.raises(UnsupportedOp, match="can't be written") as caught:
        BACKEND.lower(LowerJob(tmp_path / "model.onnx", load_target("host"), "float", tmp_path))
    assert "the_node" in caught.value.why


def test_too_many_dimensions_to_transpose_are_refused_by_name(tmp_path):
    shape = [2] * 8
    model = single("Transpose", [("x", 1, shape)], (1, shape), perm=[7, 6, 5, 4, 3, 2, 1, 0])
    onnx.save(model, tmp_path / "model.onnx")
    (verdict,) = BACKEND.supports(tmp_path / "model.onnx", load_target("host"))
    assert not verdict.supported
    assert "8" in verdict.reason


def test_inputs_that_no_graph_holds_refuse_the_model(tmp_path):
    double = TensorProto.DOUBLE
    onnx.save(single("Relu", [("x", double, [2])], (double, [2])), tmp_path / "model.onnx")
    (verdict,) = BACKEND.supports(tmp_path / "model.onnx", load_target("host"))
    assert not verdict.supported
    assert "float64" in verdict.reason


def test_an_output_that_is_an_input_too_has_a_tensor_of_its_own(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="relu")],
        "g",
        [helper.make_tensor_value_info("x", 1, [2])],
        [helper.make_tensor_value_info(name, 1, [2]) for name in ("x", "y")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    _, _, engine = lowered(model, tmp_path, "float")
    outputs = engine.run({"x": np.array([-1, 2], np.float32)})
    assert {name: array.tolist() for name, array in outputs.items()} == {"x": [-1, 2], "y": [0, 2]}


def test_hard_sigmoid_between_integers_is_a_multiplication_and_an_addition():
    unit = Quantization.per_tensor(1 / 255, -128)
    one = One("hard sigmoid", kinds.HardSigmoid(1 / 6, 0.5), [q8(2, 3)], grid=unit)
    assert [item.kind.label for item in legal(one.graph()).operations] == ["mul", "add"]
