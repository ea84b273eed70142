"""The block at the end of a build."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgec.cli.summary import _recovered, _trial


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
    assert _trial(built, Path("dist/m-host.edgec")) == said
