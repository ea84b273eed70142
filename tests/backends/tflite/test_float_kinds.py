"""Every kind in float and on plain integers: what the interpreter gives is what the reference executor gives."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.backends.tflite.legal.dtypes import BINARY as BINARY_DTYPES
from edgec.backends.tflite.legal.dtypes import UNARY as UNARY_DTYPES
from edgec.backends.tflite.lowering import without_lacking
from edgec.backends.tflite.writer.elementwise import BINARY, UNARY
from edgec.ir import kinds
from edgec.ir.kinds import UNARY_FUNCTIONS, Padding2D
from edgec.ir.reference import execute
from tests.backends.tflite.operations import One, f32, tensor, weights
from tests.backends.tflite.running import legal, run

NUMBERS = ("float32", "int32", "int64", "int16", "int8", "uint8")
ROWS = np.array([[0, 1], [1, 0]], np.int32)


def constants(*data):
    return {position + 1: item for position, item in enumerate(data)}


def convolution(name, kind, x, w, bias=True):
    given = constants(weights(w), weights((w[0],), 2)) if bias else constants(weights(w))
    return One(name, kind, [f32(*x)], given)


CONV, TRANSPOSED, FULL = kinds.Conv2D, kinds.TransposeConv2D, kinds.FullyConnected
PRODUCTS = [
    convolution("conv", CONV(), (1, 6, 7, 4), (5, 3, 3, 4)),
    convolution("conv without bias", CONV(), (1, 6, 7, 4), (5, 3, 3, 4), bias=False),
    convolution("conv relu", CONV(activation="relu"), (1, 6, 7, 4), (5, 3, 3, 4)),
    convolution("conv relu6", CONV(activation="relu6"), (1, 6, 7, 4), (5, 3, 3, 4)),
    convolution("conv same", CONV(padding=Padding2D(1, 1, 1, 1)), (1, 6, 7, 4), (5, 3, 3, 4)),
    convolution("conv stride, no SAME", CONV((2, 2), padding=Padding2D(1, 1, 1, 1)), (1, 6, 6, 4), (5, 3, 3, 4)),
    convolution("conv one side", CONV(padding=Padding2D(0, 2, 1, 0)), (1, 6, 6, 4), (5, 3, 3, 4)),
    convolution("conv dilated", CONV(dilation=(2, 1), padding=Padding2D(2, 2, 1, 1)), (2, 9, 9, 4), (5, 3, 3, 4)),
    convolution("conv dilated, strided", CONV((2, 2), (2, 2)), (1, 9, 9, 4), (5, 3, 3, 4)),
    convolution("conv groups", CONV(groups=2, padding=Padding2D(1, 1, 1, 1)), (1, 6, 7, 4), (6, 3, 3, 2)),
    convolution("conv of a row", CONV(stride=(1, 2)), (1, 1, 9, 4), (5, 1, 3, 4)),
    convolution("depthwise", CONV(groups=4), (1, 6, 7, 4), (4, 3, 3, 1)),
    convolution("depthwise, twice as many", CONV((2, 2), groups=4), (1, 6, 7, 4), (8, 3, 3, 1)),
    convolution("depthwise dilated", CONV(dilation=(2, 2), groups=4), (1, 9, 9, 4), (4, 3, 3, 1)),
    convolution("transposed", TRANSPOSED((2, 2)), (1, 5, 4, 3), (6, 2, 2, 3)),
    convolution("transposed without bias", TRANSPOSED((2, 2)), (2, 5, 4, 3), (6, 2, 2, 3), bias=False),
    convolution("transposed overlapping", TRANSPOSED((2, 2)), (1, 5, 4, 3), (6, 3, 3, 3)),
    convolution("transposed apart", TRANSPOSED((3, 3)), (1, 5, 4, 3), (6, 2, 2, 3)),
    convolution("transposed relu", TRANSPOSED((2, 2), activation="relu"), (1, 5, 4, 3), (6, 2, 2, 3)),
    convolution("transposed same", TRANSPOSED((2, 2), padding=Padding2D(0, 1, 0, 1)), (1, 5, 4, 3), (6, 3, 3, 3)),
    convolution("transposed k4", TRANSPOSED((2, 2), padding=Padding2D(1, 1, 1, 1)), (1, 5, 4, 3), (6, 4, 4, 3)),
    convolution("transposed cropped", TRANSPOSED((2, 2), padding=Padding2D(1, 1, 1, 1)), (1, 5, 4, 3), (6, 3, 3, 3)),
    convolution(
        "transposed, more rows",
        TRANSPOSED((2, 2), padding=Padding2D(1, 1, 1, 1), output_padding=(1, 1)),
        (1, 5, 4, 3),
        (6, 3, 3, 3),
    ),
    convolution("transposed, rows of none", TRANSPOSED((3, 3), output_padding=(2, 1)), (1, 4, 4, 3), (6, 2, 2, 3)),
    convolution("transposed groups", TRANSPOSED((2, 2), groups=2), (1, 5, 4, 4), (6, 2, 2, 2)),
    convolution("transposed dilated", TRANSPOSED((2, 2), dilation=(2, 3)), (1, 5, 4, 3), (6, 2, 3, 3)),
    *(
        convolution(f"full, rank {len(x)}", FULL(), x, (5, 7))
        for x in ((7,), (3, 7), (2, 3, 7), (2, 1, 3, 7), (1, 2) * 3 + (7,))
    ),
    convolution("full relu", FULL(activation="relu"), (3, 7), (5, 7), bias=False),
    *(
        One(f"matrices {a} {b}", kinds.BatchMatMul(), [f32(*a), f32(*b)])
        for a, b in (
            ((3, 4), (4, 5)),
            ((2, 3, 4), (4, 5)),
            ((2, 1, 3, 4), (1, 2, 4, 5)),
            ((1, 2, 2, 3, 4), (1, 2, 2, 4, 5)),
            ((1, 2, 1, 2, 3, 4), (2, 2, 2, 2, 4, 5)),
        )
    ),
    One("matrices turned", kinds.BatchMatMul(True, True), [f32(2, 4, 3), f32(2, 5, 4)]),
    One("matrices of integers", kinds.BatchMatMul(), [tensor((2, 3, 4), "int32"), tensor((4, 5), "int32")]),
    One("matrices of bytes", kinds.BatchMatMul(), [tensor((3, 4), "int8"), tensor((4, 5), "int8")], low=-2, high=2),
]

IMAGE = f32(1, 6, 7, 3)
WINDOWS = [
    One("max pool", kinds.MaxPool2D((2, 2), (2, 2)), [IMAGE]),
    One("max pool same", kinds.MaxPool2D((3, 3), (2, 2), padding=Padding2D(0, 1, 1, 1)), [IMAGE]),
    One("max pool padded", kinds.MaxPool2D((3, 3), (2, 2), padding=Padding2D(1, 1, 1, 1)), [IMAGE], low=-9, high=-1),
    One("max pool dilated", kinds.MaxPool2D((2, 3), (1, 2), (2, 2), Padding2D(1, 1, 1, 1)), [IMAGE], low=-9, high=-1),
    One("max pool of bytes", kinds.MaxPool2D((2, 2), (2, 2)), [tensor((1, 4, 4, 3), "int8")]),
    One("average pool", kinds.AveragePool2D((2, 2), (2, 2)), [IMAGE]),
    One("average pool same", kinds.AveragePool2D((3, 3), (1, 1), Padding2D(1, 1, 1, 1)), [IMAGE]),
    One("average pool padded", kinds.AveragePool2D((3, 3), (2, 2), Padding2D(1, 2, 1, 1)), [IMAGE]),
    *(
        One(f"{kind.__name__} {size} {aligned}{centers}", kind(size, aligned, centers), [f32(1, 4, 5, 3)])
        for kind in (kinds.ResizeBilinear, kinds.ResizeNearest)
        for aligned, centers in ((False, False), (False, True), (True, False))
        for size in ((8, 10), (3, 2), (7, 5), (1, 1))
    ),
]


def _unary():
    positive = {"log": (0.1, 5.0), "sqrt": (0.1, 5.0), "rsqrt": (0.1, 5.0), "reciprocal": (0.2, 3.0)}
    for function in sorted(UNARY_FUNCTIONS):
        low, high = positive.get(function, (-3.0, 3.0))
        dtypes = ("bool",) if function == "logical_not" else UNARY_DTYPES.get(function, {"float32"})
        for dtype in sorted(dtypes):
            yield One(f"{function} {dtype}", kinds.Unary(function), [tensor((2, 3, 4), dtype)], low=low, high=high)


def _binary():
    for function in sorted(BINARY):
        if function.startswith("logical"):
            dtypes: tuple[str, ...] = ("bool",)
        elif function == "bitwise_xor":
            dtypes = ("int32", "int8", "uint8", "int16", "bool")
        else:
            dtypes = NUMBERS
        low, high = (1.0, 5.0) if function in ("div", "floor_div", "floor_mod", "pow") else (-3.0, 3.0)
        for dtype in dtypes:
            if dtype == "uint8":
                low = max(low, 0.0)
            a, b = tensor((2, 3, 4), dtype), tensor((3, 1), dtype)
            yield One(f"{function} {dtype}", kinds.Binary(function), [a, b], low=low, high=high)


def _broadcasts():
    shapes = [
        ((2, 3, 2, 3, 2), (3, 1, 1, 2)),
        ((2, 3, 1, 3, 2, 2), (2, 3, 4, 3, 2, 2)),
        ((2, 1, 2, 1, 2, 1), (1, 3, 1, 3, 1, 3)),
        ((1, 2, 1, 2, 1, 2, 1), (2, 1, 2, 1, 2, 1, 2)),
    ]
    for function in ("add", "div", "pow", "greater", "maximum", "floor_mod"):
        for i, (a, b) in enumerate(shapes):
            yield One(f"{function} spread {i}", kinds.Binary(function), [f32(*a), f32(*b)], low=0.5, high=3.0)
    for i, (a, b) in enumerate(shapes):
        condition, choice = tensor(a, "bool"), f32(*b)
        yield One(f"select spread {i}", kinds.Select(), [condition, choice, f32(*b)])


INF = float("inf")
ELEMENTWISE = [
    *_unary(),
    *_binary(),
    *_broadcasts(),
    *(One(f"xor of truth {f}", kinds.Binary(f), [tensor((2, 3), "bool")] * 2) for f in ("logical_xor", "bitwise_or")),
    One("add relu", kinds.Binary("add", "relu"), [f32(2, 3), f32(3)]),
    One("maximum relu6", kinds.Binary("maximum", "relu6"), [f32(2, 3), f32(3)], high=9.0),
    One("hard sigmoid", kinds.HardSigmoid(0.2, 0.5), [f32(2, 3, 4)], low=-6, high=6),
    One("leaky relu", kinds.LeakyRelu(0.1), [f32(2, 3, 4)]),
    *(
        One(f"prelu {s}", kinds.PRelu(), [f32(1, 2, 3, 4)], constants(np.abs(weights(s)) + 0.1))
        for s in ((4,), (1, 1, 4), (2, 3, 4), (1,), (3, 1), ())
    ),
    One("prelu, five dimensions", kinds.PRelu(), [f32(1, 2, 3, 2, 2)], constants(np.abs(weights((3, 1, 1))))),
    One("prelu computed", kinds.PRelu(), [f32(2, 3, 4), f32(1, 4)]),
    *(
        One(f"clip {low} {high}", kinds.Clip(low, high), [f32(3, 4)], low=-9, high=9)
        for low, high in ((0.0, 6.0), (0.0, INF), (-1.0, 1.0), (-INF, 2.0), (-2.0, INF), (-INF, INF))
    ),
    One("clip of integers", kinds.Clip(-2.0, 2.0), [tensor((3, 4), "int32")]),
    *(
        One(f"select {dtype}", kinds.Select(), [tensor((2, 1), "bool"), tensor((2, 3), dtype), tensor((3,), dtype)])
        for dtype in (*NUMBERS, "bool")
    ),
    *(
        One(f"cast {a} {b}", kinds.Cast(b), [tensor((2, 3), a)], low=0 if b == "uint8" else -3)
        for a in (*NUMBERS, "bool")
        for b in (*NUMBERS, "bool")
        if a != b
    ),
]

MANY = (2, 3, 2, 3, 2, 2, 2)


def _moved(dtype):
    for rank in (2, 4, 5, 6, 7):
        shape = MANY[:rank]
        x = tensor(shape, dtype)
        name = f"{dtype} rank {rank}"
        yield One(f"concat {name}", kinds.Concat(rank - 1), [x, x])
        parts = [tensor((1, *shape[1:]), dtype)] * 2
        yield One(f"split {name}", kinds.Split(0, (1, 1)), [x], results=parts)
        uneven = [tensor((2, size, *shape[2:]), dtype) for size in (1, 2)]
        yield One(f"split uneven {name}", kinds.Split(1, (1, 2)), [x], results=uneven)
        yield One(f"slice {name}", kinds.Slice((0, 1) + (0,) * (rank - 2), shape, (1,) * rank), [x])
        yield One(f"slice all {name}", kinds.Slice((1,) * rank, shape, (1,) * rank), [x])
        yield One(f"slice strided {name}", kinds.Slice((0,) * rank, shape, (2,) * rank), [x])
        back = kinds.Slice(tuple(size - 1 for size in shape), (-1,) * rank, (-1,) * rank)
        yield One(f"slice back {name}", back, [x])
        yield One(f"pad {name}", kinds.Pad((1,) * rank, (0,) * rank), [x])
        yield One(f"pad value {name}", kinds.Pad((0, 1) + (0,) * (rank - 2), (1,) * rank, value=1.0), [x])
        yield One(f"pad reflect {name}", kinds.Pad((1,) * rank, (0,) * rank, "reflect"), [x])
        yield One(f"pad symmetric {name}", kinds.Pad((1,) * rank, (1,) * rank, "symmetric"), [x])
        yield One(f"pad edge {name}", kinds.Pad((2,) * rank, (1,) * rank, "edge"), [x])
        yield One(f"gather {name}", kinds.Gather(1), [x], constants(np.array([2, 0], np.int32)))
        yield One(f"tile {name}", kinds.Tile((2,) * rank), [x])
        yield One(f"spread {name}", kinds.BroadcastTo((4, *shape)), [tensor((1, *shape[1:]), dtype)])
        yield One(f"reverse {name}", kinds.Reverse((0, 1)), [x])
        turned = tuple(range(rank))[::-1] if rank <= 6 else (1, 2, 3, 0, 4, 5, 6)
        yield One(f"transpose {name}", kinds.Transpose(turned), [x])
    x = tensor((2, 3), dtype)
    yield One(f"reshape {dtype}", kinds.Reshape((3, 2)), [x])
    yield One(f"reshape to nine dimensions {dtype}", kinds.Reshape((1,) * 7 + (3, 2)), [x])
    yield One(f"reshape to a scalar {dtype}", kinds.Reshape(()), [tensor((1, 1), dtype)])
    yield One(f"gather by long {dtype}", kinds.Gather(0), [x], constants(np.array([1, 0])))
    yield One(f"gather one {dtype}", kinds.Gather(0), [x], constants(np.array(1, np.int32)))
    yield One(f"gather by batch {dtype}", kinds.Gather(1, 1), [tensor((2, 3, 2), dtype)], constants(ROWS))
    yield One(f"gather nd {dtype}", kinds.GatherND(), [x], constants(ROWS))
    yield One(f"scatter {dtype}", kinds.ScatterND(), [x, tensor((2,), dtype)], constants(ROWS))
    yield One(f"scatter by long {dtype}", kinds.ScatterND(), [x, tensor((2,), dtype)], constants(ROWS.astype(np.int64)))
    image = tensor((1, 4, 6, 8), dtype)
    yield One(f"depth to space {dtype}", kinds.DepthToSpace(2), [image])
    yield One(f"space to depth {dtype}", kinds.SpaceToDepth(2), [image])
    if dtype != "bool":
        on, off = tensor((), dtype), tensor((), dtype)
        yield One(f"one hot {dtype}", kinds.OneHot(4, 1), [on, off], {0: np.array([0, 3, 5], np.int64)})


MOVEMENT = [item for dtype in (*NUMBERS, "bool") for item in _moved(dtype)]

RELATED = [
    *(One(f"softmax, rank {r}", kinds.Softmax(), [f32(*MANY[: r - 1], 7)]) for r in range(1, 7)),
    *(One(f"log softmax, rank {r}", kinds.LogSoftmax(), [f32(*MANY[: r - 1], 7)]) for r in range(1, 7)),
    One("layer norm", kinds.LayerNorm(1, 1e-5), [f32(2, 3, 8)], constants(weights((8,)), weights((8,), 3))),
    One("layer norm of planes", kinds.LayerNorm(2, 1e-5), [f32(2, 3, 8)], constants(weights((3, 8)))),
    *(
        One(f"reduce {f} {d} {axes} {keep}", kinds.Reduce(f, axes, keep), [tensor((2, 3, 2, 3), d)], low=1, high=3)
        for f in ("mean", "sum", "max", "min", "product")
        for d in NUMBERS
        for axes, keep in (((1, 2), True), ((3,), False), ((), True))
    ),
    *(One(f"reduce {f}", kinds.Reduce(f, (1,), False), [tensor((2, 3), "bool")]) for f in ("any", "all")),
    *(
        One(f"reduce {f} {axes}, rank 7", kinds.Reduce(f, axes, keep), [f32(*MANY)], low=1, high=3)
        for f in ("mean", "sum", "max")
        for axes, keep in (((5, 6), False), ((0, 2, 3), True), ((1, 3, 5), False), ((0, 2, 4, 6), True))
    ),
    *(
        One(f"arg {f} {d} {out}", kinds.ArgReduce(f, 1, out), [tensor((2, 5, 2), d)], low=-99, high=99)
        for f in ("max", "min")
        for d in NUMBERS
        for out in ("int32", "int64")
    ),
    *(
        One(
            f"top {d}",
            kinds.TopK(2),
            [tensor((2, 5), d)],
            results=[tensor((2, 2), d), tensor((2, 2), "int32")],
            high=99,
        )
        for d in NUMBERS
    ),
    *(One(f"cumsum {d} {e}", kinds.CumSum(1, e, not e), [tensor((2, 3, 2), d)]) for d in NUMBERS for e in (0, 1)),
]

ALL = [*PRODUCTS, *WINDOWS, *ELEMENTWISE, *MOVEMENT, *RELATED]


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_the_interpreter_gives_what_the_reference_executor_gives(one):
    """Float within 2e-6 of the result's range (sums in another order), everything else to the bit."""
    graph, feeds = one.graph(), one.feeds()
    expected = execute(graph, feeds)
    found = run(legal(without_lacking(graph)), feeds)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        if array.dtype == np.float32:
            np.testing.assert_allclose(found[name], array, rtol=2e-6, atol=2e-6 * np.abs(array).max())
        else:
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("one", [*PRODUCTS, *WINDOWS], ids=lambda one: one.name)
def test_so_do_its_own_kernels_without_xnnpack(one):
    graph, feeds = one.graph(), one.feeds()
    (expected,) = execute(graph, feeds).values()
    (found,) = run(legal(graph), feeds, "builtin").values()
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6 * np.abs(expected).max())


def test_every_kind_is_there():
    """A new kind has to be tried here, or this says so."""
    tried = {type(one.kind) for one in ALL}
    missing = {kind for kind in _kinds() if kind not in tried}
    assert missing == {kinds.Quantize, kinds.Dequantize}  # test_integer_kernels.py


def _kinds():
    found = [item for item in vars(kinds).values() if isinstance(item, type) and issubclass(item, kinds.Kind)]
    return [item for item in found if item is not kinds.Kind]


def test_dtypes_are_listed_of_functions_that_are_written():
    assert set(BINARY_DTYPES) <= set(BINARY)
    assert set(UNARY_DTYPES) <= set(UNARY)


def test_all_functions_of_one_operand_are_written_or_made_up():
    made_up = UNARY_FUNCTIONS - set(UNARY)
    assert made_up == {"erf", "reciprocal", "softplus", "tan"}
