import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from edgec.errors import UnsupportedOp
from edgec.ir.importer import import_model
from edgec.ir.reference import execute
from tests.ir.importer.comparison import agree, labels, model_of, node

RNG = np.random.default_rng(2)
X = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
M = RNG.normal(size=(4, 6)).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def refusal(nodes, feeds, constants=None, outputs=("y",)):
    with pytest.raises(UnsupportedOp) as caught:
        import_model(model_of(nodes, feeds, constants, outputs))
    return str(caught.value)


# --- shapes ---


@pytest.mark.parametrize("shape", [(6, 20), (-1, 10), (0, 0, 20), (0, -1), (2, 3, 4, 5, 1)])
def test_reshape(shape):
    agree(node("Reshape", ["x", "shape"]), {"x": X}, {"shape": ints(*shape)})


def test_reshape_to_a_shape_that_is_computed_is_refused():
    text = refusal(node("Reshape", ["x", "s"]), {"x": X, "s": ints(6, 20)})
    assert "new shape is computed at run time" in text and "--shape" in text


@pytest.mark.parametrize("axis", [0, 1, 2, 4, -1])
def test_flatten(axis):
    agree(node("Flatten", ["x"], axis=axis), {"x": X})


def test_squeeze_and_unsqueeze():
    thin = X[:1, :, :1]
    agree(node("Squeeze", ["x"]), {"x": thin})
    agree(node("Squeeze", ["x", "axes"]), {"x": thin}, {"axes": ints(-2)})
    agree(node("Unsqueeze", ["x", "axes"]), {"x": X}, {"axes": ints(-1, 0, 3)})


def test_transpose():
    agree(node("Transpose", ["x"]), {"x": X})
    agree(node("Transpose", ["x"], perm=[0, 2, 3, 1]), {"x": X})


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (7, 1, 1, 1, 1), (3, 1, 1), (1,), (2, 1, 2, 3, 4, 5)])
def test_expand_spreads_both_ways(shape):
    agree(node("Expand", ["x", "shape"]), {"x": X}, {"shape": ints(*shape)})


def test_tile():
    agree(node("Tile", ["x", "repeats"]), {"x": X}, {"repeats": ints(1, 2, 1, 3)})
    assert labels(agree(node("Tile", ["x", "repeats"]), {"x": X}, {"repeats": ints(1, 1, 1, 1)})) == ["Reshape"]


def test_arithmetic_of_shapes_is_done_at_once():
    """As exporters write x.view(x.shape[0], -1, x.shape[3] // 5)."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "three"], ["last"]),
        node("Div", ["last", "five"], ["fifth"]),
        node("Unsqueeze", ["fifth", "zero"], ["tail"]),
        node("Shape", ["x"], ["batch"], start=0, end=1),
        node("Concat", ["batch", "rest", "tail"], ["target"], axis=0),
        node("Cast", ["target"], ["real"], to=TensorProto.FLOAT),
        node("Cast", ["real"], ["whole"], to=TensorProto.INT64),
        node("Reshape", ["x", "whole"]),
    ]
    constants = {"three": np.array(3), "five": np.array(5), "zero": ints(0), "rest": ints(-1)}
    assert labels(agree(nodes, {"x": X}, constants)) == ["Reshape"]


def test_outputs_that_are_constant():
    nodes = [
        node("Shape", ["x"], ["shape"], start=1, end=-1),
        node("Size", ["x"], ["size"]),
        node("EyeLike", ["m"], ["eye"], k=1),
        node("Identity", ["x"], ["y"]),
    ]
    graph = agree(nodes, {"x": X, "m": M}, None, ["shape", "size", "eye", "y"])
    assert graph.constant("shape").tolist() == [3, 4]


def test_constants_of_every_form():
    values = {"value_float": 2.5, "value_int": 3, "value_floats": [1.0, 2.0], "value_ints": [1, 2]}
    nodes = [node("Constant", [], [name], **{name: value}) for name, value in values.items()]
    nodes.append(node("Constant", [], ["value"], value=numpy_helper.from_array(M)))
    nodes.append(node("Relu", ["x"]))
    agree(nodes, {"x": X}, None, [*values, "value", "y"])


def test_constant_text_is_refused():
    text = refusal([node("Constant", [], ["s"], value_string="a"), node("Relu", ["x"])], {"x": X}, None, ["y"])
    assert "its value is text" in text


def test_filled_and_counted_tensors():
    nodes = [
        node("ConstantOfShape", ["shape"], ["filled"], value=numpy_helper.from_array(np.array([7], np.int32))),
        node("ConstantOfShape", ["shape"], ["zeros"]),
        node("Range", ["start", "limit", "delta"], ["range"]),
        node("NonZero", ["some"], ["where"]),
        node("Relu", ["x"]),
    ]
    constants = {"shape": ints(2, 3), "start": np.array(10), "limit": np.array(-3), "delta": np.array(-4),
                 "some": np.array([[1, 0], [0, 3]], np.float32)}  # fmt: skip
    agree(nodes, {"x": X}, constants, ["filled", "zeros", "range", "where", "y"])


def test_a_large_filled_tensor_is_not_stored():
    nodes = [node("ConstantOfShape", ["shape"], ["filled"]), node("Add", ["x", "filled"])]
    graph = agree(nodes, {"x": np.ones((512, 1024), np.float32)}, {"shape": ints(512, 1024)})
    assert labels(graph) == ["BroadcastTo", "add"]


def test_what_depends_on_data_is_refused():
    assert "depends on values at run time" in refusal(node("NonZero", ["x"]), {"x": X})
    assert "limit is computed" in refusal(
        node("Range", ["a", "b", "c"]), {"b": np.array(5)}, {"a": np.array(0), "c": np.array(1)}
    )


# --- pieces ---


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_concat(axis):
    agree(node("Concat", ["a", "b", "a"], axis=axis), {"a": X, "b": X + 1})


def test_concat_passes_over_what_is_empty():
    nodes = [node("Concat", ["x", "nothing"], ["y"], axis=0)]
    assert labels(agree(nodes, {"x": M}, {"nothing": np.zeros((0, 6), np.float32)})) == ["Reshape"]


def test_split():
    agree(node("Split", ["x"], ["a", "b", "c"], axis=1, num_outputs=3), {"x": X}, None, ["a", "b", "c"])
    agree(node("Split", ["x", "s"], ["a", "b"], axis=-1), {"x": X}, {"s": ints(1, 4)}, ["a", "b"])
    agree(node("Split", ["x"], ["a", "b", "c"], axis=3, num_outputs=3), {"x": X}, None, ["a", "b", "c"])
    agree(node("Split", ["x", "s"], ["a", "b", "c"], axis=1), {"x": X}, {"s": ints(1, 0, 2)}, ["a", "c"])
    agree(node("Split", ["x", "s"], ["a", "b"], axis=1), {"x": X}, {"s": ints(0, 3)}, ["b"])


SLICES = [
    ([1], [3], [2], None),
    ([-3], [-1], [-1], None),
    ([0, 1], [2**40, 3], [0, 3], None),
    ([-1], [-(2**40)], [3], [-1]),
    ([3, 4], [0, 1], [2, 3], [-1, -2]),
    ([0], [5], [3], [2]),
]


@pytest.mark.parametrize(("starts", "ends", "axes", "steps"), SLICES)
def test_slice(starts, ends, axes, steps):
    constants = {"starts": ints(*starts), "ends": ints(*ends), "axes": ints(*axes)}
    names = ["x", "starts", "ends", "axes"]
    if steps:
        constants["steps"] = ints(*steps)
        names.append("steps")
    agree(node("Slice", names), {"x": X}, constants)


def test_a_slice_of_all_is_nothing():
    graph = agree(node("Slice", ["x", "s", "e"]), {"x": M}, {"s": ints(0, 0), "e": ints(4, 100)})
    assert labels(graph) == ["Reshape"]


def test_a_slice_of_nothing_is_refused():
    text = refusal(node("Slice", ["x", "s", "e"]), {"x": M}, {"s": ints(2), "e": ints(2)})
    assert "has no elements" in text


PADS = [
    ([0, 0, 1, 2, 0, 0, 3, 1], "constant", 2),
    ([0, 0, 1, 2, 0, 0, 3, 1], "reflect", None),
    ([0, 0, 1, 2, 0, 0, 3, 1], "edge", None),
    ([0, 0, 1, 2, 0, 0, 3, 1], "wrap", None),
    ([0, -1, 0, -2, 0, 0, -1, 0], "constant", None),
    ([0, -1, 2, -2, 0, 0, -1, 3], "constant", 1.5),
    ([0, 0, 0, 0, 0, 0, 0, 0], "constant", 1.0),
]


@pytest.mark.parametrize(("pads", "mode", "value"), PADS)
def test_pad(pads, mode, value):
    constants = {"pads": ints(*pads)}
    if value is not None:
        constants["value"] = np.float32(value)
    agree(node("Pad", ["x", *constants], mode=mode), {"x": X}, constants)


def test_pad_of_some_axes_and_of_integers():
    constants = {"pads": ints(1, 2, 0, 1), "value": np.array(7), "axes": ints(-1, 0)}
    agree(node("Pad", ["x", "pads", "value", "axes"]), {"x": np.arange(6).reshape(2, 3)}, constants)


# --- indices ---


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [np.array([[0, -1], [1, 2]]), np.array(-2), np.array([2, 0], np.int32)])
def test_gather(axis, indices):
    x = RNG.normal(size=(3, 4, 5)).astype(np.float32)
    agree(node("Gather", ["x", "i"], axis=axis), {"x": x, "i": indices})
    graph = agree(node("Gather", ["x", "i"], axis=axis), {"x": x}, {"i": indices})
    assert labels(graph) == ["Gather"]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements(axis):
    indices = RNG.integers(-4, 4, (4, 3))
    agree(node("GatherElements", ["x", "i"], axis=axis), {"x": M, "i": indices})
    assert labels(agree(node("GatherElements", ["x", "i"], axis=axis), {"x": M}, {"i": indices})) == ["GatherND"]


@pytest.mark.parametrize(("batch", "shape"), [(0, (2, 3)), (0, (4,)), (1, (2, 2)), (1, (2, 3, 1)), (2, (2, 3, 2))])
def test_gather_nd(batch, shape):
    indices = RNG.integers(-2, 2, shape)
    agree(node("GatherND", ["x", "i"], batch_dims=batch), {"x": X, "i": indices})
    agree(node("GatherND", ["x", "i"], batch_dims=batch), {"x": X}, {"i": indices})


def test_scatter_nd():
    indices, updates = np.array([[0, -1], [1, 2], [3, 0]]), np.array([7, 8, 9], np.float32)
    agree(node("ScatterND", ["x", "i", "u"]), {"x": M, "i": indices, "u": updates})
    agree(node("ScatterND", ["x", "i", "u"]), {"x": M, "u": updates}, {"i": indices})
    agree(node("ScatterND", ["x", "i", "u"]), {"x": M, "u": M[:2]}, {"i": np.array([[3], [-4]])})


@pytest.mark.parametrize("axis", [0, 1])
def test_scatter_elements(axis):
    indices = np.array([[0, -1, 2], [3, 0, 1]]) if axis == 0 else np.array([[0, 5, -2], [1, 2, -3]])
    feeds = {"x": M, "i": indices, "u": M[:2, :3] * 2}
    agree(node("ScatterElements", ["x", "i", "u"], axis=axis), feeds)


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_scattered_reductions_into_different_places(reduction):
    updates = np.array([7, -8, 9], np.float32)
    scatter = node("ScatterND", ["x", "i", "u"], reduction=reduction)
    agree(scatter, {"x": M, "u": updates}, {"i": np.array([[0, -1], [1, 2], [3, 0]])})
    twice = refusal(scatter, {"x": M, "u": updates}, {"i": np.array([[0, -1], [0, 5], [3, 0]])})
    assert "not all different" in twice


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
@pytest.mark.parametrize("constant", [True, False])
def test_one_hot(axis, dtype, constant):
    """Negative indices count from the end, and what is out of bounds is nowhere: ONNX Runtime has not all dtypes."""
    indices = np.array([[0, 3, -1], [-5, 5, -6]])
    places = [0, 3, 4], [0, None, None]
    expected = np.array([[[2 if place == i else -1 for i in range(5)] for place in row] for row in places], np.float32)
    values = {"v": np.array([-1, 2], np.float32)}
    feeds = {"i": indices.astype(dtype)} | ({} if constant else values)
    hot = node("OneHot", ["i", "d", "v"], axis=axis)
    graph = import_model(model_of(hot, feeds, {"d": np.array(5)} | (values if constant else {})))
    np.testing.assert_array_equal(execute(graph, feeds)["y"], np.moveaxis(expected, -1, axis))


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-2, 0, 1])
def test_trilu_also_of_infinities(upper, k):
    x = X.copy()
    x[0, 0] = -np.inf
    agree(node("Trilu", ["x", "k"], upper=upper), {"x": x}, {"k": np.array(k)})


@pytest.mark.parametrize(("time", "batch"), [(0, 1), (1, 0)])
def test_reverse_sequence(time, batch):
    lengths = ints(1, 3, 2, 4, 4, 1) if batch == 1 else ints(6, 1, 3, 5)
    agree(node("ReverseSequence", ["x", "l"], time_axis=time, batch_axis=batch), {"x": M, "l": lengths})


def test_compress():
    kept = np.array([True, False, True, True])
    agree(node("Compress", ["x", "c"], axis=0), {"x": M}, {"c": kept})
    agree(node("Compress", ["x", "c"]), {"x": M}, {"c": kept})


# --- constants that are stored small ---


def test_rearranged_weights_stay_stored_as_integers():
    """As PyTorch exports a quantized linear layer: its weights are transposed behind their DequantizeLinear."""
    constants = {
        "w": RNG.integers(-127, 127, (5, 6)).astype(np.int8),
        "scale": np.linspace(0.01, 0.02, 5, dtype=np.float32),
        "zero": np.zeros(5, np.int8),
    }
    nodes = [
        node("DequantizeLinear", ["w", "scale", "zero"], ["real"], axis=0),
        node("Transpose", ["real"], ["turned"], perm=[1, 0]),
        node("MatMul", ["x", "turned"]),
    ]
    graph = agree(nodes, {"x": M}, constants, tolerance=1e-5)
    assert labels(graph) == ["Dequantize", "FullyConnected"]
    assert graph.type(graph.operations[0].inputs[0]).dtype == "int8"


def test_scales_that_would_lie_along_several_axes_stay_where_they_are():
    constants = {
        "w": RNG.integers(-127, 127, (4, 6)).astype(np.int8),
        "scale": np.linspace(0.01, 0.02, 4, dtype=np.float32),
        "zero": np.zeros(4, np.int8),
    }
    nodes = [
        node("DequantizeLinear", ["w", "scale", "zero"], ["real"], axis=0),
        node("Reshape", ["real", "shape"], ["flat"]),
        node("Add", ["x", "flat"]),
    ]
    agree(nodes, {"x": X.reshape(5, 24)}, {**constants, "shape": ints(24)})
