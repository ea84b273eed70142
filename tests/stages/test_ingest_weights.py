"""Constants and weights: held in one place however they came, each of them a number, however many gigabytes."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec.onnx_graph import hollow
from edgec.onnx_graph.untrusted import scan
from tests.onnx_graph.models import external_tensor, model_of, saved, two_layers, with_external_weight
from tests.stages.ingestion import outputs, refused
from tests.stages.stage_run import ingested


def constant(output, **value):
    return helper.make_node("Constant", [], [output], **value)


class TestConstants:
    def test_every_kind_of_constant_node_becomes_an_initializer(self, tmp_path):
        nodes = [
            constant("tensor", value=numpy_helper.from_array(np.full((2, 3), 2, np.float32))),
            constant("typed", value=helper.make_tensor("t", TensorProto.FLOAT, [3], [1, 2, 3])),
            constant("number", value_float=1.5),
            constant("numbers", value_floats=[1.0, 2.0, 3.0]),
            constant("axis", value_int=1),
            constant("axes", value_ints=[0]),
            helper.make_node("Add", ["x", "tensor"], ["a"]),
            helper.make_node("Mul", ["a", "typed"], ["b"]),
            helper.make_node("Mul", ["b", "number"], ["c"]),
            helper.make_node("Add", ["c", "numbers"], ["d"]),
            helper.make_node("CumSum", ["d", "axis"], ["e"]),
            helper.make_node("Unsqueeze", ["e", "axes"], ["y"]),
        ]
        source = saved(model_of(nodes, {"x": [2, 3]}, {"y": [1, 2, 3]}), tmp_path)
        result = ingested(source, tmp_path)
        graph = onnx.load(result.model).graph
        assert "Constant" not in {node.op_type for node in graph.node}
        held = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        assert held["axes"].tolist() == [0]
        assert held["axis"].shape == ()
        assert held["numbers"].dtype == np.float32
        feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
        assert np.array_equal(outputs(source, feeds)[0], outputs(result.model, feeds)[0])

    def test_constants_in_subgraphs_too_except_their_outputs(self, tmp_path):
        def branch(name, number):
            nodes = [
                constant("k", value_float=number),
                helper.make_node("Mul", ["x", "k"], [f"{name}_out"]),
                constant(f"{name}_fixed", value_float=number),
            ]
            infos = [
                helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [2]),
                helper.make_tensor_value_info(f"{name}_fixed", TensorProto.FLOAT, []),
            ]
            return helper.make_graph(nodes, name, [], infos)

        node = helper.make_node("If", ["c"], ["y", "z"], then_branch=branch("t", 2.0), else_branch=branch("e", 3.0))
        model = model_of([node], {"x": [2], "c": []}, {"y": [2], "z": []}, input_types={"c": TensorProto.BOOL})
        source = saved(model, tmp_path)
        result = ingested(source, tmp_path)
        graphs = list(hollow.graphs(onnx.load(result.model)))
        assert [[node.op_type for node in graph.node] for graph in graphs] == [
            ["If"],
            ["Mul", "Constant"],
            ["Mul", "Constant"],
        ]
        names = [node.name for graph in graphs for node in graph.node]
        assert len(set(names)) == len(names)
        for condition in (True, False):
            feeds = {"x": np.ones(2, np.float32), "c": np.array(condition)}
            for left, right in zip(outputs(source, feeds), outputs(result.model, feeds), strict=True):
                assert np.array_equal(left, right)

    def test_an_output_that_is_constant_stays_an_output(self, tmp_path):
        nodes = [constant("k", value_floats=[1.0, 2.0]), helper.make_node("Relu", ["x"], ["y"])]
        result = ingested(saved(model_of(nodes, {"x": [2]}, {"y": [2], "k": [2]}), tmp_path), tmp_path)
        assert outputs(result.model, {"x": np.zeros(2, np.float32)})[1].tolist() == [1.0, 2.0]
        assert {node.op_type for node in onnx.load(result.model).graph.node} == {"Relu", "Identity"}

    def test_a_sparse_constant_is_refused_by_name(self, tmp_path):
        values = numpy_helper.from_array(np.ones(1, np.float32), "v")
        indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
        nodes = [
            helper.make_node(
                "Constant", [], ["k"], name="mask", sparse_value=helper.make_sparse_tensor(values, indices, [2])
            ),
            helper.make_node("Mul", ["x", "k"], ["y"]),
        ]
        assert "'mask'" in refused(model_of(nodes, {"x": [2]}, {"y": [2]}), tmp_path).what

    def test_a_sparse_initializer_is_refused(self, tmp_path):
        model = two_layers()
        values = numpy_helper.from_array(np.ones(1, np.float32), "thin")
        indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2]))
        assert "'thin'" in refused(model, tmp_path).why


class TestWeights:
    @pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
    @pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
    def test_a_weight_that_is_no_number_is_refused_by_name_and_element(self, tmp_path, value, name, dtype):
        weight = np.ones((8, 8), dtype)
        weight[1, 2] = value
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        node = helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")
        model = model_of(
            [node], {"x": [1, 8]}, {"y": [1, 8]}, {"w": weight}, input_types={"x": kind}, output_types={"y": kind}
        )
        error = refused(model, tmp_path)
        assert "'w'" in error.what
        assert name in error.what
        assert "element 10" in error.why

    def test_a_large_weight_is_looked_at_in_pieces(self, tmp_path, monkeypatch):
        monkeypatch.setattr(hollow, "_PIECE", 4096)
        weight = np.ones((128, 128), np.float32)
        weight[100, 5] = np.nan
        node = helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")
        model = model_of([node], {"x": [1, 128]}, {"y": [1, 128]}, {"w": weight})
        assert "element 12,805" in refused(model, tmp_path).why

    def test_an_infinity_that_masks_is_taken(self, tmp_path):
        """Attention masks are made of -inf."""
        model = model_of(
            [helper.make_node("Add", ["x", "mask"], ["y"])],
            {"x": [2]},
            {"y": [2]},
            {"mask": np.array([0, -np.inf], np.float32)},
        )
        ingested(saved(model, tmp_path), tmp_path)

    def test_external_weights_become_part_of_the_model(self, tmp_path):
        weight = np.random.default_rng(1).standard_normal((8, 8)).astype(np.float32)
        (tmp_path / "weights.data").write_bytes(bytes(64) + weight.tobytes())
        result = ingested(saved(with_external_weight(offset=64), tmp_path), tmp_path)
        x = np.random.default_rng(2).standard_normal((1, 8)).astype(np.float32)
        np.testing.assert_allclose(outputs(result.model, {"x": x})[0], x @ weight, rtol=1e-5)
        assert sorted(path.name for path in result.folder.iterdir()) == ["contract.json", "ingest.json", "model.onnx"]

    def test_external_data_in_an_attribute_is_loaded(self, tmp_path):
        (tmp_path / "k.data").write_bytes(np.float32([3, 4]).tobytes())
        nodes = [constant("k", value=external_tensor("k", [2], "k.data")), helper.make_node("Mul", ["x", "k"], ["y"])]
        result = ingested(saved(model_of(nodes, {"x": [2]}, {"y": [2]}), tmp_path), tmp_path)
        assert outputs(result.model, {"x": np.ones(2, np.float32)})[0].tolist() == [3.0, 4.0]

    @pytest.mark.parametrize("inside", [True, False])
    def test_a_large_model_keeps_its_weights_in_one_file_beside_it(self, tmp_path, monkeypatch, inside):
        """The limit is lowered: what holds for 40 KB holds for 4 GB, see the slow test below."""
        monkeypatch.setattr(hollow, "INLINE_LIMIT", 1000)
        rng = np.random.default_rng(1)
        weights = {
            "w": rng.standard_normal((100, 100)).astype(np.float32),
            "v": rng.standard_normal((100, 90)).astype(np.float32),
        }
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
        source = model_of(nodes, {"x": [1, 100]}, {"y": [1, 90]}, weights)
        path = tmp_path / "source.onnx"
        onnx.save(source, path, save_as_external_data=not inside, location="source.data", size_threshold=0)
        result = ingested(path, tmp_path)
        weight_file = result.folder / "weights.bin"
        assert {path.name for path in result.folder.iterdir()} >= {"model.onnx", "weights.bin"}
        assert weight_file.stat().st_size >= 4 * 100 * 190
        x = rng.standard_normal((1, 100)).astype(np.float32)
        expected = outputs(path, {"x": x})[0]
        assert np.array_equal(outputs(result.model, {"x": x})[0], expected)
        assert scan(result.model).files == (result.model, weight_file)

    def test_a_model_that_changes_during_the_build_is_refused(self, tmp_path):
        path = saved(two_layers(), tmp_path)
        digest = scan(path).digest
        assert ingested(path, tmp_path, digest=digest)
        model = two_layers()
        model.graph.name = "another"
        assert "changed while edgec read it" in refused(model, tmp_path, digest=digest).what


@pytest.mark.slow
def test_a_model_of_more_than_2_gb_takes_little_memory(tmp_path):
    """Nine layers of 256 MB as a sparse file: ingest works on the structure and streams the weights."""
    side = 8192
    model = model_of([], {"x": ["n", side]}, {"y8": ["n", side]}, opset=13, ir_version=7)
    for index in range(9):
        tensor = external_tensor(f"w{index}", [side, side], "big.data", index * side * side * 4)
        model.graph.initializer.append(tensor)
        before = f"y{index - 1}" if index else "x"
        model.graph.node.append(helper.make_node("MatMul", [before, f"w{index}"], [f"y{index}"], name=f"mm{index}"))
    with (tmp_path / "big.data").open("wb") as stream:
        stream.truncate(9 * side * side * 4)
        stream.seek(4 * side)
        stream.write(np.float32([1.5]).tobytes())
    path = saved(model, tmp_path)
    code = (
        "import re, resource, sys; from pathlib import Path\n"
        "from edgec.stages import ingest; from edgec.stage import StageContext\n"
        "params = ingest.IngestParams(shapes=(('x', (1, 8192)),))\n"
        "ingest.run(Path(sys.argv[1]), params, StageContext('ingest', Path(sys.argv[2]), lambda event: None))\n"
        # Its own ru_maxrss would hold what this test's process had when it was started from it.
        "own = int(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
        "print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    )
    out = tmp_path / "out"
    out.mkdir()
    peak_kib = int(subprocess.check_output([sys.executable, "-c", code, path, out], text=True))
    assert peak_kib < 600 * 1024  # a quarter of the weights
    written = onnx.load(out / "model.onnx", load_external_data=False)
    assert {item.domain: item.version for item in written.opset_import} == {"": 17}
    with (out / "weights.bin").open("rb") as stream:
        stream.seek(4 * side)
        assert np.frombuffer(stream.read(4), np.float32)[0] == 1.5
    assert (out / "weights.bin").stat().st_size == 9 * side * side * 4
