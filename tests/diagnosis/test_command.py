"""The command that a refusal names: it runs as it stands, and describes the same build."""

import shlex
from pathlib import Path

import click
import pytest

from edgec.cli import diagnose
from edgec.diagnosis.command import command, explain
from edgec.spec import BuildSpec

SPEC = BuildSpec(
    model=Path("my models/net.onnx"),
    targets=("host", "x86-64-v3"),
    calibration=Path("photos of mine"),
    recipe="imagenet",
    shapes={"x": (1, 3, 48, 192)},
    state={"stateN": "state"},
    profile="strict",
    keep_float=("a node", "b"),
    gate={"sqnr": 12.5},
    forbid=("gptq",),
    max_float_macs=0.25,
    evaluation=Path("judges"),
    metric="quality.py:accuracy",
    simplify=False,
)


def test_the_command_line_understands_it_and_means_the_same_build():
    words = shlex.split(command(SPEC, "x86-64-v3"))
    assert words[:2] == ["edgec", "diagnose"]
    seen = diagnose.command.make_context("edgec diagnose", words[2:]).params
    assert seen["subject"] == SPEC.model
    assert seen["targets"] == ("x86-64-v3",)
    assert seen["calibration"] == "photos of mine"
    assert (seen["recipe"], seen["profile"], seen["simplify"]) == ("imagenet", "strict", False)
    assert (seen["shapes"], seen["state"], seen["gate"]) == (("x=1x3x48x192",), ("stateN:state",), ("sqnr=12.5",))
    assert (seen["keep_float"], seen["forbid"]) == (("a node", "b"), ("gptq",))
    assert seen["max_float_macs"] == 0.25
    assert str(seen["evaluation"]) == "judges"  # the data that the metric was taken on


def test_what_has_its_default_is_left_out():
    assert command(BuildSpec(model=Path("m.onnx"), calibration=Path("d")), "host") == (
        "edgec diagnose m.onnx --target host --calib d"
    )


def test_arrays_can_not_be_typed():
    assert "edgec.diagnose(...)" in explain(BuildSpec(model=Path("m.onnx"), calibration=[1, 2]), "host")


def test_flags_that_mean_nothing_here_are_not_taken():
    for flag in ("--jobs", "--dry-run", "--metric", "--max-drop"):
        with pytest.raises(click.NoSuchOption):
            diagnose.command.make_context("edgec diagnose", ["m.onnx", flag, "1"])
