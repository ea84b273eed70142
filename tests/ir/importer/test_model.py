import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec.errors import UnsupportedOp
from edgec.ir.importer import examine, import_model
from edgec.ir.reference import execute
from tests.ir.importer.comparison import agree, labels, model_of, node

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def with_input(of, shape=(2, 3)):
    """A model that reads an input of an ONNX type."""
    info = helper.make_tensor_value_info("x", of, shape)
    output = helper.make_empty_tensor_value_info("y")
    graph = helper.make_graph([node("Identity", ["x"])], "g", [info], [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def refused(model):
    """(place, operator, reason, remedy) of everything that is refused."""
    return [(item.node, item.op, item.reason, item.remedy) for item in examine(model)]


INPUTS = [
    (TensorProto.DOUBLE, "it is float64", "float32"),
    (TensorProto.FLOAT16, "it is float16", "float32"),
    (TensorProto.BFLOAT16, "it is bfloat16", "float32"),
    (TensorProto.COMPLEX64, "it is complex64", "float32"),
    (TensorProto.UINT32, "it is uint32", "int32"),
    (TensorProto.INT4, "it is int4", "int8"),
    (TensorProto.STRING, "it holds strings", "tokenizer"),
]


@pytest.mark.parametrize(("of", "reason", "remedy"), INPUTS)
def test_inputs_of_other_dtypes_are_refused(of, reason, remedy):
    ((place, op, why, what_to_do),) = refused(with_input(of))
    assert (place, op, why) == ("x", "input", reason)
    assert remedy in what_to_do


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_float32_stands_for_inputs_and_outputs_of_other_floats(dtype):
    """As ingest writes a model that was in half or double precision: with a Cast at the border."""
    of = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        node("Sqrt", ["wide"], ["root"]),
        node("Cast", ["root"], ["y"], to=of),
    ]
    graph = import_model(model_of(nodes, {"x": X.astype(dtype)}))
    assert graph.type("x").dtype == graph.type("y").dtype == "float32"
    np.testing.assert_array_equal(execute(graph, {"x": X})["y"], np.sqrt(X))


def test_float32_does_not_stand_for_other_floats_that_the_model_computes_with():
    nodes = [
        node("Cast", ["x"], ["narrow"], to=TensorProto.FLOAT16),
        node("Cast", ["narrow"], ["y"], to=TensorProto.FLOAT),
    ]
    for outputs in (("y",), ("narrow", "y")):
        assert [item[:2] for item in refused(model_of(nodes, {"x": X}, outputs=outputs))] == [("Cast_0", "Cast")]
    passed_on = model_of(nodes[1:], {"narrow": X.astype(np.float16)}, outputs=("narrow", "y"))
    assert [item[:3] for item in refused(passed_on)] == [("narrow", "input", "it is float16")]


@pytest.mark.parametrize("of", ["FLOAT", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL"])
def test_inputs_of_these_dtypes_are_taken(of):
    assert not examine(with_input(getattr(TensorProto, of)))


def test_open_dimensions_are_refused_with_the_flag_that_fixes_them():
    for shape in (["batch", 3], [None, 3], None):
        ((place, op, reason, remedy),) = refused(with_input(TensorProto.FLOAT, shape))
        assert (place, op, reason) == ("x", "input", "its shape is not fixed")
        assert "--shape x=" in remedy


def test_inputs_and_results_without_elements_are_refused():
    ((place, op, reason, _),) = refused(with_input(TensorProto.FLOAT, (2, 0)))
    assert (place, op) == ("x", "input") and "no elements" in reason
    nothing = node("Slice", ["x", "s", "s"])
    ((place, op, reason, _),) = refused(model_of(nothing, {"x": X}, {"s": np.array([1])}))
    assert (place, op) == ("y", "output") and "no elements" in reason


@pytest.mark.parametrize("form", ["sequence", "optional"])
def test_inputs_that_are_no_tensors_are_refused(form):
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, (2, 3))
    of = getattr(helper, f"make_{form}_type_proto")(tensor)
    model = with_input(TensorProto.FLOAT)
    model.graph.input[0].type.CopyFrom(of)
    ((place, op, reason, _),) = refused(model)
    assert (place, op, reason) == ("x", "input", f"it is no tensor, but {form}")


def test_a_model_without_nodes_or_outputs_is_refused():
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1,))
    empty = helper.make_model(helper.make_graph([], "g", [info], [info]))
    assert [item.reason for item in examine(empty)] == ["it has no nodes"]
    silent = helper.make_model(helper.make_graph([node("Relu", ["x"])], "g", [info], []))
    assert [item.reason for item in examine(silent)] == ["it has no outputs"]


def branch(name):
    return helper.make_graph(
        [node("Identity", ["x"], [name])], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 3))]
    )


def test_control_flow_is_named_with_what_to_do():
    conditional = node("If", ["c"], then_branch=branch("a"), else_branch=branch("b"))
    ((place, op, _, remedy),) = refused(model_of(conditional, {"x": X, "c": np.array(True)}))
    assert (place, op) == ("If_0", "If") and "--shape" in remedy


def test_everything_that_is_wrong_is_told_at_once():
    nodes = [
        node("Bernoulli", ["x"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Det", ["square"], ["d"]),
        node("TopK", ["b", "k"], ["v", "i"]),
        node("FusedConv", ["v"], ["f"], domain="com.microsoft"),
    ]
    model = model_of(nodes, {"x": X, "square": X[:, :2], "z": X.astype(np.uint32)}, {"k": np.array([9])}, ["d", "v"])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert [(item.node, item.op) for item in examine(model)] == [
        ("z", "input"),
        ("Bernoulli_0", "Bernoulli"),
        ("Det_2", "Det"),
        ("TopK_3", "TopK"),
        ("FusedConv_4", "com.microsoft.FusedConv"),
    ]


def test_the_error_names_nodes_reasons_and_remedies():
    with pytest.raises(UnsupportedOp) as caught:
        import_model(model_of([node("Det", ["x"])], {"x": X[:, :2]}))
    error = caught.value
    assert error.what == "The model can't be compiled as it is"
    assert error.why == "node 'Det_0' (Det): there is no rule for this operator"
    assert "--backend" in error.fix


def test_a_refused_node_without_a_name_is_called_by_its_result():
    bare = helper.make_node("Det", ["x"], ["y"])
    model = model_of(bare, {"x": X[:, :2]})
    model.graph.node[0].name = ""
    assert examine(model)[0].node == "y"


def test_numbers_in_between_of_other_dtypes_are_refused_at_the_node_that_makes_them():
    nodes = [
        node("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        node("Exp", ["wide"], ["e"]),
        node("Cast", ["e"], ["y"], to=TensorProto.FLOAT),
    ]
    ((place, op, reason, _),) = refused(model_of(nodes, {"x": X}))
    assert (place, op) == ("Cast_0", "Cast") and "float64" in reason


def test_constants_of_other_dtypes_may_be_computed_with():
    nodes = [node("Cast", ["wide"], ["c"], to=TensorProto.FLOAT), node("Add", ["x", "c"])]
    assert labels(agree(nodes, {"x": X}, {"wide": np.array([1.5])})) == ["add"]


def test_weights_in_float16_stay_in_float16():
    nodes = [node("Cast", ["half"], ["w"], to=TensorProto.FLOAT), node("Add", ["x", "w"])]
    graph = agree(nodes, {"x": X}, {"half": np.ones((2, 3), np.float16)})
    assert labels(graph) == ["Cast", "add"]
    assert graph.type("half").dtype == "float16"


def test_computing_in_float16_is_refused():
    nodes = [node("Add", ["half", "half"], ["h"]), node("Cast", ["x"], ["n"], to=TensorProto.FLOAT16),
             node("Add", ["h", "n"], ["s"]), node("Cast", ["s"], ["y"], to=TensorProto.FLOAT)]  # fmt: skip
    ((place, op, reason, _),) = refused(model_of(nodes, {"x": X}, {"half": np.ones(3, np.float16)}))
    assert (place, op) == ("Cast_1", "Cast") and "float16" in reason


def test_outputs_that_are_inputs_or_one_tensor_keep_their_names():
    nodes = [node("Identity", ["x"], ["a"]), node("Identity", ["a"], ["b"])]
    graph = import_model(model_of(nodes, {"x": X}, None, ["b", "a"]))
    assert graph.outputs == ("b", "a")
    assert all((data == X).all() for data in execute(graph, {"x": X}).values())


def test_an_initializer_that_is_listed_as_an_input_is_a_constant():
    model = model_of(node("Add", ["x", "c"]), {"x": X, "c": X})
    model.graph.initializer.append(numpy_helper.from_array(X, "c"))
    assert import_model(model).inputs == ("x",)


def test_the_same_model_gives_the_same_graph():
    from edgec.ir.dump import dump

    nodes = [node("Softplus", ["x"], ["a"]), node("Selu", ["a"], ["y"])]
    assert dump(import_model(model_of(nodes, {"x": X}))) == dump(import_model(model_of(nodes, {"x": X})))


def test_the_model_itself_stays_as_it_is():
    model = model_of([node("Shape", ["x"], ["s"]), node("Reshape", ["x", "s"])], {"x": X})
    before = onnx.ModelProto.FromString(model.SerializeToString())
    import_model(model)
    assert model == before


def test_tensors_may_be_called_as_the_importer_would_call_its_own():
    """An equal shape in both orders of dimensions: a mistaken tensor would not be noticed by its shape."""
    image = np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype(np.float32)
    constants = {name: np.random.default_rng(1).normal(size=(4, 4, 1, 1)).astype(np.float32) for name in ("v", "w")}
    nodes = [
        node("Conv", ["x", "v"], ["x/nhwc"]),
        node("Conv", ["x/nhwc", "w"], ["a"]),
        node("Dropout", ["a"], ["x/nhwc/nhwc", "a/nhwc"]),
        node("Conv", ["x/nhwc/nhwc", "w"], ["b"]),
        node("Where", ["a/nhwc", "b", "x"], ["y"]),
    ]
    agree(nodes, {"x": image}, constants, ("y", "x/nhwc", "a/nhwc"))
