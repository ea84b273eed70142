"""The document on a model, and what becomes of what can't be found out."""

from __future__ import annotations

import json
from dataclasses import replace

import onnx
import pytest
from onnx import TensorProto, helper

from edgec.contract import Contract, TensorSpec
from edgec.inspection.analysis import analyze
from edgec.inspection.expected_size import golden_bytes
from edgec.targets import Performance, load_target
from tests.contract import models

PEAKS = {"float32_gmacs": 100.0, "int8_gmacs": 400.0, "memory_gb_per_s": 30.0, "noisy": False}


@pytest.fixture
def plain():
    """A target that one backend of our own serves, so that no other engine is asked."""
    return replace(load_target("host"), backends=("tflite",))


@pytest.fixture
def stored(tmp_path):
    """Puts a model where a stage would have left it."""

    def store(model):
        tensors = [
            tuple(
                TensorSpec(
                    item.name,
                    str(helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)),
                    tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim),
                )
                for item in items
            )
            for items in (model.graph.input, model.graph.output)
        ]
        onnx.save(model, str(tmp_path / "model.onnx"))
        (tmp_path / "contract.json").write_text(json.dumps(Contract(*tensors).to_json()))
        return tmp_path

    return store


def test_the_document_holds_together(stored, plain):
    found = analyze(stored(models.conv_float()), plain, False, PEAKS)
    json.dumps(found, allow_nan=False)
    layers, totals = found["layers"], found["totals"]
    assert totals["macs"] == sum(layer["macs"] for layer in layers) > 0
    assert totals["parameters"] == sum(row["parameters"] for row in found["operators"])
    assert {layer["operator"] for layer in layers} == {row["operator"] for row in found["operators"]}
    times = sum(layer["milliseconds"] or 0 for layer in layers) + found["profile"]["elsewhere_milliseconds"]
    assert times == pytest.approx(found["profile"]["milliseconds"], abs=1e-3)
    assert all((layer["milliseconds"] is None) == (layer["measured_in"] is not None) for layer in layers)
    assert 1 < totals["int8_at_most"] <= 4.001
    assert found["roofline"]["source"] == "measured on this machine" and found["profile"]["on_target"]
    assert (
        found["support"]["tflite"]["status"] == "all"
        and found["expected_bytes"]["tflite"] > totals["weight_bytes"]["int8"]
    )
    needed = totals["weight_bytes"]["int8"] + totals["activation_peak_bytes"]["int8"]
    assert found["memory"] == {"device_mib": None, "needed_bytes": needed, "fits": None}


def test_peaks_of_a_busy_machine_say_so(stored, plain):
    found = analyze(stored(models.conv_float()), plain, False, {**PEAKS, "noisy": True})
    assert "busy" in found["roofline"]["source"]


def test_a_target_without_peaks_has_no_bounds_and_says_why(stored, plain):
    found = analyze(stored(models.conv_float()), replace(plain, here=False, name="board"), False, None)
    assert found["roofline"] is None and "board has no [performance]" in found["roofline_note"]
    assert all(layer["bound"] is layer["int8_at_most"] is None for layer in found["layers"])
    assert found["totals"]["int8_at_most"] is None
    assert found["profile"] is not None and not found["profile"]["on_target"]


def test_times_of_this_machine_do_not_weigh_anothers_layers(stored, plain):
    """With one roof far lower than the other, all that counts is the least time there, not what was measured here."""
    board = replace(plain, here=False, performance=Performance(1e-6, 4e-6, 1e6, "by hand"))
    found = analyze(stored(models.conv_float()), board, False, None)
    assert found["totals"]["int8_at_most"] == pytest.approx(4.0, rel=1e-3)
    assert {layer["bound"] for layer in found["layers"] if layer["macs"]} == {"compute"}


def test_a_model_that_can_not_be_run_has_no_times_and_says_why(stored, plain):
    model = models.conv_float()
    model.opset_import[0].version = 99
    found = analyze(stored(model), replace(plain, backends=()), False, PEAKS)
    assert found["profile"] is None and "ONNX Runtime could not run the model" in found["profile_note"]
    assert all(layer["milliseconds"] is None for layer in found["layers"])


def test_a_model_that_came_quantized_gains_nothing_from_int8(stored, plain):
    found = analyze(stored(models.conv_int8()), plain, True, PEAKS)
    assert found["totals"]["int8_at_most"] is None
    assert found["support"]["tflite"]["int8_mac_fraction"] == 1.0


def test_what_a_backend_leaves_in_float_is_named_with_the_reason(stored, plain):
    found = analyze(stored(models.with_float_operator()), plain, False, PEAKS)
    (entry,) = found["support"]["tflite"]["nodes"]
    assert (entry["node"], entry["operator"], entry["effect"]) == ("sin.y", "Sin", "float")
    assert entry["reason"]


def test_a_backend_without_kernels_for_the_target_takes_nothing_and_says_why(stored, plain):
    nothing = replace(plain, here=False, backends=("tvm",), arch="x86_64", features=())
    support = analyze(stored(models.conv_float()), nothing, False, None)["support"]["tvm"]
    assert support["status"] == "none" and "no kernels" in support["reason"]


def test_a_model_larger_than_the_device_does_not_fit(stored, plain):
    big = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"], "n")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1 << 20,))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1 << 20,))],
    )
    model = helper.make_model(big, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = analyze(stored(model), replace(plain, memory_mib=1), False, None)
    assert found["memory"] == {"device_mib": 1, "needed_bytes": 2 << 20, "fits": False}


def test_test_samples_are_up_to_three_and_up_to_a_megabyte():
    small, large = ((TensorSpec("x", "float32", (size,)),) for size in (1000, 400_000))
    assert golden_bytes(Contract(small, small)) == pytest.approx(3 * 8000, rel=0.2)
    assert golden_bytes(Contract(large, small)) == pytest.approx(1_604_000, rel=0.01)


def test_the_size_that_is_expected_is_that_of_the_artifact(warm_store, built_digits):
    """The analysis that the build itself made."""
    from edgec.store import Store

    (entry,) = (entry for entry in Store(warm_store).entries() if entry.stage == "analyze")
    expected = entry.read_json("analysis.json")["expected_bytes"]["openvino"]
    assert expected == pytest.approx(built_digits.artifact["bytes"], rel=0.1)


def test_a_fault_of_edgecs_own_is_not_blamed_on_the_engine(stored, plain, monkeypatch):
    def broken(*arguments):
        raise KeyError("a bug")

    monkeypatch.setattr("edgec.inspection.analysis.profile", broken)
    with pytest.raises(KeyError, match="a bug"):
        analyze(stored(models.conv_float()), plain, False, PEAKS)
