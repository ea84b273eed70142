"""Lower: nothing is started that can't be finished, and what comes out is what the payload says."""

from __future__ import annotations

import json
from dataclasses import replace

import onnx
import pytest

from edgec.backends.base import Availability, OpVerdict, Payload
from edgec.backends.openvino import primitives
from edgec.backends.openvino.backend import OpenVINO
from edgec.errors import ToolMissing, UnsupportedOp
from edgec.stage import StageContext
from edgec.stages import lower
from edgec.targets import load_target
from tests.contract import models


def _run(folder, model, precision="float", file="model.onnx", emit=lambda event: None):
    source, out = folder / "source", folder / "out"
    source.mkdir()
    out.mkdir()
    onnx.save(model, source / file)
    params = lower.LowerParams("openvino", load_target("host"), precision, file)
    lower.run(source, params, StageContext("lower", out, emit))
    return out, json.loads((out / "lower.json").read_text())


@pytest.mark.parametrize(
    ("make", "precision", "file"),
    [(models.conv_float, "float", "model.onnx"), (models.conv_int8, "int8", "qdq.onnx")],
    ids=["float", "int8"],
)
def test_the_payload_lies_in_its_folder_as_the_document_lists_it(tmp_path, make, precision, file):
    out, document = _run(tmp_path, make(), precision, file)
    assert sorted(path.name for path in (out / "payload").iterdir()) == sorted(document["files"])
    assert document["engine"] == "openvino"
    assert (document["facts"]["int8_primitives"] > 0) == (precision == "int8")


def test_an_unsupported_node_is_named_before_anything_is_lowered(tmp_path, monkeypatch):
    monkeypatch.setattr(OpenVINO, "lower", lambda self, job: pytest.fail("lowering was started"))
    with pytest.raises(UnsupportedOp) as caught:
        _run(tmp_path, models.with_unknown_operator())
    error = caught.value
    assert error.exit_code == 4
    assert "'unknown' (com.example.Bogus)" in error.why
    assert "fine" not in error.why
    assert error.fix
    assert [node["node"] for node in error.details["nodes"]] == ["unknown"]
    assert not list((tmp_path / "out").iterdir())


def test_a_long_list_of_nodes_is_cut_and_counted(tmp_path, monkeypatch):
    refused = [OpVerdict(f"node{index}", "Bogus", False, "reason", "remedy") for index in range(25)]
    monkeypatch.setattr(OpenVINO, "supports", lambda self, model, target: refused)
    with pytest.raises(UnsupportedOp) as caught:
        _run(tmp_path, models.conv_float())
    error = caught.value
    assert "25 operators" in error.what
    assert "and 15 more" in error.why
    assert error.fix == "remedy"
    assert len(error.details["nodes"]) == 25


def test_a_backend_that_is_not_installed_is_a_missing_tool(tmp_path, monkeypatch):
    missing = Availability(False, reason="OpenVINO is not installed.", install="pip install 'edgec[openvino]'")
    monkeypatch.setattr(OpenVINO, "availability", lambda self: missing)
    with pytest.raises(ToolMissing) as caught:
        _run(tmp_path, models.conv_float())
    assert caught.value.exit_code == 8
    assert "pip install" in caught.value.fix


def test_the_result_depends_on_the_versions_of_its_tools():
    assert {"onnx", "openvino"} <= set(lower.STAGE.tools)


def test_layers_that_openvino_takes_out_of_int8_are_named(tmp_path, monkeypatch):
    chosen = primitives.chosen

    def one_in_float(compiled):
        found = chosen(compiled)
        first = next(item for item in found if item.is_product and item.is_int8)
        return [replace(item, kernel="jit_f32") if item is first else item for item in found]

    monkeypatch.setattr(primitives, "chosen", one_in_float)
    events = []
    _, document = _run(tmp_path, models.conv_int8(), "int8", "qdq.onnx", events.append)
    assert document["facts"]["lost_int8"] == document["facts"]["float_layers"] != []
    (said,) = [event.text for event in events if event.level == "warning"]
    assert said.startswith("1 layer is INT8 in the reference, but openvino computes it in float")


def test_float_layers_of_a_float_model_are_not_lost(tmp_path):
    events = []
    _, document = _run(tmp_path, models.conv_float(), emit=events.append)
    assert document["facts"]["float_layers"] and not document["facts"]["lost_int8"]
    assert not events


def test_a_long_list_of_lost_layers_is_cut_and_counted(tmp_path, monkeypatch):
    names = [f"layer{index}" for index in range(7)]
    payload = Payload("openvino", (), {}, {"lost_int8": names})
    monkeypatch.setattr(OpenVINO, "lower", lambda self, job: payload)
    events = []
    _run(tmp_path, models.conv_int8(), "int8", "qdq.onnx", events.append)
    assert [event.text for event in events] == [
        "7 layers are INT8 in the reference, but openvino computes them in float on this processor: "
        "layer0, layer1, layer2, layer3, layer4 and 2 more."
    ]
