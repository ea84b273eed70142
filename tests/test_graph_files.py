"""`--graph`: the folder that viewers open, beside the report."""

from __future__ import annotations

import json

import onnx
import pytest

import edgec
from edgec.pipeline import plan
from edgec.spec import BuildSpec


@pytest.fixture
def built(digits, warm_store, tmp_path):
    (tmp_path / "digits_cnn-host.graph").mkdir()
    (tmp_path / "digits_cnn-host.graph" / "lowering.json").write_text("of an older build")
    how = {"calibration": digits.calibration, "preprocess": digits.recipe, "backend": "openvino"}
    return edgec.build(digits.model, **how, output=tmp_path, graph=True)


def test_a_build_leaves_what_each_node_costs_and_loses(built):
    (build,) = built.builds
    assert build.to_json()["graph"] == str(build.graph)
    model = onnx.load(build.graph / "model.onnx", load_external_data=False)
    names = {node.name for node in model.graph.node}
    measures = {file.stem: json.loads(file.read_text()) for file in build.graph.glob("*.json")}
    assert {"macs", "precision", "error", "time-float32", "time-artifact"} <= set(measures)
    assert "lowering" not in measures, "what an older build left goes"
    for document in measures.values():
        assert set(document) == {model.graph.name}
        assert set(document[model.graph.name]["results"]) <= names
    macs = measures["macs"][model.graph.name]["results"]
    assert sum(item["value"] for item in macs.values()) == built.model.macs
    assert set(measures["precision"][model.graph.name]["results"]) == names
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    told = {entry.key.removeprefix("edgec: ") for entry in conv.metadata_props}
    assert {"macs", "parameters", "precision", "time in float32", "time in the artifact", "steps"} <= told
    assert [record.name for record in build.stages][-1] == "graph"


def test_a_plan_lists_it_and_knows_that_it_is_there(built, digits, warm_store, tmp_path):
    asked = {"backend": "openvino", "recipe": digits.recipe, "output": tmp_path, "graph": True}
    stages = {
        targets: plan(BuildSpec(digits.model, calibration=digits.calibration, targets=(targets,), **asked)).stages
        for targets in ("host", "x86-64-v3")
    }
    assert [(record.name, record.cached) for record in stages["host"]][-1] == ("graph", True)
    assert [(record.name, record.cached) for record in stages["x86-64-v3"]][-1] == ("graph", False)
