"""An inspection on the terminal: every line fits, and what matters is there."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper

from edgec.cli.inspect import command, inspection_lines
from edgec.cli.inspection_text import amount, layer_lines, percent, shortened
from edgec.errors import ModelRefused, UsageError
from edgec.report.inspection import render
from tests.contract import models
from tests.inspection.example import inspection
from tests.onnx_graph.models import model_of


@pytest.fixture
def document():
    return inspection()


@pytest.fixture
def analysis(document):
    return document["inspections"][0]["analysis"]


def refused(document):
    """Two nodes that share a reason, in words that are longer than a line."""
    nodes = [
        {
            "node": f"n{number}",
            "operator": "Sin",
            "effect": "refused",
            "reason": "no kernel " * 20,
            "remedy": "Replace it.",
        }
        for number in range(2)
    ]
    support = {"status": "some", "reason": "", "int8_mac_fraction": None, "nodes": nodes}
    document["inspections"][0]["analysis"]["support"]["tflite"] = support


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_longer_than_the_terminal(document, analysis, width):
    analysis["layers"][0]["node"] = "a/very/long/name/" * 10
    document["open"] = {
        "inputs": {"image": ["batch", 3, None, "w"]},
        "assumed": {"image": [1, 3, 32, 32]},
        "flags": "--shape image=1x3x32x32",
    }
    refused(document)
    lines = inspection_lines(document, True, width)
    assert max(map(len, lines)) <= width
    assert sum(line.strip().startswith("refuses n0 (Sin), n1 (Sin): no kernel") for line in lines) == 1


def test_what_the_owner_wants_to_know_is_said(document):
    text = "\n".join(inspection_lines(document, False, 80))
    for said in (
        *("image  float32 1x3x32x32", "scores  float32 scalar", "20 nodes, 200 parameters, 190 k MACs"),
        *("800 B in float32, 200 B in INT8", "2.5 MACs a byte", "21 ms in ONNX Runtime 1.31.0, 1 thread"),
        *(
            "at most 3.5x as fast",
            "100 float32 and 400 INT8 GMAC/s",
            "the device has 1 MiB",
            "about 60.0 KB",
            "> 99.9 %",
        ),
    ):
        assert said in text, said


def test_dimensions_to_freeze_come_with_the_flag_to_type(document):
    document["open"] = {
        "inputs": {"x": ["batch", 3], "y": None},
        "assumed": {"x": [1, 3], "y": [1, 3, 224, 224]},
        "flags": "--shape x=1x3 --shape y=1x3x224x224",
    }
    lines = [line.strip() for line in inspection_lines(document, False, 80)]
    assert "open        x  batchx3, inspected as 1x3" in lines
    assert "y  unknown, inspected as 1x3x224x224" in lines
    assert "--shape x=1x3" in lines and "--shape y=1x3x224x224" in lines


def test_the_layers_that_take_longest_are_shown_and_all_on_request(analysis):
    shown = layer_lines(analysis, False, 80)
    assert [line.split()[0] for line in shown[1:4]] == ["20", "19", "18"]
    assert "10 more layers: --all shows them. These 10 have most of the time." in shown[-1]
    every = layer_lines(analysis, True, 80)
    assert [line.split()[0] for line in every[1:]] == [str(number) for number in range(1, 21)]


def test_without_times_the_heaviest_layers_are_shown(analysis):
    for item in analysis["layers"]:
        item["milliseconds"] = None
    shown = layer_lines(analysis, False, 80)
    assert shown[1].split()[0] == "20" and "most of the MACs" in shown[-1]


def test_times_of_another_machine_are_not_the_targets(document, analysis):
    analysis["profile"]["on_target"] = False
    document["inspections"][0]["target"] = "rpi4"
    text = " ".join(" ".join(inspection_lines(document, False, 80)).split())
    assert "on this machine, not on the target" in text
    assert "50.0 % of its least time is in layers bound by compute" in text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1500, "1.5 k"), (385e6, "385 M"), (2e13, "20 T")]
)
def test_amounts(number, text):
    assert amount(number) == text


def test_what_is_nearly_all_is_not_told_as_all():
    assert [percent(share) for share in (1, 0.99999, 0.5, 0.00001, 0)] == [
        "100.0 %",
        "> 99.9 %",
        "50.0 %",
        "< 0.1 %",
        "0.0 %",
    ]


def test_a_long_name_keeps_both_ends():
    short = shortened("/backbone/stage1/block2/depthwise/Conv", 20)
    assert len(short) == 20 and short.startswith("/back") and short.endswith("wise/Conv")


def test_the_page_says_the_same_and_asks_nothing_of_the_network(document):
    page = render(copy.deepcopy(document))
    for said in ("190 k", "200 parameters", "about 60 kB", "measured on this machine"):
        assert said in page, said
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")


def test_names_from_the_model_are_escaped_on_the_page(document, analysis):
    analysis["layers"][0]["node"] = analysis["inputs"][0]["name"] = "<script>alert(1)</script>"
    refused(document)
    document["model"]["name"] = "<b>net</b>"
    page = render(document)
    assert "<script" not in page and "<b>net" not in page
    assert "&lt;script&gt;" in page


def test_what_is_not_counted_is_said(document, analysis):
    analysis["totals"].update(bodies=2, unknown_shapes=3)
    text = " ".join("\n".join(inspection_lines(document, False, 80)).split())
    assert "3 nodes have no known shape" in text and "inside of 2 If, Loop or Scan is not counted" in text
    assert "inside of 2 If, Loop or Scan" in render(document)


def test_a_page_without_peaks_times_or_shapes_can_be_drawn(document, analysis):
    analysis.update(roofline=None, roofline_note="No figures.", profile=None, profile_note="Not run.")
    analysis["totals"].update(int8_at_most=None, intensity={"float32": None, "int8": None})
    analysis["totals"]["roof_milliseconds"] = {"float32": None, "int8": None}
    for item in analysis["layers"]:
        item.update(milliseconds=None, bytes=None, shape=None, bound=None, int8_at_most=None)
        item.update(intensity={"float32": None, "int8": None}, roof_milliseconds={"float32": None, "int8": None})
    page = render(document)
    assert "No figures." in page and "Not run." in page
    assert max(map(len, inspection_lines(document, False, 80))) <= 80


def test_a_model_with_open_dimensions_is_inspected_with_likely_ones(tmp_path, plain_target):
    model = models.conv_float()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    path = tmp_path / "open.onnx"
    path.write_bytes(model.SerializeToString())
    page = tmp_path / "pages" / "open.html"
    asked = [str(path), "-t", plain_target, "--json", "--html", str(page)]
    result = CliRunner().invoke(command, asked, standalone_mode=False)
    assert result.return_value == 0, result.output
    found = json.loads(result.output)
    name = model.graph.input[0].name
    assert found["open"]["inputs"][name][0] == "batch" and found["open"]["assumed"][name][0] == 1
    assert found["open"]["flags"].startswith(f"--shape {name}=1x")
    assert "Sizes to choose" in page.read_text()


def test_where_no_likely_size_works_the_refusal_says_what_was_tried(tmp_path, plain_target):
    """The model wants a length of 77."""
    model = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": [1, "h"]},
        {"y": [1, 5]},
        {"w": np.ones((77, 5), np.float32)},
    )
    path = tmp_path / "open.onnx"
    path.write_bytes(model.SerializeToString())
    result = CliRunner().invoke(command, [str(path), "-t", plain_target, "-q"], standalone_mode=False)
    assert isinstance(result.exception, ModelRefused)
    assert "It can't be inspected with sizes that are guesses" in result.exception.why
    assert result.exception.why.count("--shape x=1x") == 3
    assert "--shape x=1x128" in result.exception.fix


@pytest.fixture
def plain_target(tmp_path):
    """A target that one backend serves."""
    path = tmp_path / "plain.toml"
    path.write_text('name = "plain"\ntitle = "Plain"\narch = "aarch64"\nbackends = ["tflite"]\n')
    return str(path)


def test_a_folder_is_no_place_for_the_page(tmp_path, digits):
    result = CliRunner().invoke(command, [str(digits.model), "--html", str(tmp_path)], standalone_mode=False)
    assert isinstance(result.exception, UsageError) and f"{tmp_path}/model.html" in result.exception.fix


def test_a_file_that_is_no_model_is_refused_with_its_exit_code(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    result = CliRunner().invoke(command, [str(path), "--json"], standalone_mode=False)
    assert result.return_value == 3
    document = json.loads(result.output)
    assert document["error"]["fix"] and (document["schema"], document["status"], document["inspections"]) == (
        2,
        "failed",
        [],
    )
