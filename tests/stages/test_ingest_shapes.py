"""Shapes: every dimension gets a size, from the model or from a flag, or the model is refused with the flag to type."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgec.contract import TensorSpec
from tests.onnx_graph.models import model_of, saved, two_layers
from tests.stages.ingestion import IMAGE, outputs, refused
from tests.stages.stage_run import ingested


def test_an_open_dimension_is_refused_with_the_flag_to_type(tmp_path):
    error = refused(two_layers(batch="batch"), tmp_path)
    assert "x: batchx3x8x8" in error.why
    assert error.fix == "Add: --shape x=1x3x8x8"


def test_every_open_input_is_named(tmp_path):
    node = helper.make_node("Add", ["left", "right"], ["sum"])
    model = model_of([node], {"left": ["n", 3, "h", "w"], "right": [1, None, 8, 8]}, {"sum": None})
    error = refused(model, tmp_path)
    assert "left: nx3xhxw" in error.why
    assert "right: 1x?x8x8" in error.why
    assert "--shape left=1x3x224x224" in error.fix
    assert "--shape right=1x3x8x8" in error.fix


def test_an_input_of_unknown_rank_is_refused_until_its_shape_is_given(tmp_path):
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": None}, {"y": None})
    assert "x: unknown" in refused(model, tmp_path).why
    result = ingested(saved(model, tmp_path), tmp_path, shapes=(("x", (2, 3)),))
    assert result.contract.outputs == (TensorSpec("y", "float32", (2, 3)),)


@pytest.mark.parametrize("size", [0, -1])
def test_zero_and_minus_one_mean_open_and_are_shown_as_they_are(tmp_path, size):
    why = refused(two_layers(batch=size), tmp_path).why
    assert f"x: {size}x3x8x8" in why
    assert "A size of 0 or -1 is taken for open." in why


def test_two_sizes_of_zero_have_no_name_in_common(tmp_path):
    node = helper.make_node("Concat", ["a", "b"], ["both"], axis=0)
    model = model_of([node], {"a": [0, 3], "b": [0, 3]}, {"both": None})
    assert "b: 0x3" in refused(model, tmp_path, shapes=(("a", (2, 3)),)).why


def test_a_size_that_no_machine_holds_is_refused_with_its_bytes(tmp_path):
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 3, "h", "w"]}, {"y": None})
    error = refused(model, tmp_path, shapes=(("x", (1, 3, 100_000, 100_000)),))
    assert error.what == "The input 'x' is too large: 1x3x100000x100000 takes 111.8 GiB"


def test_a_tensor_inside_that_no_machine_holds_is_refused(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "y"], ["products"], name="outer"),
        helper.make_node("ReduceMax", ["products"], ["z"], axes=[0, 1], keepdims=0),
    ]
    model = model_of(nodes, {"x": ["n", 1], "y": [1, "n"]}, {"z": []})
    error = refused(model, tmp_path, shapes=(("x", (100_000, 1)),))
    assert "tensor 'products'" in error.what and "37.3 GiB" in error.what


def test_a_given_shape_is_used(tmp_path):
    result = ingested(saved(two_layers(batch="n"), tmp_path), tmp_path, shapes=(("x", (4, 3, 8, 8)),))
    assert result.contract.outputs == (TensorSpec("y", "float32", (4, 5)),)
    assert outputs(result.model, {"x": np.repeat(IMAGE, 4, 0)})[0].shape == (4, 5)


def test_a_dimension_of_the_same_name_takes_the_same_size(tmp_path):
    node = helper.make_node("Add", ["a", "b"], ["sum"])
    model = model_of([node], {"a": ["batch", 3], "b": ["batch", 3]}, {"sum": ["batch", 3]})
    result = ingested(saved(model, tmp_path), tmp_path, shapes=(("a", (2, 3)),))
    assert [spec.shape for spec in result.contract.inputs] == [(2, 3), (2, 3)]


def test_sizes_that_contradict_a_shared_name_are_used_and_said(tmp_path):
    node = helper.make_node("Concat", ["a", "b"], ["both"], axis=0)
    model = model_of([node], {"a": ["n", 3], "b": ["n", 3]}, {"both": None})
    result = ingested(saved(model, tmp_path), tmp_path, shapes=(("a", (2, 3)), ("b", (1, 3))))
    assert result.contract.outputs[0].shape == (3, 3)
    assert "'n'" in result.warnings[0]


def test_another_rank_is_refused(tmp_path):
    error = refused(two_layers(batch="n"), tmp_path, shapes=(("x", (1, 8, 8)),))
    assert "4 dimensions (nx3x8x8), the flag gives 3" in error.why
    assert "--shape x=1x3x8x8" in error.fix


def test_a_fixed_dimension_can_not_be_changed(tmp_path):
    error = refused(two_layers(batch="n"), tmp_path, shapes=(("x", (1, 3, 9, 8)),))
    assert "Dimension 2 of the input x is fixed at 8" in error.why


def test_a_misspelt_input_is_refused_with_the_right_one(tmp_path):
    model = model_of([helper.make_node("Relu", ["images"], ["y"])], {"images": ["n", 3]}, {"y": None})
    error = refused(model, tmp_path, shapes=(("image", (1, 3)),))
    assert "'image'" in error.what
    assert "--shape images=1x3" in error.fix


def test_a_constant_is_no_input(tmp_path):
    error = refused(two_layers(), tmp_path, shapes=(("fc.weight", (4, 5)),))
    assert "is a constant of the model" in error.why


def test_a_size_of_zero_is_refused(tmp_path):
    refused(two_layers(batch="n"), tmp_path, shapes=(("x", (0, 3, 8, 8)),))


def test_a_shape_that_the_graph_can_not_take_is_refused_with_the_node(tmp_path):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="project")
    model = model_of([node], {"x": ["n", "k"]}, {"y": None}, {"w": np.ones((4, 2), np.float32)})
    assert "project" in refused(model, tmp_path, shapes=(("x", (1, 5)),)).why


def test_stale_shapes_inside_of_the_graph_do_not_count(tmp_path):
    model = two_layers(batch="n")
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [7, 7]))
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 7
    result = ingested(saved(model, tmp_path), tmp_path, shapes=(("x", (1, 3, 8, 8)),))
    assert result.contract.outputs[0].shape == (1, 5)


def test_a_scalar_input_needs_no_flag(tmp_path):
    node = helper.make_node("Mul", ["x", "k"], ["y"])
    result = ingested(saved(model_of([node], {"x": [2], "k": []}, {"y": [2]}), tmp_path), tmp_path)
    assert result.contract.input("k").shape == ()


def test_an_output_of_no_known_shape_is_learnt_by_running(tmp_path):
    """ONNX's inference gives up on a Reshape whose target is computed; ONNX Runtime does not."""
    nodes = [
        helper.make_node("Cast", ["half"], ["half64"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["x", "half64"], ["y"]),
    ]
    weights = {"half": np.array([2, 3], np.float32)}
    result = ingested(saved(model_of(nodes, {"x": [6]}, {"y": None}, weights), tmp_path), tmp_path)
    assert result.contract.outputs[0].shape == (2, 3)


def test_an_output_whose_shape_depends_on_values_is_refused(tmp_path):
    node = helper.make_node("NonZero", ["x"], ["where"], name="find")
    model = model_of([node], {"x": [6]}, {"where": None}, output_types={"where": TensorProto.INT64})
    error = refused(model, tmp_path)
    assert "'where'" in error.what
    assert "find (NonZero)" in error.why


def test_a_branch_that_the_shape_decides_is_resolved(tmp_path):
    """What torch.squeeze leaves behind: `if the size is 1, squeeze`."""

    def branch(op, output):
        infos = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
        return helper.make_graph([helper.make_node(op, ["x"], [output])], op, [], infos)

    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=0, end=1),
        helper.make_node("Equal", ["s", "one"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("Squeeze", "a"), else_branch=branch("Identity", "b")),
    ]
    source = saved(model_of(nodes, {"x": ["n", 4]}, {"y": None}, {"one": np.array([1])}), tmp_path)
    one = ingested(source, tmp_path, shapes=(("x", (1, 4)),))
    assert one.document("ingest.json")["ops"] == {"Squeeze": 1}
    assert one.document("ingest.json")["branches_resolved"] == 1
    assert one.contract.outputs[0].shape == (4,)
    assert ingested(source, tmp_path, shapes=(("x", (2, 4)),)).contract.outputs[0].shape == (2, 4)
