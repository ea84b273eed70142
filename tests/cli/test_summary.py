"""The block at the end of a build."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgec.cli.summary import _metric, _parity, _recovered, _trial


def step(name, status, before=None, after=None):
    return {"pass": name, "status": status, "sqnr_before_db": before, "sqnr_after_db": after}


def test_what_was_won_is_told_from_the_first_step_to_the_last():
    steps = [
        step("range-method", "accepted", 13.2, 16.5),
        step("bias-correction", "accepted", 11.0, 16.5),
        step("gptq", "rejected", 16.5, 14.0),
        step("rescale", "forced", 16.5, 24.8),
    ]
    assert _recovered({"recovery": steps}) == "13.2 -> 24.8 dB in the search, by range-method, rescale"


def test_nothing_is_told_where_nothing_was_needed():
    assert _recovered({}) == ""
    assert _recovered({"recovery": [step("gptq", "not needed"), step("useful-range", "accepted", 9.0, 12.0)]}) == ""


@pytest.mark.parametrize(
    ("runner", "said"),
    [
        ("native", "try it   python3 dist/m-host.edgec selftest"),
        ("qemu-arm:cortex-a7", "try it   edgec emulator run rpi2 dist/m-host.edgec selftest"),
        ("none", "try it   on the device: python3 m-host.edgec selftest"),
    ],
)
def test_where_an_artifact_can_be_tried_is_said(runner, said):
    built = SimpleNamespace(parity={"runner": runner}, target="rpi2")
    assert _trial(built, Path("dist/m-host.edgec"), "rpi2") == said


def test_the_command_to_try_can_be_pasted_into_a_shell():
    built = SimpleNamespace(parity={"runner": "native"}, target="host")
    assert _trial(built, Path("my models/m-host.edgec"), "host") == "try it   python3 'my models/m-host.edgec' selftest"


def test_a_target_that_was_asked_for_by_a_path_is_tried_by_it():
    built = SimpleNamespace(parity={"runner": "qemu-arm:cortex-a9"})
    said = "try it   edgec emulator run 'my boards/imx6.toml' dist/m-imx6.edgec selftest"
    assert _trial(built, Path("dist/m-imx6.edgec"), "my boards/imx6.toml") == said


def test_on_how_many_samples_the_artifact_ran_is_said():
    outputs = [{"sqnr_db": 24.9, "degenerate": None, "kind": "classes"}]
    parity = {"runner": "qemu-arm:cortex-a7", "samples": 32, "executed_samples": 30, "total": {"outputs": outputs}}
    built = SimpleNamespace(parity=parity, calibration_is_random=False)
    text = _parity(built)
    assert text == "passed on 32 samples, the artifact on 30 of them, 24.9 dB to the original at the worst output"
    parity["executed_samples"] = 32
    assert _parity(built) == "passed on 32 samples, 24.9 dB to the original at the worst output"


@pytest.mark.parametrize(
    ("outputs", "text"), [([{}], "its quantized reference passed on 32 samples"), ([], "nothing was compared")]
)
def test_what_was_compared_without_an_execution_is_said(outputs, text):
    built = SimpleNamespace(parity={"runner": "none", "samples": 32, "quantization": {"outputs": outputs}})
    assert _parity(built) == text


def test_a_metric_on_few_samples_stands_beside_its_reference():
    executed = {"samples": 8, "original": 0.9, "reference": 0.875, "artifact": 0.75}
    metric = {"name": "accuracy", "original": 0.92, "reference": 0.91, "artifact": None, "samples": 24, "max_drop": 0.1}
    assert _metric({**metric, "executed": executed}) == (
        "accuracy 0.92 -> 0.91 (quantized reference) on 24 samples, at most 0.1 lower; executed on 8: 0.875 -> 0.75"
    )
