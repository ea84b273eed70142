"""Two forms of a model are compared on inputs that are the same everywhere."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgec.contract import TensorSpec
from edgec.onnx_graph.made_up_inputs import compare_models, compared_values, probe_inputs
from tests.onnx_graph.models import model_of, saved

INPUTS = (TensorSpec("x", "float32", (2, 3)),)


def scaled(tmp_path, factor, name):
    node = helper.make_node("Mul", ["x", "factor"], ["y"], name="scale")
    model = model_of([node], {"x": [2, 3]}, {"y": [2, 3]}, {"factor": np.float32(factor)})
    return saved(model, tmp_path, name)


def test_probes_are_the_same_every_time_and_differ_from_each_other():
    first, second = (list(probe_inputs(INPUTS, {})) for _ in range(2))
    for left, right in zip(first, second, strict=True):
        assert np.array_equal(left["x"], right["x"])
    assert len({probe["x"].tobytes() for probe in first}) == len(first) == 4
    assert not first[0]["x"].any()


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int32"])
def test_integers_stay_small_enough_to_be_ids(dtype):
    for probe in probe_inputs((TensorSpec("ids", dtype, (50,)),), {}):
        assert probe["ids"].dtype == dtype
        assert 0 <= probe["ids"].min() <= probe["ids"].max() < 8


def test_a_mode_gets_the_values_that_the_graph_asks_for():
    node = helper.make_node("Equal", ["rate", "k"], ["y"])
    kinds = {"input_types": {"rate": TensorProto.INT64}, "output_types": {"y": TensorProto.BOOL}}
    model = model_of([node], {"rate": []}, {"y": []}, {"k": np.array(16000)}, **kinds)
    hints = compared_values(model)
    assert hints == {"rate": [16000]}
    values = {int(probe["rate"]) for probe in probe_inputs((TensorSpec("rate", "int64", ()),), hints)}
    assert {0, 16000} <= values


def test_equal_models_agree(tmp_path):
    found = compare_models(scaled(tmp_path, 3, "a"), scaled(tmp_path, 3, "b"), INPUTS)
    assert (found.loaded, found.ran, found.worst, found.largest) == (True, 4, "", 0.0)
    assert found.shapes == {"y": (2, 3)}


@pytest.mark.parametrize(("factor", "agree"), [(1 + 1e-6, True), (1 + 1e-3, False), (np.nan, False), (-1, False)])
def test_what_rounding_can_explain_is_allowed_relative_to_the_output(tmp_path, factor, agree):
    for size in (1e-3, 1e5):
        found = compare_models(scaled(tmp_path, size, "a"), scaled(tmp_path, size * factor, "b"), INPUTS)
        assert (found.worst == "") == agree
        assert agree or "'y'" in found.worst


@pytest.mark.parametrize(("factor", "agree"), [(1 + 2e-6, True), (1 + 1e-4, False)])
def test_what_a_model_amplifies_itself_is_no_difference_between_models(tmp_path, factor, agree):
    """sin(10 x) makes of a rounding error of x = 200 one that is 2000 times as large."""

    def steep(factor, name):
        nodes = [helper.make_node("Mul", ["x", "k"], ["a"], name="k"), helper.make_node("Sin", ["a"], ["y"], name="s")]
        weights = {"k": np.float32(10 * factor)}
        return saved(model_of(nodes, {"x": [2, 3]}, {"y": [2, 3]}, weights), tmp_path, name)

    found = compare_models(steep(1, "a"), steep(factor, "b"), INPUTS)
    assert found.largest > 1e-3, "more than rounding alone would explain"
    assert (found.worst == "") == agree


def test_integer_outputs_must_be_equal(tmp_path):
    nodes = [helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)]
    last = [helper.make_node("ArgMin", ["x"], ["y"], axis=1, keepdims=0)]
    kinds = {"output_types": {"y": TensorProto.INT64}}
    first = saved(model_of(nodes, {"x": [2, 3]}, {"y": [2]}, **kinds), tmp_path, "first")
    second = saved(model_of(last, {"x": [2, 3]}, {"y": [2]}, **kinds), tmp_path, "second")
    assert compare_models(first, first, INPUTS).worst == ""
    assert "2 of 2 values differ" in compare_models(first, second, INPUTS).worst


def test_a_probe_that_the_original_can_not_run_says_nothing(tmp_path):
    """Ids of 2 and more do not exist in this table; zeros and ones do."""
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    kinds = {"input_types": {"ids": TensorProto.INT64}}
    model = model_of([node], {"ids": [64]}, {"y": [64]}, {"table": np.float32([1, 2])}, **kinds)
    path = saved(model, tmp_path)
    found = compare_models(path, path, (TensorSpec("ids", "int64", (64,)),))
    assert found.ran == 2
    assert found.worst == ""
    assert "out of" in found.failure


def test_a_model_that_can_not_be_loaded_is_said_to(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x08")
    sound = scaled(tmp_path, 1, "a")
    assert "can't be loaded" in compare_models(sound, broken, INPUTS).worst
    assert not compare_models(broken, sound, INPUTS).loaded
