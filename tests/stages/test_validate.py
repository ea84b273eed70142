"""Validation on a small model: what each of the three comparisons says, and what it says when something is broken."""

from __future__ import annotations

import json
import platform
from dataclasses import replace

import numpy as np
import pytest

from edgec.errors import DeviceError, InternalError, ToolMissing, UsageError
from edgec.events import Note, Progress
from edgec.runners.execution import Execution, choose
from edgec.runtime.golden import read_golden
from edgec.stage import StageContext
from edgec.stages import validate as stage
from edgec.stages.validate import ValidateParams, run
from edgec.targets import host_features, load_target

pytest.importorskip("openvino")

from tests.runners.fake_machine import FakeMachine
from tests.stages.small_models import (
    SCALE,
    Arrays,
    Bright,
    Sequences,
    convolution,
    full_range,
    ingested,
    lowered,
    quantized,
    recurrent,
)

VNNI = {"avx_vnni", "avx512_vnni"} & set(host_features())


@pytest.fixture
def validate(tmp_path, monkeypatch):
    """Run the stage; returns parity.json, the golden samples (or None), and the events.

    payload: what is lowered. reference: the quantized reference, the payload's own model unless given.
    device: stands in for an emulated one. macs: what the model is said to cost.
    """

    def go(
        original,
        payload,
        samples,
        *,
        int8=False,
        target="host",
        state=(),
        gate=(),
        machine=None,
        precision="float",
        reference=None,
        device=None,
        macs=0,
    ):
        events = []
        out = tmp_path / "out"
        out.mkdir()
        chosen = load_target(target)
        if machine is not None:
            chosen = replace(chosen, arch=machine)
        execution = choose(chosen, "", emulate=False)
        if device is not None:
            execution = Execution("qemu", device.label, device.qemu.version, device.root.digest)
            monkeypatch.setattr(stage, "machine_of", lambda target, execution: device)
        read = ingested(tmp_path / "ingested", original)
        (read / "ingest.json").write_text(json.dumps({"macs": macs}))
        run(
            ingested=read,
            quantized=quantized(tmp_path / "quantized", reference or payload) if int8 else None,
            lowered=lowered(tmp_path / "lowered", payload, precision),
            samples=samples,
            params=ValidateParams(chosen, execution, state, gate),
            context=StageContext("validate", out, events.append),
        )
        golden = out / "golden.npz"
        parity = json.loads((out / "parity.json").read_text())
        return parity, read_golden(golden) if golden.is_file() else None, events

    return go


def test_a_float_payload_that_is_the_original(validate):
    parity, golden, events = validate(convolution(), convolution(), Arrays(12))
    assert (parity["passed"], parity["runner"], parity["samples"]) == (True, "native", 6)
    assert parity["quantization"] == {"outputs": []}
    assert parity["total"]["outputs"][0]["sqnr_db"] > 90
    assert len(golden.samples) == 3
    assert any(isinstance(event, Progress) and event.done == event.total == 6 for event in events)


def test_a_float_payload_that_is_a_little_off_is_refused(validate):
    parity, _, _ = validate(convolution(), convolution(gain=1.01), Arrays(12))
    assert not parity["passed"]
    assert "float arithmetic must reach" in parity["failures"][0]


def test_the_profile_is_of_all_samples_and_of_the_payloads_outputs(validate, tmp_path):
    validate(convolution(), convolution(), Arrays(12))
    profile = json.loads((tmp_path / "out" / "profile.json").read_text())
    assert (profile["samples"], profile["outputs_of"], profile["why_none"]) == (12, "payload", "")
    assert [tensor["role"] for tensor in profile["tensors"]] == ["input", "output"]
    assert all(tensor["runs"] == 12 for tensor in profile["tensors"])


def test_random_inputs_are_no_profile(validate, tmp_path):
    parity, _, _ = validate(convolution(), convolution(), None)
    profile = json.loads((tmp_path / "out" / "profile.json").read_text())
    assert (profile["tensors"], profile["why_none"]) == ([], parity["note"])


def test_what_was_not_executed_is_profiled_by_its_reference(validate, tmp_path):
    validate(convolution(), convolution(), Arrays(12), machine="no-such-machine")
    profile = json.loads((tmp_path / "out" / "profile.json").read_text())
    assert (profile["samples"], profile["outputs_of"]) == (6, "reference")


def test_the_float_gate_can_be_stated(validate):
    parity, _, _ = validate(convolution(), convolution(gain=1.01), Arrays(12), gate=(("float_sqnr", 30.0),))
    assert parity["passed"]


def test_int8_error_is_split_into_quantization_and_lowering(validate):
    parity, golden, _ = validate(convolution(), convolution(quantized=True), Arrays(40), int8=True)
    quantization, lowering = (parity[key]["outputs"][0] for key in ("quantization", "lowering"))
    assert parity["passed"]
    assert 20 < quantization["sqnr_db"] < 60
    assert quantization["max_lsb"] == pytest.approx(0.5, abs=0.02)
    assert lowering["max_lsb"] <= 1.01
    assert golden.steps == {"y": pytest.approx(SCALE)}


def test_a_payload_that_computes_something_else_fails_by_its_lowering(validate):
    parity, _, _ = validate(
        convolution(), convolution(gain=-1.0), Arrays(12), int8=True, reference=convolution(quantized=True)
    )
    assert not parity["passed"]
    assert parity["quantization"]["outputs"][0]["sqnr_db"] > 20
    assert parity["lowering"]["outputs"][0]["sqnr_db"] < 3
    assert any("lowering costs" in warning for warning in parity["warnings"])


def test_data_on_which_the_model_does_nothing_proves_nothing(validate):
    parity, _, _ = validate(convolution(), convolution(quantized=True), Arrays(12, constant=True), int8=True)
    assert not parity["passed"]
    assert "calibration-domain" in parity["failures"][0]
    assert "same for every sample" in parity["failures"][0]


def test_without_samples_probes_are_made_and_said_so(validate):
    parity, golden, _ = validate(convolution(), convolution(), None)
    assert parity["passed"]
    assert "random inputs" in parity["note"]
    assert golden.samples


def test_state_is_carried_through_a_sequence(validate):
    state = (("hn", "h"),)
    parity, golden, _ = validate(recurrent(), recurrent(), Sequences(8), state=state)
    assert parity["passed"]
    kinds = {item["name"]: (item["kind"], item["steps"]) for item in parity["total"]["outputs"]}
    assert kinds == {"y": ("classes", 20), "hn": ("state", 20)}
    first, second = golden.samples[0][:2]
    np.testing.assert_array_equal(first[1]["hn"], second[0]["h"])


def test_probes_of_a_recurrent_model_are_one_sequence(validate):
    parity, golden, _ = validate(recurrent(), recurrent(), None, state=(("hn", "h"),))
    assert parity["samples"] == 1
    assert len(golden.samples[0]) == 8


@pytest.mark.parametrize("int8", [True, False])
def test_a_payload_for_another_architecture_is_not_executed_and_says_so(validate, int8):
    other = "aarch64" if platform.machine() != "aarch64" else "x86_64"
    parity, golden, events = validate(convolution(), convolution(quantized=int8), Arrays(40), int8=int8, machine=other)
    assert (parity["runner"], parity["passed"]) == ("none", True)
    assert parity["total"] == {"outputs": []}
    assert "was not executed" in parity["note"]
    assert any(isinstance(event, Note) and "was not executed" in event.text for event in events)
    assert parity["golden"] == {"samples": len(golden.samples), "outputs_of": "reference"}


def test_an_unknown_gate_is_a_usage_error(validate):
    with pytest.raises(UsageError, match="no threshold called 'sqnrr'"):
        validate(convolution(), convolution(), Arrays(8), gate=(("sqnrr", 1.0),))


def test_a_crashing_engine_is_an_error_with_a_message(validate, monkeypatch):
    monkeypatch.setattr(stage, "_measure", crash)
    with pytest.raises(InternalError, match="engine died") as caught:
        validate(convolution(), convolution(), Arrays(8))
    assert "SIGSEGV" in caught.value.why


def crash(**job):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.skipif(not VNNI, reason="this machine itself has no exact INT8 products to hold back from")
@pytest.mark.parametrize(("target", "exact"), [("host", True), ("x86-64-v3", False)])
def test_products_that_saturate_on_the_target_saturate_here(validate, target, exact):
    """AVX2 adds pairs of products in 16 bits: 8-bit weights overflow there, and must be caught before the device."""
    original, reference = full_range()
    parity, _, _ = validate(original, reference, Bright(24), int8=True, precision="int8", target=target)
    lowering = parity["lowering"]["outputs"][0]
    assert (parity["runner"], parity["passed"]) == ("native", exact)
    assert (lowering["max_lsb"] <= 1.5) == exact


# --- on an emulated device: this machine's own Python, with the real engine unless an engine is given ---

REAL = FakeMachine(engine=None)
LARGE = 2 * 10**9  # multiply-accumulates of a model that is run on eight samples only


def broken(does):
    """A device whose engine loads, and does something else when it runs."""
    return FakeMachine(engine=f"def run(self, feeds):\n    import os, signal\n    {does}\nEngine.run = run\n")


def test_an_emulated_device_runs_the_payload_and_is_named(validate):
    parity, golden, events = validate(convolution(), convolution(quantized=True), Arrays(40), int8=True, device=REAL)
    assert (parity["passed"], parity["samples"], parity["executed_samples"]) == (True, 20, 20)
    assert parity["runner"] == "qemu-aarch64:cortex-a72"
    assert parity["emulator"] == {
        "name": "qemu-aarch64",
        "version": "1.2.3",
        "core": "cortex-a72",
        "root": REAL.root.digest,
    }
    assert parity["engine_version"]
    assert parity["quantization_executed"] is None
    assert parity["lowering"]["outputs"][0]["max_lsb"] <= 1.01
    assert parity["golden"] == {"samples": 3, "outputs_of": "payload"}
    assert len(golden.samples) == 3
    assert not [event for event in events if isinstance(event, Note) and "not executed" in event.text]


def test_it_gives_what_the_same_engine_gives_natively(validate, tmp_path):
    parity, golden, _ = validate(convolution(), convolution(quantized=True), Arrays(40), int8=True, device=REAL)
    for name in ("out", "ingested", "quantized", "lowered"):
        (tmp_path / name).rename(tmp_path / f"emulated-{name}")
    native, expected, _ = validate(convolution(), convolution(quantized=True), Arrays(40), int8=True)
    for section in ("quantization", "lowering", "total"):
        assert parity[section] == native[section]
    np.testing.assert_array_equal(golden.samples[1][0][1]["y"], expected.samples[1][0][1]["y"])


def test_a_large_model_runs_on_eight_samples_and_quantization_is_judged_on_all(validate):
    parity, golden, _ = validate(
        convolution(), convolution(quantized=True), Arrays(100), int8=True, device=REAL, macs=LARGE
    )
    assert (parity["passed"], parity["samples"], parity["executed_samples"]) == (True, 32, 8)
    steps = {name: parity[name]["outputs"][0]["steps"] for name in ("quantization", "lowering", "total")}
    assert steps == {"quantization": 32, "lowering": 8, "total": 8}
    assert parity["quantization_executed"]["outputs"][0]["steps"] == 8
    assert len(golden.samples) == 3
    assert parity["golden"]["outputs_of"] == "payload"


def test_a_broken_payload_fails_on_eight_samples_too(validate):
    parity, _, _ = validate(
        convolution(),
        convolution(gain=-1.0),
        Arrays(100),
        int8=True,
        reference=convolution(quantized=True),
        device=REAL,
        macs=LARGE,
    )
    assert not parity["passed"]
    assert parity["failures"][0].startswith("on the 8 executed samples, output 'y'")


def test_a_sequence_carries_its_state_on_an_emulated_device_too(validate):
    state = (("hn", "h"),)
    parity, _, _ = validate(recurrent(), recurrent(), Sequences(40), state=state, device=REAL, macs=10**9)
    assert (parity["passed"], parity["samples"], parity["executed_samples"]) == (True, 20, 8)


def test_wrong_outputs_of_a_device_are_noticed(validate):
    wrong = broken("return {'y': np.zeros((1, 8, 12, 12), np.float32)}")
    parity, _, _ = validate(convolution(), convolution(), Arrays(40), device=wrong)
    assert not parity["passed"]


@pytest.mark.parametrize(
    ("does", "error", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGILL)", DeviceError, "an instruction that cortex-a72 lacks"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", InternalError, "The engine died while it ran the artifact for host"),
        (
            "from edgec_runtime.errors import EngineMissing; raise EngineMissing('no model', 'too new', '')",
            ToolMissing,
            "On the emulated device (qemu-aarch64:cortex-a72): no model",
        ),
    ],
)
def test_what_goes_wrong_on_a_device_ends_the_build(validate, does, error, said):
    with pytest.raises(error) as caught:
        validate(convolution(), convolution(), Arrays(40), device=broken(does))
    assert said in caught.value.what
