"""Ingest: any model becomes one kind of model, or is refused with what to do about it.

Shapes and weights have files of their own.
"""

import hashlib
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgec.contract import TensorSpec
from edgec.errors import UnsupportedOp, UsageError
from edgec.onnx_graph import ingestion
from tests.onnx_graph.models import model_of, saved, two_layers
from tests.stages.ingestion import IMAGE, outputs, refused
from tests.stages.stage_run import ingested


def test_a_sound_model_keeps_its_contract_and_computes_the_same(tmp_path):
    source = saved(two_layers(), tmp_path)
    result = ingested(source, tmp_path)
    assert result.contract.inputs == (TensorSpec("x", "float32", (1, 3, 8, 8)),)
    assert result.contract.outputs == (TensorSpec("y", "float32", (1, 5)),)
    assert np.array_equal(outputs(source, {"x": IMAGE})[0], outputs(result.model, {"x": IMAGE})[0])
    facts = result.document("ingest.json")
    assert facts["opset_before"] == facts["opset"] == 17
    assert facts["parameters"] == 4 * 3 * 3 * 3 + 4 + 4 * 5 + 5
    assert facts["macs"] == 4 * 3 * 3 * 3 * 8 * 8 + 4 * 5
    assert facts["ops"] == {"Conv": 1, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1, "Relu": 1}
    assert facts["nodes"] == 5


class TestVersions:
    def test_an_old_opset_is_raised_and_computes_the_same(self, tmp_path):
        """Opset 11: Squeeze with axes as an attribute, Softmax that flattens, Dropout, Clip."""
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
            helper.make_node("Softmax", ["a"], ["b"], name="soft", axis=1),
            helper.make_node("Unsqueeze", ["b"], ["c"], name="un", axes=[0]),
            helper.make_node("Squeeze", ["c"], ["d"], name="sq", axes=[0]),
            helper.make_node("Dropout", ["d"], ["y"], name="drop", ratio=0.5),
        ]
        weights = {"w": np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)}
        source = saved(
            model_of(nodes, {"x": [1, 3, 8, 8]}, {"y": [1, 4, 6, 6]}, weights, opset=11, ir_version=6), tmp_path
        )
        result = ingested(source, tmp_path)
        facts = result.document("ingest.json")
        assert (facts["opset_before"], facts["opset"], facts["ir_version"]) == (11, 17, 8)
        np.testing.assert_allclose(outputs(source, {"x": IMAGE})[0], outputs(result.model, {"x": IMAGE})[0], rtol=1e-6)
        names = {node.name for node in onnx.load(result.model).graph.node}
        assert {"conv", "un", "sq"} <= names

    def test_a_conversion_that_changes_the_result_is_refused(self, tmp_path, monkeypatch):
        """The converter is trusted no more than the model: what it made is run against what it got."""
        sabotaged = two_layers()
        sabotaged.graph.initializer[0].raw_data = bytes(432)
        broken = ingestion.Settled(sabotaged.SerializeToString(), doubt="", changed=True)
        monkeypatch.setattr(ingestion, "_settled", lambda model: broken)
        error = refused(two_layers(opset=13), tmp_path)
        assert "from opset 13 to 17 changes what it computes" in error.what
        assert "'y'" in error.why

    def test_a_newer_opset_stays(self, tmp_path):
        assert (
            ingested(saved(two_layers(opset=21, ir_version=10), tmp_path), tmp_path).document("ingest.json")["opset"]
            == 21
        )

    @pytest.mark.parametrize(("opset", "ir_version"), [(17, 99), (999, 8)])
    def test_a_model_from_the_future_is_refused(self, tmp_path, opset, ir_version):
        error = refused(two_layers(opset=opset, ir_version=ir_version), tmp_path)
        assert "newer than the installed onnx" in error.what

    def test_initializers_that_are_inputs_too_become_constants(self, tmp_path):
        """Before IR version 4 every weight had to be listed as an input."""
        model = two_layers(opset=9, ir_version=3)
        for tensor in model.graph.initializer:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        result = ingested(saved(model, tmp_path), tmp_path)
        assert [spec.name for spec in result.contract.inputs] == ["x"]
        assert [item.name for item in onnx.load(result.model).graph.input] == ["x"]


class TestOperators:
    @pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "my.company"])
    def test_an_op_of_another_domain_is_unsupported(self, tmp_path, domain):
        node = helper.make_node("FusedThing", ["x"], ["y"], name="attention_3", domain=domain)
        model = model_of([node], {"x": [1]}, {"y": [1]}, domains={domain: 1})
        error = refused(model, tmp_path, UnsupportedOp)
        assert "FusedThing" in error.what
        assert domain in error.what
        assert "'attention_3'" in error.why

    def test_a_foreign_op_in_a_subgraph_is_found(self, tmp_path):
        body = helper.make_graph(
            [helper.make_node("Secret", ["x"], ["o"], name="inner", domain="my.company")],
            "body",
            [],
            [helper.make_tensor_value_info("o", TensorProto.FLOAT, [1])],
        )
        node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
        model = model_of(
            [node], {"x": [1], "c": []}, {"y": [1]}, domains={"my.company": 1}, input_types={"c": TensorProto.BOOL}
        )
        assert "'inner'" in refused(model, tmp_path, UnsupportedOp).why

    def test_an_imported_domain_that_no_node_uses_does_not_matter(self, tmp_path):
        model = two_layers()
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
        result = ingested(saved(model, tmp_path), tmp_path)
        assert [item.domain for item in onnx.load(result.model).opset_import] == [""]

    def test_an_op_that_onnx_does_not_have_is_refused_with_a_guess(self, tmp_path):
        model = model_of([helper.make_node("Convv", ["x"], ["y"], name="c1")], {"x": [1]}, {"y": [1]})
        error = refused(model, tmp_path)
        assert "'Convv'" in error.what
        assert "'c1'" in error.why
        assert "Conv" in error.why

    def test_an_op_that_came_later_is_refused_with_the_reason(self, tmp_path):
        node = helper.make_node("Gelu", ["x"], ["y"], name="act")
        assert "came after opset 17" in refused(model_of([node], {"x": [1]}, {"y": [1]}), tmp_path).why

    def test_functions_of_the_model_are_inlined(self, tmp_path):
        body = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["c"])]
        model = model_of(
            [helper.make_node("neg_relu", ["x"], ["y"], domain="own")], {"x": [2]}, {"y": [2]}, domains={"own": 1}
        )
        model.functions.append(
            helper.make_function("own", "neg_relu", ["a"], ["c"], body, [helper.make_opsetid("", 17)])
        )
        result = ingested(saved(model, tmp_path), tmp_path)
        assert result.document("ingest.json")["ops"] == {"Neg": 1, "Relu": 1}

    def test_a_name_that_nothing_makes_is_refused(self, tmp_path):
        model = model_of([helper.make_node("Add", ["x", "ghost"], ["y"], name="add")], {"x": [1]}, {"y": [1]})
        assert "ghost" in refused(model, tmp_path).why

    def test_a_name_that_is_made_twice_is_refused(self, tmp_path):
        nodes = [helper.make_node("Relu", ["x"], ["twin"]), helper.make_node("Neg", ["x"], ["twin"])]
        assert "twin" in refused(model_of(nodes, {"x": [1]}, {"twin": [1]}), tmp_path).why

    def test_two_initializers_of_one_name_are_refused(self, tmp_path):
        model = two_layers()
        model.graph.initializer.append(model.graph.initializer[0])
        assert "'conv.weight'" in refused(model, tmp_path).why


RANDOM = [
    helper.make_node("RandomNormal", [], ["r"], name="dice", shape=[1, 4]),
    helper.make_node("RandomUniformLike", ["x"], ["r"], name="dice"),
    helper.make_node("Bernoulli", ["x"], ["r"], name="dice"),
    helper.make_node("Dropout", ["x", "half", "yes"], ["r"], name="dice"),
]


@pytest.mark.parametrize("node", RANDOM, ids=lambda node: node.op_type)
def test_random_numbers_are_refused_with_the_node(tmp_path, node):
    nodes = [node, helper.make_node("Add", ["x", "r"], ["y"])]
    weights = {"half": np.float32(0.5), "yes": np.array(True)}
    error = refused(model_of(nodes, {"x": [1, 4]}, {"y": [1, 4]}, weights), tmp_path, UnsupportedOp)
    assert f"'dice' ({node.op_type})" in error.what


@pytest.mark.parametrize("inputs", [["x"], ["x", "half"], ["x", "half", "no"]])
def test_a_dropout_that_drops_nothing_is_taken(tmp_path, inputs):
    weights = {"half": np.float32(0.5), "no": np.array(False)}
    model = model_of([helper.make_node("Dropout", inputs, ["y"])], {"x": [1, 4]}, {"y": [1, 4]}, weights)
    assert ingested(saved(model, tmp_path), tmp_path).contract.outputs[0].shape == (1, 4)


@pytest.mark.parametrize(("op", "meant"), [("Convv", "Conv"), ("Frobnicate", None)])
def test_a_slip_of_the_pen_is_told_from_an_op_that_does_not_exist(tmp_path, op, meant):
    error = refused(model_of([helper.make_node(op, ["x"], ["y"])], {"x": [1, 4]}, {"y": [1, 4]}), tmp_path)
    assert (f"Did the exporter mean {meant}?" in error.why) == (meant is not None)
    assert ("Did the exporter mean" in error.why) == (meant is not None)


class TestInterface:
    def test_a_model_without_nodes_is_refused(self, tmp_path):
        assert "no nodes" in refused(model_of([], {"x": [1]}, {"x": [1]}), tmp_path).what

    def test_a_model_without_outputs_is_refused(self, tmp_path):
        node = helper.make_node("Relu", ["x"], ["y"])
        assert "no outputs" in refused(model_of([node], {"x": [1]}, {}), tmp_path).what

    @pytest.mark.parametrize(
        "nodes",
        [
            [helper.make_node("Exp", ["c"], ["y"])],
            [helper.make_node("Identity", ["c"], ["y"])],
            [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT)],
        ],
    )
    def test_a_model_whose_outputs_depend_on_no_input_is_refused(self, tmp_path, nodes):
        error = refused(model_of(nodes, {"x": [4]}, {"y": [1]}, {"c": np.ones(1, np.float32)}), tmp_path)
        assert "No output of the model depends on an input: 'y'" in error.what

    def test_an_output_that_depends_on_no_input_beside_one_that_does_is_taken(self, tmp_path):
        nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Exp", ["c"], ["z"])]
        model = model_of(nodes, {"x": [4]}, {"y": [4], "z": [1]}, {"c": np.ones(1, np.float32)})
        assert [item.name for item in ingested(saved(model, tmp_path), tmp_path).contract.outputs] == ["y", "z"]

    def test_a_model_of_strings_is_refused(self, tmp_path):
        node = helper.make_node("StringNormalizer", ["text"], ["y"])
        model = model_of(
            [node],
            {"text": [1]},
            {"y": [1]},
            input_types={"text": TensorProto.STRING},
            output_types={"y": TensorProto.STRING},
        )
        assert "'text' holds strings" in refused(model, tmp_path).what

    @pytest.mark.parametrize(("kind", "dtype"), [(TensorProto.FLOAT16, "float16"), (TensorProto.DOUBLE, "float64")])
    def test_other_float_types_are_recorded(self, tmp_path, kind, dtype):
        node = helper.make_node("Add", ["x", "x"], ["y"])
        model = model_of([node], {"x": [2]}, {"y": [2]}, input_types={"x": kind}, output_types={"y": kind})
        result = ingested(saved(model, tmp_path), tmp_path)
        assert result.contract.inputs == (TensorSpec("x", dtype, (2,)),)

    def test_state_must_name_an_output_and_an_input_of_one_shape(self, tmp_path):
        nodes = [helper.make_node("Add", ["x", "hidden"], ["hidden_out"]), helper.make_node("Neg", ["x"], ["y"])]
        model = model_of(nodes, {"x": [1, 4], "hidden": [1, 4]}, {"hidden_out": [1, 4], "y": [1, 4]})
        ingested(saved(model, tmp_path), tmp_path, state=(("hidden_out", "hidden"),))
        error = refused(model, tmp_path, UsageError, state=(("hiden_out", "hidden"),))
        assert "hidden_out" in error.fix
        assert "no input 'h'" in refused(model, tmp_path, UsageError, state=(("hidden_out", "h"),)).what


def test_notes_of_the_author_are_kept_apart_and_traces_of_the_machine_are_dropped(tmp_path):
    model = two_layers()
    model.metadata_props.add(key="names", value="cat,dog")
    model.graph.node[0].doc_string = "/home/someone/train.py:17"
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/someone")
    result = ingested(saved(model, tmp_path), tmp_path)
    assert result.document("ingest.json")["metadata"] == {"names": "cat,dog"}
    assert b"/home/someone" not in result.model.read_bytes()


def test_two_runs_give_the_same_bytes(tmp_path):
    path = saved(two_layers(opset=11, ir_version=6), tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from edgec.stages import ingest; from edgec.stage import StageContext\n"
        "out = Path(sys.argv[2]); out.mkdir()\n"
        "ingest.run(Path(sys.argv[1]), ingest.IngestParams(), StageContext('ingest', out, print))"
    )
    digests = []
    for seed in ("1", "2"):
        out = tmp_path / f"out-{seed}"
        subprocess.run([sys.executable, "-c", code, path, out], check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(out.iterdir())])
    assert digests[0] == digests[1]
