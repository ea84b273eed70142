"""`edgec inspect`: what it prints of a mapping, and what it refuses."""

import json

import pytest
from click.testing import CliRunner

from edgec.backends.edgetpu.mapping import predict
from edgec.cli.inspect import command, mapping_lines
from edgec.errors import UsageError
from tests.backends.edgetpu.networks import Net
from tests.backends.edgetpu.test_mapping import chain


def text(file, everything=False):
    return "\n".join(mapping_lines(json.loads(json.dumps({**predict(file).to_json(), "float_nodes": {}})), everything))


def test_a_model_that_is_mapped_in_part():
    shown = text(chain("LEAKY_RELU", "RELU"))
    assert "1 of 4 operations, 50.0 % of the multiplications" in shown
    assert "predicted; the predictor has not been validated against the compiler" in shown
    assert "ends at    leaky_relu0" in shown
    assert "LEAKY_RELU                     1          Operation not supported" in shown
    assert "then 4 of 4 operations and 100.0 % of the multiplications (+3 operations)" in shown


def test_a_model_that_is_mapped_whole_needs_no_advice():
    shown = text(chain("RELU"))
    assert "3 of 3 operations, 100.0 %" in shown
    assert "ends at" not in shown and "What would map more" not in shown
    assert "and fit" in shown


def test_every_operation_is_shown_on_request():
    shown = text(chain("LEAKY_RELU"), everything=True)
    assert [line.split()[1] for line in shown.splitlines() if line.startswith(("CONV_2D", "LEAKY"))] == [
        "first",
        "leaky_relu0",
        "last",
    ]


def test_weights_that_do_not_fit_are_told():
    import numpy as np

    made = Net()
    made.input("x", (1, 1, 1, 1024))
    made.constant("w", np.zeros((16 * 1024, 1, 1, 1024), np.int8), "int8")
    made.constant("b", np.zeros(16 * 1024))
    made.add("CONV_2D", ["x", "w", "b"], "y", (1, 1, 1, 16 * 1024), version=3)
    assert "do not fit" in text(made.file("y"))


def test_machine_code_of_a_target_that_has_none_is_refused_in_json_too(digits, tmp_path):
    plain = tmp_path / "plain.toml"
    plain.write_text('name = "plain"\ntitle = "No TVM here"\narch = "x86_64"\nbackends = ["openvino"]\n')
    arguments = [str(digits.model), "--target", str(plain), "--machine-code"]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert isinstance(result.exception, UsageError)
    assert "edgec targets" in result.exception.fix
    told = CliRunner().invoke(command, [*arguments, "--json"], standalone_mode=False)
    assert told.return_value == 2
    assert "no machine code" in json.loads(told.output)["error"]["what"]


@pytest.mark.parametrize("flag", ["--calib", "--precision"])
def test_flags_of_a_build_that_mean_nothing_here_are_unknown(digits, flag):
    result = CliRunner().invoke(command, [str(digits.model), flag, "x"])
    assert result.exit_code == 2 and "No such option" in result.output
