"""What is particular to OpenVINO; what every backend promises is in tests/contract."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import onnx
import pytest
from onnx import helper

from edgec.backends.base import LowerJob
from edgec.backends.openvino import BACKEND
from edgec.backends.openvino.primitives import Primitive
from edgec.reference import Reference
from edgec.runtime.engines import open_engine
from edgec.runtime.errors import EngineMissing, InputError
from edgec.targets import Target, load_target
from tests.contract import models


def _saved(model, folder):
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _lower(model, precision, folder, **saving):
    path = folder / "model.onnx"
    onnx.save(model, path, **saving)
    (folder / "out").mkdir()
    payload = BACKEND.lower(LowerJob(path, load_target("host"), precision, folder / "out"))
    return payload, {name: (folder / "out" / name).read_bytes() for name in payload.files}


def test_without_the_package_it_says_what_to_install(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    available = BACKEND.availability()
    assert not available.installed
    assert "pip install" in available.install


def test_no_op_is_supported_on_an_architecture_without_engine(tmp_path):
    target = Target("rpi2", "Raspberry Pi 2", "armv7l", (), 4, ("openvino",))
    verdicts = BACKEND.supports(_saved(models.conv_float(), tmp_path), target)
    assert not any(verdict.supported for verdict in verdicts)
    assert "armv7l" in verdicts[0].reason


def test_an_attribute_that_openvino_refuses_is_explained_in_its_words(tmp_path):
    net = models.Net()
    net.constant("roi", np.zeros(8, np.float32))
    net.constant("scales", np.array([1, 1, 2, 2], np.float32))
    net.add("Resize", ["x", "roi", "scales"], "y", mode="linear", coordinate_transformation_mode="tf_crop_and_resize")
    model = net.model({"x": (1, [1, 1, 4, 4])}, {"y": (1, [1, 1, 8, 8])})
    (verdict,) = BACKEND.supports(_saved(model, tmp_path), load_target("host"))
    assert not verdict.supported
    assert "tf_crop_and_resize" in verdict.reason


def test_what_a_branch_holds_counts_for_the_node_that_holds_the_branch(tmp_path):
    info = helper.make_tensor_value_info("out", 1, [])
    then = helper.make_graph([helper.make_node("Det", ["x"], ["out"])], "then", [], [info])
    otherwise = helper.make_graph([helper.make_node("ReduceSum", ["x"], ["out"], keepdims=0)], "else", [], [info])
    net = models.Net()
    net.add("Neg", ["x"], "negative")
    net.nodes.append(helper.make_node("If", ["c"], ["y"], "choose", then_branch=then, else_branch=otherwise))
    model = net.model({"c": (9, []), "x": (1, [2, 2])}, {"y": (1, []), "negative": (1, [2, 2])})
    neg, choose = BACKEND.supports(_saved(model, tmp_path), load_target("host"))
    assert neg.supported
    assert not choose.supported
    assert "Det" in choose.reason


@pytest.mark.parametrize("kernel", ["brgconv_avx512_1x1_I8", "brgemm_avx512_i8", "ref_any_i8"])
def test_an_int8_kernel_is_known_by_its_name_in_either_case(kernel):
    assert Primitive("Convolution", kernel, "").is_int8


@pytest.mark.parametrize("kernel", ["brgconv_avx512_f32", "jit_avx512_bf16", "ref_any_i32", ""])
def test_other_kernels_are_not_int8(kernel):
    assert not Primitive("Convolution", kernel, "").is_int8


@pytest.mark.parametrize("threads", [1, 2])
def test_small_quantized_layers_in_a_row_are_right_on_any_number_of_threads(tmp_path, threads):
    """OpenVINO 2026.4 fuses them into one generated kernel on one thread, which forgets to rescale."""
    model = models.gemm_int8()
    payload, files = _lower(model, "int8", tmp_path)
    engine = open_engine(payload.engine, files, payload.options, threads)
    reference = Reference(model.SerializeToString(), "none")
    for seed in range(5):
        feeds = models.feeds_for(model, seed)
        np.testing.assert_allclose(engine.run(feeds)["logits"], reference.run(feeds)["logits"], atol=0.02)


def test_snippets_stay_on_where_they_do_no_harm(tmp_path):
    payload, _ = _lower(models.conv_int8(), "int8", tmp_path)
    assert "snippets" not in payload.options


def test_float_is_never_computed_in_bfloat16(tmp_path):
    payload, _ = _lower(models.conv_float(), "float", tmp_path)
    assert payload.options["inference_precision"] == "f32"
    assert not [kernel for kernel in payload.facts["kernels"] if "bf16" in kernel.lower()]


def test_an_integer_that_openvino_would_wrap_is_refused(tmp_path):
    payload, files = _lower(models.outputs_of_every_kind(), "float", tmp_path)
    engine = open_engine(payload.engine, files, payload.options)
    feeds = {**models.feeds_for(models.outputs_of_every_kind()), "count": np.array([2**40, 3])}
    with pytest.raises(InputError, match="32 bits"):
        engine.run(feeds)


def test_a_payload_that_is_no_ir_is_refused_with_the_reason(tmp_path):
    with pytest.raises(EngineMissing, match="can't load"):
        open_engine("openvino", {"model.xml": b"<net/>", "model.bin": b""}, {"outputs": ["y"]})


def test_quantized_weights_are_stored_in_int8(tmp_path):
    net = models.Net()
    x = net.q_dq("x", 0.05, 0)
    net.add("Gemm", [x, net.int8_weights("w", (256, 256))], "y", transB=1)
    _, files = _lower(net.model({"x": (1, [1, 256])}, {"y": (1, [1, 256])}), "int8", tmp_path)
    assert len(files["model.bin"]) < 256 * 256 * 2


def test_weights_beside_the_model_make_the_same_payload(tmp_path):
    _, together = _lower(models.conv_float(), "float", tmp_path)
    (tmp_path / "beside").mkdir()
    _, beside = _lower(models.conv_float(), "float", tmp_path / "beside", save_as_external_data=True, size_threshold=0)
    assert beside == together
