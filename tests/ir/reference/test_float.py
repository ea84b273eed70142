"""Every kind in float32, and on integers that stand for nothing else, is what ONNX Runtime computes."""

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import TensorType
from edgec.ir.kinds import Padding2D
from edgec.ir.reference import execute
from edgec.ir.reference.dispatch import compute
from edgec.ir.verifier import verify
from tests.ir.reference.onnx_form import oracle

PADDED = Padding2D(1, 0, 2, 1)
IMAGE = (2, 7, 6, 4)
SIZES = [((14, 12), False), ((3, 9), False), ((14, 12), True), ((3, 9), True)]


def case(kind, *shapes, **dtypes):
    return pytest.param(kind, shapes, dtypes, id=f"{kind.label}-{'-'.join('x'.join(map(str, s)) for s in shapes)}")


ONE = [
    "abs", "ceil", "cos", "elu", "erf", "exp", "floor", "gelu", "gelu_tanh", "hard_swish", "neg",
    "reciprocal", "relu", "relu6", "round", "sigmoid", "sign", "sin", "softplus", "square", "tan", "tanh",
]  # fmt: skip
TWO = [
    "add", "sub", "mul", "div", "floor_mod", "floor_div", "maximum", "minimum", "squared_difference", "equal",
    "not_equal", "less", "less_equal", "greater", "greater_equal",
]  # fmt: skip
CASES = [
    case(kinds.Conv2D(), (1, 5, 5, 3), (4, 1, 1, 3)),
    case(kinds.Conv2D((2, 1), (1, 2), PADDED), IMAGE, (8, 3, 2, 4), (8,)),
    case(kinds.Conv2D(padding=PADDED, groups=4, activation="relu"), IMAGE, (8, 3, 3, 1)),
    case(kinds.Conv2D(groups=2, activation="relu6"), IMAGE, (6, 3, 3, 2), (6,)),
    case(kinds.TransposeConv2D((2, 3), (1, 2), PADDED), IMAGE, (5, 3, 2, 4), (5,)),
    case(kinds.TransposeConv2D((2, 2), (1, 1), Padding2D(1, 1, 1, 1), (1, 1), 2, "relu"), IMAGE, (6, 3, 3, 2)),
    case(kinds.TransposeConv2D((3, 3), output_padding=(2, 1), groups=4), IMAGE, (4, 2, 2, 1)),
    case(kinds.FullyConnected(), (3, 5), (4, 5)),
    case(kinds.FullyConnected("relu"), (2, 3, 5), (4, 5), (4,)),
    case(kinds.BatchMatMul(), (2, 1, 3, 5), (4, 5, 6)),
    case(kinds.BatchMatMul(transpose_a=True, transpose_b=True), (2, 5, 3), (2, 6, 5)),
    case(kinds.MaxPool2D((3, 2), (2, 1), (1, 2), Padding2D(1, 1, 0, 1)), IMAGE),
    case(kinds.AveragePool2D((3, 2), (2, 1), Padding2D(1, 1, 0, 1)), IMAGE),
    *(case(kinds.ResizeNearest(size, half_pixel_centers=half), IMAGE) for size, half in SIZES),
    case(kinds.ResizeNearest((13, 11), align_corners=True), IMAGE),
    *(case(kinds.ResizeBilinear(size, half_pixel_centers=half), IMAGE) for size, half in SIZES),
    case(kinds.ResizeBilinear((13, 11), align_corners=True), IMAGE),
    *(case(kinds.Unary(function), (3, 50)) for function in ONE),
    *(case(kinds.Unary(function), (3, 50), x0="positive") for function in ("log", "rsqrt", "sqrt")),
    case(kinds.Unary("logical_not"), (9,), x0="bool"),
    *(case(kinds.Binary(function), (3, 1, 5), (4, 5)) for function in TWO),
    *(case(kinds.Binary(name), (3, 50), (50,), x0="int32", x1="int32") for name in TWO if name != "floor_div"),
    *(case(kinds.Binary(f"logical_{name}"), (9,), (9,), x0="bool", x1="bool") for name in ("and", "or", "xor")),
    *(case(kinds.Binary(f"bitwise_{name}"), (9,), (9,), x0="int32", x1="int32") for name in ("and", "or", "xor")),
    case(kinds.Binary("pow"), (3, 5), (), x0="positive"),
    case(kinds.Binary("sub", "relu6"), (3, 5), (3, 5)),
    case(kinds.LeakyRelu(0.3), (3, 5)),
    case(kinds.HardSigmoid(0.2, 0.5), (3, 5)),
    case(kinds.PRelu(), IMAGE, (4,)),
    case(kinds.Clip(-0.5, 1.25), (3, 5)),
    case(kinds.Clip(-np.inf, 1.25), (3, 5)),
    case(kinds.Select(), (3, 1), (3, 5), (), x0="bool"),
    *(case(kinds.Cast(to), (3, 5)) for to in ("int32", "int64", "float16", "bool")),
    case(kinds.Cast("float32"), (3, 5), x0="int64"),
    case(kinds.Reshape((5, 3)), (3, 5)),
    case(kinds.Transpose((2, 0, 1)), (3, 4, 5)),
    case(kinds.Concat(1), (2, 3), (2, 1), (2, 4)),
    case(kinds.Split(1, (2, 1, 3)), (2, 6)),
    case(kinds.Slice((0, 5, 3), (2, -1, 4), (1, -2, 1)), (2, 6, 4)),
    case(kinds.Pad((0, 1), (2, 0), value=1.5), (2, 3)),
    case(kinds.Pad((0, 1), (1, 2), "reflect"), (2, 3)),
    case(kinds.Pad((0, 1), (1, 2), "edge"), (2, 3)),
    case(kinds.Gather(1), (2, 3, 4), (2, 2), x1="int64"),
    case(kinds.GatherND(), (2, 3, 4), (5, 2), x1="index"),
    case(kinds.ScatterND(), (2, 3, 4), (1, 2), (1, 4), x1="index"),
    case(kinds.Tile((2, 1, 3)), (2, 3, 4)),
    case(kinds.BroadcastTo((2, 3, 4)), (3, 1)),
    case(kinds.OneHot(3, 1), (2, 4), (), (), x0="int64"),
    case(kinds.Reverse((0, 2)), (2, 3, 4)),
    case(kinds.DepthToSpace(2), (2, 3, 4, 12)),
    case(kinds.SpaceToDepth(2), (2, 6, 4, 3)),
    case(kinds.Softmax(), (3, 7)),
    case(kinds.LogSoftmax(), (3, 7)),
    case(kinds.LayerNorm(2, 1e-5), (3, 4, 7), (4, 7), (4, 7)),
    case(kinds.LayerNorm(1, 1e-5), (3, 4, 7), (7,)),
    *(case(kinds.Reduce(f, (0, 2), False), (3, 4, 7)) for f in ("mean", "sum", "max", "min", "product")),
    case(kinds.Reduce("mean", (1, 2), True), (3, 4, 7)),
    *(case(kinds.Reduce(f, (1,), False), (3, 4, 7), x0="int32") for f in ("sum", "max", "min", "product")),
    *(case(kinds.Reduce(function, (1,), False), (9, 2), x0="bool") for function in ("any", "all")),
    case(kinds.ArgReduce("max", 1), (3, 4, 7)),
    case(kinds.ArgReduce("min", 2, "int32"), (3, 4, 7)),
    case(kinds.TopK(3), (3, 7)),
    *(case(kinds.CumSum(1, exclusive, reverse), (3, 7)) for exclusive in (False, True) for reverse in (False, True)),
]  # fmt: skip


def operand(rng, shape, how):
    if how == "bool":
        return rng.random(shape) < 0.5
    if how == "positive":
        return rng.uniform(0.1, 4, shape).astype(np.float32)
    if how == "index":  # distinct positions, within bounds of the first dimensions
        return rng.integers(0, 2, shape)
    if how.startswith("int"):
        values = rng.integers(0, 3, shape) if how == "int64" else rng.integers(1, 9, shape) * rng.choice([-1, 1], shape)
        return np.asarray(values).astype(how)
    return np.asarray(rng.normal(scale=2, size=shape)).astype(np.float32)


@pytest.mark.parametrize(("kind", "shapes", "dtypes"), CASES)
def test_every_kind_is_what_onnx_runtime_computes(kind, shapes, dtypes):
    rng = np.random.default_rng(1)
    feeds = {f"x{i}": operand(rng, shape, dtypes.get(f"x{i}", "float32")) for i, shape in enumerate(shapes)}
    builder = GraphBuilder()
    names = [builder.input(name, TensorType(data.shape, str(data.dtype))) for name, data in feeds.items()]
    results = [f"y{i}" for i in range({kinds.Split: 3, kinds.TopK: 2}.get(type(kind), 1))]
    builder.add(kind, names, results)
    graph = builder.finish(results)
    verify(graph)
    found = execute(graph, feeds)
    for name, expected in zip(results, oracle(graph)(feeds), strict=True):
        assert found[name].dtype == expected.dtype and found[name].shape == expected.shape
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=2e-6)


def test_no_kind_is_forgotten():
    tried = {type(item.values[0]) for item in CASES} | {kinds.Quantize, kinds.Dequantize}
    every = {item for name in kinds.__all__ if isinstance(item := getattr(kinds, name), type)}
    every = {item for item in every if issubclass(item, kinds.Kind)} - {kinds.Kind}
    assert tried == every
    assert every <= set(compute.registry)


def test_gathering_from_each_row_of_a_batch():
    builder = GraphBuilder()
    x = builder.input("x", TensorType((2, 3, 4), "float32"))
    i = builder.input("i", TensorType((2, 5), "int64"))
    graph = builder.finish([builder.add(kinds.Gather(1, batch_dims=1), [x, i], "y")])
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=(2, 3, 4)).astype(np.float32), "i": rng.integers(0, 3, (2, 5))}
    expected = np.stack([feeds["x"][row][feeds["i"][row]] for row in range(2)])
    np.testing.assert_array_equal(execute(graph, feeds)["y"], expected)


def test_values_in_between_are_kept_when_asked_for():
    builder = GraphBuilder()
    x = builder.input("x", TensorType((2,), "float32"))
    h = builder.add(kinds.Unary("neg"), [x], "h")
    graph = builder.finish([builder.add(kinds.Unary("abs"), [h], "y")])
    found = execute(graph, {"x": np.array([1, -2], np.float32)}, keep=["h"])
    assert {name: data.tolist() for name, data in found.items()} == {"y": [1, 2], "h": [-1, 2]}


@pytest.mark.parametrize("feeds", [{}, {"x": np.zeros(3, np.float32)}, {"x": np.zeros(2)}])
def test_feeds_that_do_not_fit_are_refused(feeds):
    builder = GraphBuilder()
    x = builder.input("x", TensorType((2,), "float32"))
    graph = builder.finish([builder.add(kinds.Unary("abs"), [x], "y")])
    with pytest.raises(ValueError, match="'x'"):
        execute(graph, feeds)
