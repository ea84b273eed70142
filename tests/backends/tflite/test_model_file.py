"""The file itself: where bytes lie, what is shared, what is named, and that nothing else goes into it."""

from __future__ import annotations

import json

import flatbuffers
import numpy as np
import pytest

from edgec.backends.base import LowerJob
from edgec.backends.tflite.backend import BACKEND
from edgec.backends.tflite.model_file import LARGEST, require_writable
from edgec.backends.tflite.schema import OPERATOR_NAMES, generated
from edgec.backends.tflite.versions import INTRODUCED, NEWEST, needed_runtime, version_of
from edgec.backends.tflite.writer import write_graph
from edgec.errors import ModelRefused
from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Quantization, TensorType
from edgec.targets import load_target
from tests.backends.tflite.operations import INT8, f32, q8, q16
from tests.backends.tflite.running import interpreter
from tests.contract import models


def read(content):
    return generated.ModelT.InitFromPackedBuf(bytearray(content), 0)


def twins():
    """Two convolutions with the same weights, under other names."""
    builder = GraphBuilder()
    builder.input("in/put:0", f32(1, 5, 5, 3))
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    one, other = (builder.constant(name, weights.copy()) for name in ("w1", "w2"))
    for name, constant in (("a", one), ("b", other)):
        builder.add(kinds.Conv2D(), ["in/put:0", constant], name)
    builder.add(kinds.Binary("add"), ["a", "b"], "sum")
    return builder.finish(["sum", "a"])


def test_buffers_lie_on_multiples_of_16_bytes():
    content = bytearray(write_graph(twins(), "test", {"note": b"12345"}).content)
    model = generated.Model.GetRootAs(content, 0)
    places = []
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        offset = flatbuffers.number_types.UOffsetTFlags.py_type(buffer._tab.Offset(4))
        if offset:
            places.append(buffer._tab.Vector(offset))
    assert places
    assert all(place % 16 == 0 for place in places)
    assert content[4:8] == b"TFL3"


def test_equal_constants_are_stored_once():
    graph = twins()
    model = read(write_graph(graph, "test").content)
    large = [item for item in model.buffers if item.data is not None and len(item.data) > 400]
    assert len(large) == 1
    (subgraph,) = model.subgraphs
    assert [item.inputs[1] for item in subgraph.operators[:2]] == [1, 1]


def test_onnx_names_survive_and_the_signature_has_them():
    made = interpreter(write_graph(twins(), "test").content)
    assert made.get_signature_list() == {"serving_default": {"inputs": ["in/put:0"], "outputs": ["a", "sum"]}}
    assert {"in/put:0", "a", "b", "sum", "w1"} <= {item["name"] for item in made.get_tensor_details()}


def test_metadata_and_description_are_those_given_and_the_least_runtime():
    model = read(write_graph(twins(), "made by a test", {"note": b"{}"}).content)
    assert model.description == b"made by a test"
    stored = {item.name: bytes(model.buffers[item.buffer].data) for item in model.metadata}
    assert stored[b"note"] == b"{}"
    assert stored[b"min_runtime_version"] == b"1.5.0".ljust(16, b"\0")


def test_an_operator_in_two_versions_has_two_codes():
    builder = GraphBuilder()
    builder.input("x", f32(2, 3))
    builder.input("q", q8(2, 3))
    builder.add(kinds.Binary("add"), ["x", "x"], "y")
    builder.add(kinds.Binary("add"), ["q", "q"], "z", quantization=INT8)
    model = read(write_graph(builder.finish(["y", "z"]), "test").content)
    codes = [
        (OPERATOR_NAMES[item.builtinCode], item.version, item.deprecatedBuiltinCode) for item in model.operatorCodes
    ]
    assert codes == [("ADD", 1, 0), ("ADD", 2, 0)]


def test_codes_beyond_127_are_told_to_old_runtimes_as_such():
    builder = GraphBuilder()
    builder.input("x", f32(2, 3))
    builder.add(kinds.CumSum(1), ["x"], "y")
    (code,) = read(write_graph(builder.finish(["y"]), "test").content).operatorCodes
    assert (code.builtinCode, code.deprecatedBuiltinCode) == (generated.BuiltinOperator.CUMSUM, 127)


@pytest.mark.parametrize("per_channel", [True, False])
def test_quantization_is_written_with_a_zero_point_for_each_scale(per_channel):
    builder = GraphBuilder()
    builder.input("x", q8(1, 5, 5, 3))
    scales = tuple(float(np.float32(0.1 * i)) for i in range(1, 5)) if per_channel else (0.5,)
    grid = Quantization(scales, (0,) * len(scales), 0 if per_channel else None)
    builder.constant("w", np.ones((4, 3, 3, 3), np.int8), grid)
    builder.add(kinds.Conv2D(), ["x", "w"], "y", quantization=INT8)
    model = read(write_graph(builder.finish(["y"]), "test").content)
    tensors = {item.name: item for item in model.subgraphs[0].tensors}
    found = tensors[b"w"].quantization
    np.testing.assert_array_equal(found.scale, np.array(scales, np.float32))
    assert found.zeroPoint.tolist() == [0] * len(scales)
    assert found.quantizedDimension == 0
    bias = tensors[b"y/zero_bias"]
    assert bias.type == generated.TensorType.INT32
    np.testing.assert_allclose(bias.quantization.scale, np.array(scales) * INT8.scale[0], rtol=1e-6)


def test_depthwise_weights_turn_and_their_scales_with_them():
    builder = GraphBuilder()
    builder.input("x", q8(1, 5, 5, 3))
    grid = Quantization((0.1, 0.2, 0.3), (0, 0, 0), 0)
    builder.constant("w", np.arange(27, dtype=np.int8).reshape(3, 3, 3, 1), grid)
    builder.add(kinds.Conv2D(groups=3), ["x", "w"], "y", quantization=INT8)
    model = read(write_graph(builder.finish(["y"]), "test").content)
    (weights,) = (item for item in model.subgraphs[0].tensors if item.name == b"w/depthwise")
    assert weights.shape.tolist() == [1, 3, 3, 3]
    assert weights.quantization.quantizedDimension == 3
    data = np.frombuffer(bytes(model.buffers[weights.buffer].data), np.int8).reshape(1, 3, 3, 3)
    np.testing.assert_array_equal(data[0, :, :, 1], np.arange(9, 18).reshape(3, 3))


def test_files_of_more_than_two_gigabytes_are_refused_before_anything_is_lowered(tmp_path, monkeypatch):
    with pytest.raises(ModelRefused, match="bytes") as caught:
        require_writable(LARGEST + 1)
    assert "2 GiB" in caught.value.why
    monkeypatch.setattr("edgec.backends.tflite.model_file.LARGEST", 1000)
    (tmp_path / "model.onnx").write_bytes(models.conv_float().SerializeToString())
    with pytest.raises(ModelRefused, match="constants take"):
        BACKEND.lower(LowerJob(tmp_path / "model.onnx", load_target("host"), "float", tmp_path))
    assert list(tmp_path.iterdir()) == [tmp_path / "model.onnx"]


def test_the_contract_and_the_recipe_are_in_the_file(tmp_path):
    (tmp_path / "model.onnx").write_bytes(models.conv_int8().SerializeToString())
    recipe = {
        "applies_to": "images",
        "color": "RGB",
        "layout": "auto",
        "dtype": "float32",
        "steps": [],
        "normalize": {"scale": 1.0, "mean": [127.5], "std": [127.5]},
    }
    job = LowerJob(tmp_path / "model.onnx", load_target("host"), "int8", tmp_path, "int8", recipe)
    payload = BACKEND.lower(job)
    model = read((tmp_path / payload.files[0]).read_bytes())
    stored = {item.name: bytes(model.buffers[item.buffer].data) for item in model.metadata}
    told = json.loads(stored[b"edgec.io"])
    assert told["recipe"] == recipe
    (image,) = told["inputs"]
    assert (image["name"], image["permutation"], image["dtype"]) == ("image", [0, 2, 3, 1], "int8")
    assert image["scale"] == pytest.approx(3 / 127)
    assert b"TFLITE_METADATA" in stored


# --- versions ---


def test_no_operator_needs_a_newer_runtime_than_the_last_tflite_runtime():
    for code, releases in INTRODUCED.items():
        for release in releases:
            assert tuple(map(int, release.split("."))) <= NEWEST, code


def test_every_operator_is_one_of_the_schema():
    assert set(INTRODUCED) <= set(OPERATOR_NAMES.values())


EXAMPLES = [
    ("CONV_2D", (f32(1, 5, 5, 4), f32(8, 3, 3, 4)), 1),
    ("CONV_2D", (f32(1, 5, 5, 4), f32(8, 3, 3, 2)), 6),
    ("CONV_2D", (q8(1, 5, 5, 4), q8(8, 3, 3, 4)), 3),
    ("CONV_2D", (q16(1, 5, 5, 4), q8(8, 3, 3, 4)), 4),
    ("TRANSPOSE", (f32(2, 3),), 1),
    ("TRANSPOSE", (q8(2, 3),), 2),
    ("TRANSPOSE", (f32(1, 2, 3, 4, 5),), 4),
    ("MAXIMUM", (f32(1, 2, 3, 4, 5), f32(5)), 3),
    ("LOGISTIC", (q16(2),), 3),
    ("DEQUANTIZE", (TensorType((2,), "float16"),), 3),
    ("DEQUANTIZE", (TensorType((2,), "int8", Quantization((0.1, 0.2), (0, 0), 0)),), 5),
]


@pytest.mark.parametrize(("code", "inputs", "version"), EXAMPLES)
def test_the_version_is_the_smallest_that_takes_the_types(code, inputs, version):
    assert version_of(code, inputs, [inputs[0]]) == version


def test_a_product_with_a_finer_scale_than_its_operands_needs_a_later_version():
    x = q8(2)
    coarse, fine = (q8(2, grid=Quantization.per_tensor(scale, 0)) for scale in (1.0, 0.001))
    assert version_of("MUL", [x, x], [coarse]) == 2
    assert version_of("MUL", [x, x], [fine]) == 3


def test_the_least_runtime_is_that_of_the_newest_operator():
    assert needed_runtime([]) == "1.5.0"
    assert needed_runtime([("ADD", 1), ("GELU", 1), ("CONV_2D", 3)]) == "2.9.0"


def unread(content):
    """Names of tensors that are neither read nor given."""
    graph = read(content).subgraphs[0]
    used = {int(index) for operator in graph.operators for index in operator.inputs} | set(graph.outputs)
    return [tensor.name.decode() for index, tensor in enumerate(graph.tensors) if index not in used]


@pytest.mark.parametrize("activations", ["float32", "int8", "int16"])
def test_what_nothing_reads_is_not_written(activations):
    """Weights that are turned for DEPTHWISE_CONV_2D and biases that are widened are written once."""
    builder = GraphBuilder()
    grid = None if activations == "float32" else Quantization.per_tensor(0.1, 0)
    builder.input("x", TensorType((1, 5, 5, 4), activations, grid))
    integers = activations != "float32"
    weights = np.ones((4, 3, 3, 1), np.int8 if integers else np.float32)
    w = builder.constant("w", weights, grid)
    bias = Quantization.per_tensor(0.01, 0) if integers else None
    b = builder.constant("b", np.arange(4, dtype=np.int32 if integers else np.float32), bias)
    builder.add(kinds.Conv2D(groups=4), ["x", w, b], "y", quantization=grid)
    assert unread(write_graph(builder.finish(["y"]), "test").content) == []


def test_what_the_file_needs_besides_does_not_take_the_names_of_the_graph():
    builder = GraphBuilder()
    builder.input("x", f32(2, 3))
    builder.add(kinds.Reduce("mean", (1,), keepdims=True), ["x"], "y")
    made = interpreter(write_graph(builder.finish(["y"]), "test").content)
    (axes,) = {item["name"] for item in made.get_tensor_details()} - {"x", "y"}
    builder.add(kinds.Unary("neg"), ["y"], axes)
    made = interpreter(write_graph(builder.finish(["y", axes]), "test").content)
    assert [item["name"] for item in made.get_output_details()] == ["y", axes]
