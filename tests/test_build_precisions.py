"""Whole builds of the other precisions, and of models that came quantized."""

from __future__ import annotations

import zipfile

import numpy as np
import onnx
import pytest

import edgec
import edgec.runtime
from edgec.errors import ParityGateError, UsageError
from edgec.refusal import curve_line
from edgec.store import Store
from tests.quantization import given_models


def payload(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.startswith("payload/")}


@pytest.fixture(scope="module")
def weights_in_float(digits, tmp_path_factory):
    """How many bytes the weights take in float."""
    folder = tmp_path_factory.mktemp("float")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEC_CACHE_DIR", str(folder / "store"))
        (plain,) = edgec.build(digits.model, precision="float", backend="openvino", output=folder).builds
    return len(payload(plain.artifact.path)["payload/model.bin"])


@pytest.mark.parametrize(("precision", "times"), [("int8-weights", 3.3), ("fp16", 1.9)])
@pytest.mark.parametrize("with_data", [True, False])
def test_smaller_weights_need_no_data_and_really_are_smaller(
    digits, weights_in_float, warm_store, tmp_path, precision, times, with_data
):
    data = {"calibration": digits.calibration, "preprocess": digits.recipe} if with_data else {}
    (built,) = edgec.build(digits.model, precision=precision, backend="openvino", output=tmp_path, **data).builds
    assert weights_in_float / len(payload(built.artifact.path)["payload/model.bin"]) > times
    assert built.precision == precision
    assert edgec.runtime.load(built.artifact.path).manifest["precision"] == precision
    assert built.parity["passed"]
    assert min(item["sqnr_db"] for item in built.parity["lowering"]["outputs"]) > 60
    assert ("No samples were given" in built.parity["note"]) == (not with_data)
    assert "float arithmetic" in (tmp_path / "digits_cnn-host.report.md").read_text()


def test_a_backend_that_lacks_a_precision_refuses_it_before_any_work(digits, tmp_path, monkeypatch):
    from edgec.backends.openvino.backend import OpenVINO

    monkeypatch.setattr("edgec.backends.openvino.BACKEND", OpenVINO(precisions=("int8", "mixed", "float")))
    with pytest.raises(UsageError, match="makes no fp16 artifacts"):
        edgec.build(digits.model, precision="fp16", backend="openvino", output=tmp_path)


def test_what_edgec_quantized_builds_to_the_same_weights(digits, tmp_path, warm_store):
    """The reference of one build, given to another: nothing is left to rewrite, and the same numbers come out."""
    data = {"calibration": digits.calibration, "preprocess": digits.recipe}
    (first,) = edgec.build(digits.model, backend="openvino", output=tmp_path, **data).builds
    (entry,) = (entry for entry in Store(warm_store).entries() if entry.stage == "quantize")
    onnx.save(onnx.load(entry.path / "qdq.onnx"), tmp_path / "digits_cnn.onnx")
    (again,) = edgec.build(tmp_path / "digits_cnn.onnx", backend="openvino", output=tmp_path / "again").builds
    assert payload(again.artifact.path)["payload/model.bin"] == payload(first.artifact.path)["payload/model.bin"]
    assert again.int8_mac_fraction == first.int8_mac_fraction
    assert again.quantization["rewrites"] == []
    images = [np.random.default_rng(seed).random((1, 1, 8, 8), np.float32) for seed in range(5)]
    models = [edgec.runtime.load(each.artifact.path) for each in (first, again)]
    for image in images:
        one, other = (model.run({model.manifest["inputs"][0]["name"]: image}) for model in models)
        for name, value in one.items():
            np.testing.assert_array_equal(other[name], value)


@pytest.mark.parametrize(
    ("make", "precision"),
    [
        (given_models.static, "int8"),
        (lambda folder: given_models.static(folder, operators=True), "mixed"),
        (given_models.dynamic, "int8-weights"),
    ],
    ids=["pairs", "operators", "dynamic"],
)
def test_models_that_came_quantized_are_built_as_they_are(tmp_path, make, precision):
    model = make(tmp_path)
    onnx.save(model, tmp_path / "given.onnx")
    (built,) = edgec.build(tmp_path / "given.onnx", backend="openvino", output=tmp_path).builds
    assert built.precision == precision
    assert built.parity["passed"]
    assert min(item["sqnr_db"] for item in built.parity["total"]["outputs"]) > 40
    assert any("came quantized" in note.text for note in built.notes if note.level == "warning")


def test_options_that_say_how_to_quantize_mean_nothing_to_such_a_model(tmp_path):
    onnx.save(given_models.static(tmp_path), tmp_path / "given.onnx")
    for options, said in (
        ({"keep_float": ("n",)}, "--keep-float says how to quantize"),
        ({"force": ("gptq",), "search_seconds": 5.0}, "--force and --search-seconds say how to quantize"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            edgec.build(tmp_path / "given.onnx", backend="openvino", output=tmp_path, **options)
        assert "came quantized" in caught.value.what


def test_it_too_is_refused_where_too_little_of_it_is_int8(tmp_path):
    onnx.save(given_models.static(tmp_path, operators=True), tmp_path / "given.onnx")
    with pytest.raises(ParityGateError) as caught:
        edgec.build(tmp_path / "given.onnx", backend="openvino", output=tmp_path, min_int8_macs=1.0)
    (failure,) = caught.value.details["failures"]
    assert "at least 100 %" in failure
    assert "in INT8 than was asked for" in caught.value.what
    assert "--min-int8-macs" in caught.value.fix


@pytest.mark.parametrize(("share", "said"), [(1.0, "100 %"), (0.99996, "99.99 %"), (0.29, "29 %"), (0.0, "0 %")])
def test_a_share_that_is_not_all_does_not_read_so(share, said):
    line = curve_line({"passed": True, "int8_mac_fraction": share, "sqnr_db": 40.0})
    assert f" {said} of" in line


def test_with_data_the_rounding_of_its_activations_is_measured_and_not_refused(tmp_path):
    model = given_models.static(tmp_path)
    onnx.save(model, tmp_path / "given.onnx")
    samples = [given_models.feeds(model, seed) for seed in range(24)]
    (built,) = edgec.build(tmp_path / "given.onnx", calibration=samples, backend="openvino", output=tmp_path).builds
    (output,) = built.quantization["outputs"]
    assert 10 < output["sqnr_db"] < 60
    assert any("Rounding its activations leaves" in text for text in built.quantization["warnings"])
