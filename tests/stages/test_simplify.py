"""Simplify: a smaller model that computes the same, or the model itself and the reason."""

import hashlib
import os
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec.errors import WorkerCrashed
from edgec.onnx_graph import hollow, simplification
from tests.onnx_graph.models import model_of, saved, two_layers
from tests.stages.stage_run import ingested, simplified

IMAGE = np.random.default_rng(3).standard_normal((1, 3, 8, 8)).astype(np.float32)


def foldable() -> onnx.ModelProto:
    """Conv and BatchNormalization, a Reshape whose target is computed from the shape, an Identity, a Dropout."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "scale": rng.random(4).astype(np.float32) + 0.5,
        "shift": rng.standard_normal(4).astype(np.float32),
        "mean": rng.standard_normal(4).astype(np.float32),
        "var": rng.random(4).astype(np.float32) + 0.5,
        "zero": np.array([0], np.int64),
        "rest": np.array([-1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"], name="bn"),
        helper.make_node("Identity", ["b"], ["c"], name="same"),
        helper.make_node("Shape", ["c"], ["s"], name="shape"),
        helper.make_node("Gather", ["s", "zero"], ["n"], name="batch"),
        helper.make_node("Concat", ["n", "rest"], ["target"], name="target", axis=0),
        helper.make_node("Reshape", ["c", "target"], ["y"], name="flat"),
    ]
    return model_of(nodes, {"x": [1, 3, 8, 8]}, {"y": [1, 144]}, weights)


@pytest.fixture
def source(tmp_path):
    return ingested(saved(foldable(), tmp_path), tmp_path)


def outputs(path, feeds):
    return onnxruntime.InferenceSession(str(path)).run(None, feeds)


def test_what_can_be_folded_is_folded(source, tmp_path):
    result = simplified(source, tmp_path)
    facts = result.document("simplify.json")
    assert facts["status"] == "simplified"
    assert facts["nodes_before"] == 7
    assert facts["ops"] in ({"Conv": 1, "Flatten": 1}, {"Conv": 1, "Reshape": 1})
    assert facts["nodes_after"] == 2
    assert facts["macs"] == 4 * 27 * 36
    np.testing.assert_allclose(
        outputs(source.model, {"x": IMAGE})[0], outputs(result.model, {"x": IMAGE})[0], rtol=1e-4, atol=1e-5
    )
    assert result.warnings == []


def test_the_interface_stays(source, tmp_path):
    result = simplified(source, tmp_path)
    assert result.contract == source.contract
    before, after = onnx.load(source.model), onnx.load(result.model)
    assert list(before.graph.input) == list(after.graph.input)
    assert list(before.graph.output) == list(after.graph.output)
    assert before.opset_import == after.opset_import


def test_the_simplifiers_own_notes_are_dropped(source, tmp_path):
    model = onnx.load(simplified(source, tmp_path).model)
    assert not model.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_switched_off_hands_on_the_same_bytes(source, tmp_path):
    result = simplified(source, tmp_path, enabled=False)
    assert result.document("simplify.json")["status"] == "off"
    assert result.model.read_bytes() == source.model.read_bytes()
    assert result.contract == source.contract
    assert result.warnings == []


def crash(source, result):
    os.abort()


def hang(source, result):
    time.sleep(60)


def garbage(source, result):
    result.write_bytes(b"\xff" * 100)


def another_result(source, result):
    """Valid, and wrong: the weights of the Conv are negated."""
    model = onnx.load(source)
    weight = next(item for item in model.graph.initializer if item.name == "w")
    weight.raw_data = (-numpy_helper.to_array(weight)).tobytes()
    onnx.save(model, result)


def slightly_another_result(source, result):
    """Off by a hundredth: more than rounding can explain."""
    model = onnx.load(source)
    weight = next(item for item in model.graph.initializer if item.name == "w")
    weight.raw_data = (np.float32(1.01) * numpy_helper.to_array(weight)).tobytes()
    onnx.save(model, result)


def another_interface(source, result):
    model = onnx.load(source)
    model.graph.output[0].name = "b"
    onnx.save(model, result)


def invalid(source, result):
    model = onnx.load(source)
    del model.graph.node[0]
    onnx.save(model, result)


def foreign_ops(source, result):
    model = onnx.load(source)
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, result)


@pytest.mark.parametrize(
    ("sabotage", "reason"),
    [
        (crash, "SIGABRT"),
        (hang, "did not finish in 5 s"),
        (garbage, "rror"),
        (another_result, "does not compute the same: output 'y', probe 1"),
        (slightly_another_result, "does not compute the same"),
        (another_interface, "changed the outputs from ['y'] to ['b']"),
        (invalid, "not valid"),
        (foreign_ops, "com.microsoft"),
    ],
)
def test_a_simplifier_that_fails_leaves_the_model_as_it_is(source, tmp_path, monkeypatch, sabotage, reason):
    monkeypatch.setattr(simplification, "run_onnxsim", sabotage)
    result = simplified(source, tmp_path, timeout=5.0)
    facts = result.document("simplify.json")
    assert facts["status"] == "kept"
    assert reason in facts["reason"]
    assert result.model.read_bytes() == source.model.read_bytes()
    assert facts["nodes_after"] == facts["nodes_before"] == 7
    assert "not simplified" in result.warnings[0]
    assert reason in result.warnings[0]
    assert sorted(path.name for path in result.folder.iterdir()) == ["contract.json", "model.onnx", "simplify.json"]


def test_a_crash_while_the_results_are_compared_leaves_the_model_as_it_is(source, tmp_path, monkeypatch):
    def call(function, kwargs, **options):
        if function is simplification.compare_models:
            raise WorkerCrashed("A worker process died with SIGSEGV")
        return function(**kwargs)

    monkeypatch.setattr(simplification.worker, "call", call)
    assert simplified(source, tmp_path).document("simplify.json")["status"] == "kept"


def test_a_model_with_its_weights_outside_is_handed_on(tmp_path, monkeypatch):
    monkeypatch.setattr(hollow, "INLINE_LIMIT", 1000)
    weights = {"w": np.random.default_rng(0).standard_normal((100, 100)).astype(np.float32)}
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 100]}, {"y": [1, 100]}, weights)
    source = ingested(saved(model, tmp_path), tmp_path)
    result = simplified(source, tmp_path)
    assert result.document("simplify.json")["status"] == "kept"
    assert (result.folder / "weights.bin").read_bytes() == (source.folder / "weights.bin").read_bytes()
    x = np.ones((1, 100), np.float32)
    assert np.array_equal(outputs(source.model, {"x": x})[0], outputs(result.model, {"x": x})[0])


def test_inputs_of_integers_and_booleans_are_probed_too(tmp_path):
    """Ids index a table of 8 rows; a flag chooses; an unknown mode is compared with 16000."""
    weights = {
        "table": np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32),
        "mode16": np.array(16000, np.int64),
        "one": np.float32([1]),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="embed"),
        helper.make_node("Equal", ["mode", "mode16"], ["is16"], name="eq"),
        helper.make_node("And", ["is16", "flag"], ["both"], name="and"),
        helper.make_node("Mul", ["rows", "one"], ["kept"], name="times_one"),
        helper.make_node("Neg", ["rows"], ["negated"], name="neg"),
        helper.make_node("Where", ["both", "kept", "negated"], ["y"], name="choose"),
    ]
    kinds = {"ids": TensorProto.INT64, "mode": TensorProto.INT64, "flag": TensorProto.BOOL}
    model = model_of(nodes, {"ids": [1, 3], "mode": [], "flag": [1]}, {"y": [1, 3, 4]}, weights, input_types=kinds)
    source = ingested(saved(model, tmp_path), tmp_path)
    facts = simplified(source, tmp_path).document("simplify.json")
    assert facts["status"] == "simplified"
    assert facts["max_abs_diff"] == 0
    assert "Mul" not in facts["ops"]


def test_nodes_have_names_of_their_own_afterwards(tmp_path):
    model = two_layers()
    for node in model.graph.node:
        node.ClearField("name")
    result = simplified(ingested(saved(model, tmp_path), tmp_path), tmp_path)
    names = [node.name for node in onnx.load(result.model).graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


def test_two_runs_give_the_same_bytes(source, tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from edgec.stages import simplify; from edgec.stage import StageContext\n"
        "out = Path(sys.argv[2]); out.mkdir()\n"
        "simplify.run(Path(sys.argv[1]), simplify.SimplifyParams(), StageContext('simplify', out, print))"
    )
    digests = []
    for seed in ("1", "2"):
        out = tmp_path / f"out-{seed}"
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, source.folder, out], check=True, env=environment)
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(out.iterdir())])
    assert digests[0] == digests[1]
