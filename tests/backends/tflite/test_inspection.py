"""What `edgec diagnose` sees of a .tflite file: every tensor as the model has it, from the kernels that the artifact
runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto

import edgec
from edgec.backends.base import LowerJob
from edgec.backends.inspection import Wanted
from edgec.backends.tflite import inspection
from edgec.backends.tflite.backend import BACKEND
from edgec.contract import Contract, TensorSpec
from edgec.diagnosis.intermediates import compare_intermediates
from edgec.onnx_graph.graph import Graph
from edgec.reference import Reference
from edgec.runtime.engines import open_engine
from edgec.samples import Sample
from edgec.targets import load_target
from tests.contract import models

FLOAT = TensorProto.FLOAT


@pytest.fixture
def lowered(tmp_path):
    """A function that lowers a model, and leaves what the stage `lower` does."""

    def lower(model, precision="float", interface="float"):
        (tmp_path / "payload").mkdir()
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        job = LowerJob(tmp_path / "model.onnx", load_target("host"), precision, tmp_path / "payload", interface)
        payload = BACKEND.lower(job)
        made = {"engine": payload.engine, "files": list(payload.files), "options": dict(payload.options)}
        (tmp_path / "lower.json").write_text(json.dumps(made))
        return tmp_path, payload.options

    return lower


def everything(model):
    graph = Graph(model)
    names = [name for node in graph.nodes for name in node.output if graph.is_float(name)]
    return [Wanted(name, graph.shape(name)) for name in names]


def compared(folder, model, count=3):
    """`compare_intermediates` on random feeds."""
    graph = Graph(model)
    sides = (
        tuple(TensorSpec(name, str(graph.dtype(name)), graph.shape(name)) for name in side)
        for side in (graph.inputs, graph.outputs)
    )
    samples = [Sample(str(seed), (models.feeds_for(model, seed),)) for seed in range(count)]
    return compare_intermediates(folder, folder / "model.onnx", samples, Contract(*sides), {})


def one_dimensional():
    """A sequence through two convolutions and a transposition of the model's own."""
    net = models.Net()
    for name, shape in (("w1", (6, 4, 3)), ("w2", (5, 6, 3))):
        net.constant(name, net.weights(name, shape))
    net.add("Conv", ["x", "w1"], "c1", pads=[1, 1])
    net.add("Sigmoid", ["c1"], "s1")
    net.add("Conv", ["s1", "w2"], "c2")
    net.add("Transpose", ["c2"], "turned", perm=[0, 2, 1])
    net.add("Softmax", ["turned"], "y", axis=-1)
    return net.model({"x": (FLOAT, [1, 4, 16])}, {"y": (FLOAT, [1, 14, 5])})


@pytest.mark.parametrize("make", [models.conv_float, one_dimensional])
def test_tensors_are_given_in_the_models_order(lowered, make):
    model = make()
    folder, options = lowered(model)
    watched = inspection.watch(folder / "payload", options, everything(model))
    feeds = models.feeds_for(model)
    found = watched.run(feeds)
    assert len(watched.names) >= len(everything(model)) - 1  # all but what a fused activation hides
    wide = model.__class__.FromString(model.SerializeToString())
    for name in watched.names:
        if name not in {item.name for item in wide.graph.output}:
            wide.graph.output.add().name = name
    for name, expected in Reference(wide.SerializeToString(), "none").run(feeds).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("interface", ["float", "int8"])
def test_integers_are_given_as_what_they_stand_for(lowered, interface):
    model = models.conv_int8()
    folder, options = lowered(model, "int8", interface)
    watched = inspection.watch(folder / "payload", options, everything(model))
    value = watched.run(models.feeds_for(model))["sum"]
    assert watched.steps["sum"] == pytest.approx(8 / 255)
    steps = value / watched.steps["sum"]
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
    assert value.shape == (1, 8, 16, 16)


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_an_onlooker_changes_nothing(lowered, precision):
    """With all tensors kept, other kernels might run; then a diagnosis would explain something else."""
    model = models.conv_int8() if precision == "int8" else models.conv_float()
    folder, options = lowered(model, precision)
    files = {path.name: path.read_bytes() for path in (folder / "payload").iterdir()}
    engine = open_engine("tflite", files, options, threads=1)
    watched = inspection.watch(folder / "payload", options, everything(model))
    for seed in range(3):
        feeds = models.feeds_for(model, seed)
        np.testing.assert_array_equal(watched.run(feeds)["scores"], engine.run(feeds)["scores"])


def test_integers_are_compared_with_what_lies_behind_the_pair(lowered):
    model = models.conv_int8()
    folder, _ = lowered(model, "int8")
    found = compared(folder, model)
    rows = {row["name"]: row for row in found["tensors"]}
    assert rows["r1"]["value"] == "r1.dq"
    assert rows["c2"]["max_lsb"] == 0
    assert rows["c2"]["sqnr_db"] == 120
    assert all(row["max_lsb"] <= 1 for row in rows.values() if row["max_lsb"] is not None)
    assert found["first"] is None
    assert found["as_shipped"]


def test_a_tensor_that_a_kernel_keeps_to_itself_is_said_to_be_in_it(lowered):
    model = models.conv_int8()
    folder, _ = lowered(model, "int8")
    assert compared(folder, model)["within"] == {"c1": "relu.r1"}


def test_a_fault_of_lowering_is_found_where_it_is(lowered):
    """The weights of the second convolution are negated in the file: from there on all is wrong."""
    model = models.conv_int8()
    folder, _ = lowered(model, "int8")
    negate_weights(folder / "payload" / "model.tflite", "w2")
    found = compared(folder, model)
    assert found["first"]["name"] == "c2"
    rows = {row["name"]: row["sqnr_db"] for row in found["tensors"]}
    assert rows["r1"] == 120
    assert max(rows["c2"], rows["sum"]) < 10


def negate_weights(path: Path, name: str) -> None:
    """Change the sign of a constant int8 tensor whose name begins so."""
    content = bytearray(path.read_bytes())
    model = schema.ModelT.InitFromPackedBuf(bytes(content), 0)
    (tensor,) = [
        item
        for item in model.subgraphs[0].tensors
        if item.name.decode().startswith(name) and item.type == schema.TensorType.INT8 and item.buffer
    ]
    weights = bytes(model.buffers[tensor.buffer].data)
    at = content.index(weights)
    content[at : at + len(weights)] = (-np.frombuffer(weights, np.int8)).tobytes()
    path.write_bytes(content)


def test_diagnose_sets_lowering_beside_quantization(digits, tmp_path):
    target = tmp_path / "desk.toml"
    target.write_text('name = "desk"\ntitle = "This machine"\narch = "host"\nbackends = ["tflite"]\n')
    found = edgec.diagnose(
        digits.model,
        calibration=digits.calibration,
        preprocess=digits.recipe,
        targets=str(target),
        output=tmp_path / "out",
    )
    layers = found.document["layers"]
    assert len(layers) == 9
    for layer in layers:
        assert layer["lowering"]["sqnr_db"] > 60
        assert layer["lowering"]["sqnr_db"] > layer["accumulated_db"] + 20
    assert layers[0]["accumulated_lsb"] == pytest.approx(0.27, abs=0.1)
    assert layers[0]["lowering"]["max_lsb"] == 0
    page = found.report.read_text(encoding="utf-8")
    assert "Lowering error" in page
    assert "LSB rms" in page


def test_a_float_build_shows_its_tensors(digits, tmp_path):
    target = tmp_path / "desk.toml"
    target.write_text('name = "desk"\ntitle = "This machine"\narch = "host"\nbackends = ["tflite"]\n')
    found = edgec.diagnose(
        digits.model,
        calibration=digits.calibration,
        preprocess=digits.recipe,
        targets=str(target),
        precision="float",
        output=tmp_path / "out",
    )
    rows = found.document["lowering"]["tensors"]
    assert {"stem.relu", "logits"} <= {row["name"] for row in rows}
    assert min(row["sqnr_db"] for row in rows) > 90
    assert "inner tensors of the engine" in found.report.read_text(encoding="utf-8")
