"""Smaller weights: what is stored, what stays, and that nothing but the weights changes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgec.onnx_graph import hollow
from edgec.onnx_graph.stored import open_stored
from edgec.quantization.weight_only import compress
from edgec.reference import Reference
from tests.contract.models import Net


def made(model, precision, folder, keep_float=()):
    """(what compress says, the model as it was written)."""
    onnx.save(model, folder / "source.onnx")
    out = folder / precision
    out.mkdir()
    with open_stored(folder / "source.onnx") as (shell, weights):
        found = compress(shell, weights, precision, keep_float)
        hollow.write_model(found.model, found.weights, out)
    written = onnx.load(out / "model.onnx")
    onnx.checker.check_model(written, full_check=True)
    return found, written


def one_conv(values, **attributes):
    net = Net()
    net.constant("w", np.asarray(values, np.float32))
    net.add("Conv", ["x", "w"], "y", pads=[1] * 4, **attributes)
    groups = attributes.get("group", 1)
    shape = [1, values.shape[1] * groups, 6, 6]
    return net.model({"x": (1, shape)}, {"y": (1, [1, values.shape[0], 6, 6])})


def everything():
    """One of each layer that has weights worth storing; (model, weights by name with the axis of their scales)."""
    net = Net()
    shapes = {"c": (16, 4, 3, 3), "t": (16, 16, 2, 2), "g": (20, 16), "m": (20, 24), "e": (700, 24)}
    shapes |= {"w": (1, 64, 24), "r": (1, 64, 16)}
    for name, shape in shapes.items():
        net.constant(name, net.weights(name, shape))
    net.add("Conv", ["x", "c"], "conv", pads=[1] * 4)
    net.add("ConvTranspose", ["conv", "t"], "up", strides=[2, 2])
    net.add("GlobalAveragePool", ["up"], "pooled")
    net.add("Flatten", ["pooled"], "flat")
    net.add("Gemm", ["flat", "g"], "gemm", transB=1)
    net.add("MatMul", ["gemm", "m"], "product")
    net.add("Gather", ["e", "tokens"], "rows")
    net.add("Add", ["rows", "product"], "sum")
    net.constant("axes", np.array([1]))
    net.add("Unsqueeze", ["sum", "axes"], "sequence")
    net.nodes.append(helper.make_node("LSTM", ["sequence", "w", "r"], ["y"], "lstm", hidden_size=16))
    model = net.model({"x": (1, [1, 4, 8, 8]), "tokens": (TensorProto.INT64, [3])}, {"y": (1, [3, 1, 1, 16])})
    return model, {"c": 0, "t": 1, "g": 0, "m": 1, "e": 0, "w": 1, "r": 1}


def run(model, seed=0):
    rng = np.random.default_rng(seed)
    feeds = {}
    for info in model.graph.input:
        shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        integer = info.type.tensor_type.elem_type == TensorProto.INT64
        feeds[info.name] = rng.integers(0, 100, shape) if integer else rng.normal(size=shape).astype(np.float32)
    return Reference(model.SerializeToString(), "none").run(feeds)["y"]


def test_every_layer_with_weights_gets_int8_along_its_output_channels(tmp_path):
    model, axes = everything()
    found, written = made(model, "int8-weights", tmp_path)
    assert {item.name: item.axis for item in found.stored} == axes
    assert found.mac_fraction == 1.0
    stored = {item.name: item for item in written.graph.initializer}
    for name in axes:
        values = numpy_helper.to_array(stored[f"{name}_quantized"])
        assert values.dtype == np.int8
        assert np.abs(values.astype(int)).max() == 127
    assert not set(axes) & set(stored)


@pytest.mark.parametrize(("precision", "least"), [("int8-weights", 30), ("fp16", 65)])
def test_the_outputs_stay_near_the_originals(tmp_path, precision, least):
    model, _ = everything()
    _, written = made(model, precision, tmp_path)
    before, after = run(model), run(written)
    assert 10 * np.log10(np.square(before).sum() / np.square(before - after).sum()) > least


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-20, 20))
def test_an_int8_weight_is_off_by_half_a_step_of_its_channel_at_most(tmp_path_factory, seed, exponent):
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(8, 6, 3, 3)) * 2.0 ** (exponent * rng.random((8, 1, 1, 1)))).astype(np.float32)
    _, written = made(one_conv(values), "int8-weights", tmp_path_factory.mktemp("model"))
    tensors = {item.name: numpy_helper.to_array(item) for item in written.graph.initializer}
    scales = tensors["w_scale"].reshape(-1, 1, 1, 1)
    error = np.abs(tensors["w_quantized"] * scales - values)
    assert (error <= scales * 0.5 * (1 + 1e-5)).all()
    assert scales.shape == (8, 1, 1, 1)
    np.testing.assert_allclose(scales.ravel(), np.abs(values).max(axis=(1, 2, 3)) / 127, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 127), st.booleans())
def test_weights_that_were_int8_go_back_to_what_they_were(tmp_path_factory, seed, largest, per_tensor):
    rng = np.random.default_rng(seed)
    scales = np.float32(0.013) if per_tensor else rng.uniform(1e-4, 3, (8, 1, 1, 1)).astype(np.float32)
    values = rng.integers(-largest, largest + 1, (8, 6, 3, 3)).astype(np.float32) * scales
    found, _ = made(one_conv(values), "int8-weights", tmp_path_factory.mktemp("model"))
    assert found.stored[0].sqnr_db >= 119


def test_a_float16_weight_is_the_nearest_float16(tmp_path):
    values = np.random.default_rng(0).normal(size=(16, 16, 3, 3)).astype(np.float32)
    found, written = made(one_conv(values), "fp16", tmp_path)
    (tensor,) = (item for item in written.graph.initializer if item.name == "w_float16")
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), values.astype(np.float16))
    assert found.stored[0].bytes_after * 2 == found.stored[0].bytes_before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w * np.where(np.arange(w.size).reshape(w.shape) == 5, 1e6, 1), "float16 ends at 65504"),
        (lambda w: w * np.where(np.arange(len(w)) == 3, 1e-7, 1).reshape(-1, 1, 1, 1), "in channel 3"),
    ],
    ids=["too large", "too small"],
)
def test_what_float16_does_not_hold_stays_float32_and_is_named(tmp_path, change, reason):
    values = change(np.random.default_rng(0).normal(size=(16, 16, 3, 3)))
    found, written = made(one_conv(values), "fp16", tmp_path)
    (left,) = found.left
    assert left.name == "w"
    assert reason in left.reason
    np.testing.assert_array_equal(run(written), run(one_conv(values)))


def test_float16_holds_up_to_its_largest_number(tmp_path):
    values = np.full((16, 16, 3, 3), 65504.0)
    found, _ = made(one_conv(values), "fp16", tmp_path)
    assert [item.name for item in found.stored] == ["w"]


def test_a_weight_that_two_layers_share_is_stored_once(tmp_path):
    net = Net()
    net.constant("table", net.weights("table", (100, 32)))
    net.add("Gather", ["table", "tokens"], "rows")
    net.add("Gemm", ["rows", "table"], "y", transB=1)
    model = net.model({"tokens": (TensorProto.INT64, [3])}, {"y": (1, [3, 100])})
    found, written = made(model, "int8-weights", tmp_path)
    assert [(item.name, item.op, item.axis) for item in found.stored] == [("table", "Gemm", 0)]
    assert [node.op_type for node in written.graph.node].count("DequantizeLinear") == 1


def test_weights_of_a_node_that_is_kept_in_float_stay(tmp_path):
    model, axes = everything()
    found, _ = made(model, "int8-weights", tmp_path, keep_float=["conv.conv", "lstm"])
    assert {item.name for item in found.stored} == set(axes) - {"c", "w", "r"}
    assert {item.reason for item in found.left} == {"it was asked to stay float"}


def test_a_small_table_that_is_only_looked_up_stays(tmp_path):
    net = Net()
    net.constant("table", net.weights("table", (100, 32)))
    net.constant("w", net.weights("w", (32, 32)))
    net.add("Gather", ["table", "tokens"], "rows")
    net.add("MatMul", ["rows", "w"], "y")
    found, _ = made(net.model({"tokens": (TensorProto.INT64, [3])}, {"y": (1, [3, 32])}), "int8-weights", tmp_path)
    assert [item.name for item in found.stored] == ["w"]
    assert "too small" in found.left[0].reason


def test_small_tensors_and_those_whose_scales_outweigh_them_stay(tmp_path):
    net = Net()
    net.constant("tiny", net.weights("tiny", (4, 4)))
    net.constant("narrow", net.weights("narrow", (256, 2)))
    net.add("MatMul", ["x", "tiny"], "h")
    net.constant("pick", np.array([0, 1]))
    net.add("Gather", ["h", "pick"], "two", axis=1)
    net.add("Gemm", ["two", "narrow"], "y", transB=1)
    model = net.model({"x": (1, [3, 4])}, {"y": (1, [3, 256])})
    found, written = made(model, "int8-weights", tmp_path)
    assert not found.stored
    assert [(item.name, "more than int8 saves" in item.reason) for item in found.left] == [("narrow", True)]
    assert run(written).tobytes() == run(model).tobytes()


def test_large_models_are_streamed_and_give_the_same_weights(tmp_path, monkeypatch):
    """Weights beside the model, read tensor by tensor and written beside the result, as for a model of 3 GB."""
    model, _ = everything()
    _, whole = made(model, "int8-weights", tmp_path)
    beside = tmp_path / "beside"
    beside.mkdir()
    onnx.save(model, beside / "source.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    monkeypatch.setattr(hollow, "INLINE_LIMIT", 1000)
    monkeypatch.setattr(hollow, "SMALL", 100)
    with open_stored(beside / "source.onnx") as (shell, weights):
        assert not any(item.raw_data for item in shell.graph.initializer), "read into memory"
        found = compress(shell, weights, "int8-weights")
        (beside / "out").mkdir()
        hollow.write_model(found.model, found.weights, beside / "out")
    assert (beside / "out" / "model.onnx").stat().st_size < 10_000
    streamed = onnx.load(beside / "out" / "model.onnx")
    before, after = (
        {item.name: numpy_helper.to_array(item) for item in each.graph.initializer} for each in (whole, streamed)
    )
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)


def test_equal_models_give_equal_bytes(tmp_path):
    written = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        made(everything()[0], "int8-weights", folder)
        written.append((folder / "int8-weights" / "model.onnx").read_bytes())
    assert written[0] == written[1]
