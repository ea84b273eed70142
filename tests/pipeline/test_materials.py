"""What an artifact's provenance says of the request and of what went in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec.onnx_graph.untrusted import scan
from edgec.pipeline.materials import materials, request
from edgec.spec import BuildSpec
from edgec.targets import load_target


def front(spec, **facts):
    """What is known before the targets."""
    known = {"recipe": None, "metric": None, "samples": None, "calibration": None}
    parts = (("model", "0" * 64),)
    return SimpleNamespace(spec=spec, files=SimpleNamespace(parts=parts), **{**known, **facts})


def asked(**options):
    spec = BuildSpec(Path("/home/somebody/net.onnx"), **options)
    return request(spec, front(spec), load_target("host"))


def test_a_plain_build_asks_for_a_name_and_a_target():
    assert asked() == {"name": "net", "target": "host"}


def test_what_is_not_as_usual_was_asked_for():
    options = {"profile": "islands", "keep_float": ("conv1",), "gate": {"cosine_p01": 0.9}, "shapes": {"x": (1, 3)}}
    found = asked(**options)
    assert found["profile"] == "islands" and found["keep_float"] == ["conv1"]
    assert found["gate"] == {"cosine_p01": 0.9} and found["shapes"] == {"x": [1, 3]}
    assert json.loads(json.dumps(found)) == found


def test_no_path_or_host_of_this_machine_is_told(tmp_path):
    places = {"calibration": tmp_path / "c", "output": tmp_path, "tuning": tmp_path / "t", "evaluation": tmp_path / "e"}
    metric = {"metric": f"{tmp_path}/quality.py:accuracy", "labels": tmp_path / "labels.csv"}
    found = asked(
        **places, **metric, recipe=str(tmp_path / "r.toml"), backend="tvm", tune_seconds=1.0, tune_on="board7"
    )
    assert str(tmp_path) not in json.dumps(found) and "board7" not in json.dumps(found)
    assert found["backend"] == "tvm" and found["tune_seconds"] == 1.0


def test_everything_that_went_in_has_its_digest():
    spec = BuildSpec(Path("net.onnx"))
    metric = SimpleNamespace(
        function=SimpleNamespace(digest="2" * 64), labels_digest="3" * 64, evaluation=SimpleNamespace(digest="4" * 64)
    )
    known = front(spec, samples=SimpleNamespace(digest="1" * 64), metric=metric, recipe={"name": "imagenet"})
    host = load_target("host")
    found = materials(known, host, "5" * 64)
    assert [name for name, _ in found] == [
        "model",
        "calibration",
        "metric",
        "labels",
        "evaluation",
        "recipe",
        "tuning",
        "target",
    ]
    assert found != materials(known, replace(host, threads=3), "5" * 64)
    assert found == materials(known, host, "5" * 64)


@pytest.fixture
def with_data_beside(tmp_path):
    """A model whose weights are in a file of their own."""
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path = tmp_path / "net.onnx"
    onnx.save(made, path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path


def test_files_of_weights_beside_a_model_are_told_each(with_data_beside):
    parts = dict(scan(with_data_beside).parts)
    assert parts == {
        "model": hashlib.sha256(with_data_beside.read_bytes()).hexdigest(),
        "external data: net.data": hashlib.sha256(with_data_beside.with_name("net.data").read_bytes()).hexdigest(),
    }
