"""`edgec inspect` from a model to the answers, and the build that it foretells."""

import json
import os
import zipfile

import pytest
from click.testing import CliRunner

from edgec.api import build
from edgec.cli.inspect import command
from edgec.errors import UnsupportedOp
from edgec.inspection import driver
from edgec.spec import BuildSpec
from tests.backends.edgetpu.stand_in import WRITES_MODEL, write_stand_in
from tests.backends.edgetpu.test_log import SIXTEEN
from tests.contract import models


def mapped(spec, interface="auto"):
    """What is foretold of the one target's Edge TPU."""
    (found,) = driver.inspect(spec, interface).targets
    return found.answers["mapping"]


def test_a_float_model_is_told_of_without_data(digits):
    mapping = mapped(BuildSpec(digits.model, targets=("coral-usb",), precision="float"))
    assert mapping["mapped"] == len(mapping["operators"]) == 9
    assert mapping["float_nodes"] == {} and not mapping["calibrated"]
    assert mapping["runtime"] == 14


def test_the_build_is_predicted_as_the_inspection_said(digits, tmp_path):
    said = mapped(BuildSpec(digits.model, targets=("coral-usb",), precision="float"))
    facts = built(digits, tmp_path).lowered["facts"]["edgetpu"]
    assert facts["label"] == "uncompiled"
    assert [(item["operator"], item["status"]) for item in facts["predicted"]["operators"]] == [
        (item["operator"], item["status"]) for item in said["operators"]
    ]


def test_where_the_compiler_appears_on_path_a_build_runs_it_and_packs_its_file(digits, tmp_path, monkeypatch):
    """The compiler is a script: its file is no model, and the machine has no Edge TPU, so that the CPU's is run."""
    assert built(digits, tmp_path).lowered["facts"]["edgetpu"]["label"] == "uncompiled"
    write_stand_in(tmp_path, WRITES_MODEL + f"cat <<'LOG'\n{SIXTEEN}\nLOG\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    made = built(digits, tmp_path)
    assert made.lowered["facts"]["edgetpu"]["label"] == "compiled"
    assert made.lowered["facts"]["edgetpu"]["comparison"]["compiler"] == "16.0.384591198"
    assert any("mapped 2 of 9 operations" in note.text for note in made.notes)
    with zipfile.ZipFile(made.artifact.path) as artifact:
        assert artifact.read("payload/model_edgetpu.tflite") == b"0123TFL3-compiled"


def built(digits, folder):
    """The build of the digits model for coral-usb, which must succeed."""
    result = build(
        digits.model,
        targets="coral-usb",
        calibration=digits.calibration,
        preprocess=digits.recipe,
        output=folder / "out",
    )
    (made,) = result.builds
    assert made.error is None, made.error
    return made


def test_float_inputs_and_outputs_cost_two_operations_on_the_cpu(digits):
    mapping = mapped(BuildSpec(digits.model, targets=("coral-dev-board",), precision="float"), "float")
    assert mapping["mapped"] == 9 and len(mapping["operators"]) == 11
    assert mapping["end"] is None and mapping["remedies"] == []


def test_a_model_that_came_quantized_is_told_of_with_its_own_scales(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(models.conv_int8().SerializeToString())
    mapping = mapped(BuildSpec(path, targets=("coral-usb",), precision="float"))
    assert mapping["calibrated"] and mapping["mapped"] > 0


def test_a_node_that_no_file_can_hold_is_named(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(models.with_unknown_operator().SerializeToString())
    with pytest.raises(UnsupportedOp, match="Bogus"):
        driver.inspect(BuildSpec(path, targets=("coral-usb",), precision="float"))


def test_a_node_without_an_int8_form_is_named_here_and_refused_by_a_build_before_calibration(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(models.with_float_operator().SerializeToString())
    mapping = mapped(BuildSpec(path, targets=("coral-usb",), precision="float"))
    assert mapping["float_nodes"] == {"sin.y": "its result 'y' is needed in float32"}
    told = CliRunner().invoke(command, [str(path), "--target", "coral-usb"], standalone_mode=False)
    said = told.output
    assert isinstance(told.exception, UnsupportedOp) and "No backend of coral-usb takes" in told.exception.what
    assert "node 'sin.y' (Sin)" in told.exception.why and told.exception.fix
    assert "refused    a build would be" in said and "sin.y: its result 'y' is needed in float32" in said
    with pytest.raises(UnsupportedOp, match="can't be lowered through edgetpu") as refusal:
        build(path, targets="coral-usb", calibration="random", output=tmp_path / "out")
    assert "node 'sin.y' (Sin)" in refusal.value.why


def test_the_command_prints_json(digits):
    result = CliRunner().invoke(command, [str(digits.model), "-t", "coral-usb", "--json"], standalone_mode=False)
    assert result.return_value == 0, result.output
    document = json.loads(result.output)
    assert document["status"] == "inspected"
    (found,) = document["inspections"]
    assert found["target"] == "coral-usb"
    assert "not been validated" in found["answers"]["mapping"]["is"]
