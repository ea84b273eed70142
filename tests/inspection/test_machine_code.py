"""`edgec inspect` for a processor: what machine code of a model will take, before there is any."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import edgec
from edgec.cli.inspect import command
from edgec.inspection import questions
from edgec.inspection.driver import inspect
from edgec.spec import BuildSpec
from edgec.targets import load_target

pytest.importorskip("tvm")


def test_a_build_takes_what_was_said(digits, tmp_path):
    """The arena to the byte; constants and code are a matter of which layers share them."""
    spec = BuildSpec(digits.model, targets=("rpi4",), precision="float")
    said = inspect(spec, machine_code=True).targets[0].answers["machine_code"]
    (built,) = edgec.build(
        digits.model, targets="rpi4", backend="tvm", emulate=False, calibration=digits.calibration,
        preprocess=digits.recipe, output=tmp_path,
    ).builds  # fmt: skip
    facts = built.lowered["facts"]
    assert said["arena"] == facts["arena_bytes"]
    assert said["constants"] == pytest.approx(facts["constant_bytes"], rel=0.02)
    assert 0 < said["code"] < facts["library_bytes"]
    assert (said["steps"], said["int8_mac_fraction"]) == (facts["steps"], 1.0)
    assert not said["calibrated"]


def test_the_answer_reads_as_text(digits):
    result = CliRunner().invoke(command, [str(digits.model), "--target", "rpi5", "--machine-code", "-q"])
    assert result.exit_code == 0, result.output
    assert "neon_dotprod" in result.output
    for word in ("arena", "constants", "code"):
        assert f"  {word} " in result.output


def test_only_targets_with_kernels_are_asked():
    assert "machine_code" in questions(load_target("rpi4"))
    assert "machine_code" not in questions(load_target("coral-usb"))
