"""Models in half and double precision: computed in float32, and the same from outside."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgec.contract import TensorSpec
from edgec.onnx_graph import ingestion
from edgec.onnx_graph.graph import Graph
from edgec.onnx_graph.hollow import Held, Recast
from tests.onnx_graph.models import model_of, saved
from tests.stages.stage_run import ingested

KINDS = {"float16": TensorProto.FLOAT16, "float64": TensorProto.DOUBLE}


def network(dtype, channels=4):
    """x -> Conv -> Relu -> y, with a mask through a branch-free Cast, all in `dtype`; and the largest channel."""
    random = np.random.default_rng(7)
    kind = KINDS[dtype]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["y"], name="relu"),
        helper.make_node("ConstantOfShape", ["four"], ["ones"], value=helper.make_tensor("v", kind, [1], [1.0])),
        helper.make_node("Cast", ["count"], ["number"], name="cast", to=kind),
        helper.make_node("Mul", ["y", "number"], ["m"], name="mul"),
        helper.make_node("Add", ["m", "ones"], ["z"], name="add"),
        helper.make_node("ArgMax", ["z"], ["label"], axis=1),
    ]
    return model_of(
        nodes,
        {"x": [1, 3, 8, 8], "count": [1]},
        {"y": [1, channels, 8, 8], "z": [1, channels, 8, 8], "label": [1, 1, 8, 8]},
        {
            "w": random.standard_normal((channels, 3, 3, 3)).astype(dtype),
            "four": np.array([1, 1, 1, 8]),
        },
        input_types={"x": kind, "count": TensorProto.INT64},
        output_types={"y": kind, "z": kind, "label": TensorProto.INT64},
    )


def run(path, feeds):
    return onnxruntime.InferenceSession(str(path)).run(None, feeds)


def by_definition(path, feeds):
    """ONNX Runtime has no convolution in double precision; the reference of ONNX has."""
    return ReferenceEvaluator(str(path)).run(None, feeds)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("channels", [4, 600], ids=["small", "large"])
def test_a_model_in_another_precision_computes_in_float32_behind_the_same_interface(tmp_path, dtype, channels):
    source = saved(network(dtype, channels), tmp_path)
    result = ingested(source, tmp_path)
    assert result.contract.input("x") == TensorSpec("x", dtype, (1, 3, 8, 8))
    assert [spec.dtype for spec in result.contract.outputs] == [dtype, dtype, "int64"]
    model = onnx.load(result.model)
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type in ("Conv", "Relu", "Mul", "Add", "ConstantOfShape"):
            assert graph.is_float(node.output[0]), node.name
    assert {"conv", "relu", "cast", "mul", "add"} <= {node.name for node in graph.nodes}
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(dtype), "count": np.array([3])}
    tolerance = 0.02 if dtype == "float16" else 1e-5
    for expected, got in zip(by_definition(source, feeds)[:2], run(result.model, feeds)[:2], strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
    assert result.document("ingest.json")["widened"] == [dtype]
    assert any(f"computes in {dtype}" in note.text for note in result.notes)


def test_bodies_of_branches_are_widened_too(tmp_path):
    half = TensorProto.FLOAT16

    def branch(op, output):
        infos = [helper.make_tensor_value_info(output, half, [1, 4])]
        nodes = [
            helper.make_node("Cast", ["k"], [f"{output}k"], to=half),
            helper.make_node(op, ["x", f"{output}k"], [output]),
        ]
        return helper.make_graph(nodes, op, [], infos)

    nodes = [
        helper.make_node("If", ["c"], ["b"], name="if", then_branch=branch("Add", "t"), else_branch=branch("Mul", "e")),
        helper.make_node("Add", ["b", "x"], ["y"], name="sum"),
    ]
    model = model_of(
        nodes,
        {"x": [1, 4], "c": [], "k": [1]},
        {"y": [1, 4]},
        input_types={"x": half, "c": TensorProto.BOOL, "k": TensorProto.INT64},
        output_types={"y": half},
    )
    source = saved(model, tmp_path)
    result = ingested(source, tmp_path)
    assert result.document("ingest.json")["widened"] == ["float16"]
    for yes in (True, False):
        feeds = {"x": np.arange(4, dtype=np.float16).reshape(1, 4), "c": np.array(yes), "k": np.array([3])}
        np.testing.assert_array_equal(run(source, feeds)[0], run(result.model, feeds)[0])


def test_bfloat16_is_widened_where_nothing_could_run_it(tmp_path):
    kind = TensorProto.BFLOAT16
    nodes = [
        helper.make_node("Cast", ["x"], ["b"], to=kind),
        helper.make_node("MatMul", ["b", "w"], ["m"], name="product"),
        helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    model = model_of(nodes, {"x": [1, 2]}, {"y": [1, 2]})
    model.graph.initializer.append(helper.make_tensor("w", kind, [2, 2], [1.0, 2.0, 3.0, -4.0]))
    result = ingested(saved(model, tmp_path), tmp_path)
    np.testing.assert_array_equal(run(result.model, {"x": np.array([[1, 2]], np.float32)})[0], [[7, -6]])


def test_casts_at_the_border_alone_change_nothing(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT16),
    ]
    types = {"input_types": {"x": TensorProto.FLOAT16}, "output_types": {"y": TensorProto.FLOAT16}}
    result = ingested(saved(model_of(nodes, {"x": [1, 4]}, {"y": [1, 4]}, **types), tmp_path), tmp_path)
    assert result.document("ingest.json")["widened"] == []
    assert result.document("ingest.json")["ops"] == {"Cast": 2, "Relu": 1}


def test_doubles_that_need_their_precision_stay_and_it_is_said(tmp_path):
    """16777217 is the first integer that float32 does not have."""
    double = TensorProto.DOUBLE
    nodes = [
        helper.make_node("Cast", ["x"], ["d"], to=double),
        helper.make_node("Add", ["d", "large"], ["s"], name="sum"),
        helper.make_node("Sub", ["s", "large"], ["r"], name="difference"),
        helper.make_node("Cast", ["r"], ["y"], to=TensorProto.FLOAT),
    ]
    model = model_of(nodes, {"x": [1, 4]}, {"y": [1, 4]}, {"large": np.array(1e9)})
    source = saved(model, tmp_path)
    result = ingested(source, tmp_path)
    assert result.document("ingest.json")["widened"] == []
    assert any("computes in float64, and not the same in float32" in text for text in result.warnings)
    feeds = {"x": np.array([[0.5, 1, 2, 3]], np.float32)}
    np.testing.assert_array_equal(run(result.model, feeds)[0], run(source, feeds)[0])


def test_a_wrong_pass_is_found_by_running_both(tmp_path, monkeypatch):
    def zeros(model, weights):
        wide, data = ingestion_in_float32(model, weights)
        for tensor in wide.graph.initializer:
            if tensor.name == "w":
                tensor.raw_data = bytes(len(tensor.raw_data))
        return wide, data

    ingestion_in_float32 = ingestion.in_float32
    monkeypatch.setattr(ingestion, "in_float32", zeros)
    result = ingested(saved(network("float16"), tmp_path), tmp_path)
    assert any("not the same in float32" in text for text in result.warnings)


def test_recast_data_is_the_same_in_pieces_and_keeps_finite_values_finite():
    values = np.array([1.5, -1e300, np.inf, 1e-300])
    data = Recast(Held(values.tobytes()), TensorProto.DOUBLE)
    found = np.frombuffer(b"".join(data.pieces()), np.float32)
    most = np.finfo(np.float32).max
    np.testing.assert_array_equal(found, np.array([1.5, -most, np.inf, 0], np.float32))
    assert data.length == len(data.read()) == 16
