"""What kernels.py says is computed in integers: it is, within the stated steps of the reference executor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgec.backends.tflite.kernels import BINARY, LOG_SOFTMAX, REDUCE, SIGMOID, TANH, UNARY, TFLiteKernels
from edgec.ir import kinds
from edgec.ir.graph import Quantization, TensorType
from edgec.ir.kinds import Padding2D
from edgec.ir.reference import execute
from tests.backends.tflite.operations import (
    INT8,
    INT8_OTHER,
    INT8_RESULT,
    INT16,
    INT16_RESULT,
    One,
    f32,
    integer_weights,
    q8,
    q16,
    tensor,
)
from tests.backends.tflite.running import legal, run

GRIDS = {"int8": INT8, "int16": INT16}
RESULTS = {"int8": INT8_RESULT, "int16": INT16_RESULT}
ROWS = np.array([[0, 1], [1, 0]], np.int32)


def x(dtype, *shape):
    return TensorType(shape, dtype, GRIDS[dtype])


def product(name, kind, shape, w, dtype, scale, per_channel=True, bias=True):
    data, grids = integer_weights(w, GRIDS[dtype], per_channel)
    if not bias:
        del data[2], grids[2]
    grid = Quantization.per_tensor(scale, -4 if dtype == "int8" else 0)
    return One(f"{name} {dtype}", kind, [x(dtype, *shape)], data, grids, grid=grid)


def products(dtype):
    wide, narrow = (0.4, 0.05) if dtype == "int8" else (0.01, 0.001)
    conv, transposed, full = kinds.Conv2D, kinds.TransposeConv2D, kinds.FullyConnected
    border = Padding2D(1, 1, 1, 1)
    image, w = (1, 6, 7, 4), (5, 3, 3, 4)
    yield product("conv", conv(), image, w, dtype, wide)
    yield product("conv, one scale", conv(), image, w, dtype, wide, per_channel=False)
    yield product("conv without bias", conv(), image, w, dtype, wide, bias=False)
    yield product("conv relu", conv(activation="relu"), image, w, dtype, wide)
    yield product("conv relu6", conv(activation="relu6"), image, w, dtype, narrow)
    yield product("conv padded", conv((2, 2), padding=border), (1, 6, 6, 4), w, dtype, wide)
    yield product("conv same", conv(padding=border), image, w, dtype, wide)
    yield product("conv dilated", conv(dilation=(2, 2)), (1, 9, 9, 4), w, dtype, wide)
    yield product("conv groups", conv(groups=2, padding=border), image, (6, 3, 3, 2), dtype, wide)
    yield product("depthwise", conv((2, 2), groups=4, padding=border), image, (8, 3, 3, 1), dtype, wide)
    yield product("depthwise dilated", conv(dilation=(2, 2), groups=4), (1, 9, 9, 4), (4, 3, 3, 1), dtype, wide)
    yield product("transposed", transposed((2, 2)), (1, 5, 4, 3), (6, 2, 2, 3), dtype, wide)
    yield product("transposed relu6", transposed((2, 2), activation="relu6"), (1, 5, 4, 3), (6, 2, 2, 3), dtype, wide)
    cropped = transposed((2, 2), padding=border, output_padding=(1, 1))
    yield product("transposed cropped", cropped, (1, 5, 4, 3), (6, 3, 3, 3), dtype, wide)
    longer = transposed((3, 3), output_padding=(2, 1))
    yield product("transposed longer", longer, (1, 4, 4, 3), (6, 2, 2, 3), dtype, wide)
    yield product("transposed groups", transposed((2, 2), groups=2), (1, 5, 4, 4), (6, 2, 2, 2), dtype, wide)
    for shape in ((7,), (3, 7), (2, 3, 7), (2, 1, 3, 7), (1, 2, 1, 2, 1, 2, 7)):
        yield product(f"full, rank {len(shape)}", full(), shape, (5, 7), dtype, wide)
    yield product("full, one scale", full(activation="relu"), (3, 7), (5, 7), dtype, wide, per_channel=False)
    for a, b in (((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((1, 2, 2, 1, 3, 4), (1, 2, 2, 2, 4, 5))):
        grid = Quantization.per_tensor(0.5 if dtype == "int8" else 0.002, 3 if dtype == "int8" else 0)
        yield One(f"matrices {a} {dtype}", kinds.BatchMatMul(), [x(dtype, *a), x(dtype, *b)], grid=grid)


def windows(dtype):
    image, grid = x(dtype, 1, 6, 6, 3), GRIDS[dtype]
    same = Padding2D(0, 1, 0, 1)
    yield One(f"max pool {dtype}", kinds.MaxPool2D((2, 2), (2, 2)), [image], grid=grid)
    yield One(f"max pool same {dtype}", kinds.MaxPool2D((3, 3), (2, 2), padding=same), [image], grid=grid)
    padded = kinds.MaxPool2D((3, 3), (2, 2), padding=Padding2D(1, 1, 1, 1))
    yield One(f"max pool padded {dtype}", padded, [image], grid=grid, low=-6, high=-2)
    yield One(f"max pool dilated {dtype}", replace(padded, dilation=(2, 2)), [image], grid=grid, low=-6, high=-2)
    yield One(f"average pool {dtype}", kinds.AveragePool2D((2, 2), (2, 2)), [image], grid=grid)
    border = Padding2D(1, 1, 1, 1)
    yield One(f"average pool same {dtype}", kinds.AveragePool2D((3, 3), (1, 1), border), [image], grid=grid)
    for size in ((8, 10), (3, 2), (7, 5)):
        for aligned, centers in ((False, False), (False, True), (True, False)):
            name = f"{size} {aligned}{centers} {dtype}"
            yield One(f"nearest {name}", kinds.ResizeNearest(size, aligned, centers), [image], grid=grid)
            if dtype == "int8":
                yield One(f"bilinear {name}", kinds.ResizeBilinear(size, aligned, centers), [image], grid=grid)


def elementwise(dtype):
    shape, result = x(dtype, 2, 3, 4), RESULTS[dtype]
    for function in (name for name, widths in UNARY.items() if dtype in widths):
        grid = {"sigmoid": SIGMOID, "tanh": TANH}.get(function, RESULTS)[dtype]
        low, high = (0.2, 6.0) if function == "rsqrt" else (-6.0, 6.0)
        operand = q8(2, 3, 4, grid=Quantization.per_tensor(0.05, -128)) if function == "rsqrt" else shape
        yield One(f"{function} {dtype}", kinds.Unary(function), [operand], grid=grid, low=low, high=high)
    for function in (name for name, widths in BINARY.items() if dtype in widths):
        tied = function in ("maximum", "minimum")
        other = INT8_OTHER if dtype == "int8" and not tied else GRIDS[dtype]
        operands = [shape, TensorType((3, 1), dtype, other)]
        yield One(f"{function} {dtype}", kinds.Binary(function), operands, grid=GRIDS[dtype] if tied else result)
        if function in ("add", "sub", "mul"):
            yield One(f"{function} relu6 {dtype}", kinds.Binary(function, "relu6"), operands, grid=result)
        wide = [x(dtype, 2, 1, 2, 1, 2, 1), TensorType((1, 3, 1, 3, 1, 3), dtype, other)]
        yield One(f"{function} spread {dtype}", kinds.Binary(function), wide, grid=GRIDS[dtype] if tied else result)
    yield One(f"leaky relu {dtype}", kinds.LeakyRelu(0.1), [shape], grid=result)
    for limits in ((0.0, 6.0), (0.0, np.inf), (-1.0, 1.0), (-np.inf, 0.3)):
        yield One(f"clip {limits} {dtype}", kinds.Clip(*limits), [shape], grid=result)
        yield One(f"clip on its grid {limits} {dtype}", kinds.Clip(*limits), [shape], grid=GRIDS[dtype])
    choice = [tensor((2, 1, 1), "bool"), shape, x(dtype, 4)]
    yield One(f"select {dtype}", kinds.Select(), choice, results=[shape])


def slopes():
    rng = np.random.default_rng(3)
    for shape in ((4,), (1, 1, 4), (2, 3, 4), (1,), (3, 1)):
        data = rng.integers(1, 100, shape).astype(np.int8)
        grids = {1: Quantization.per_tensor(0.003, 0)}
        yield One(f"prelu {shape}", kinds.PRelu(), [q8(2, 3, 4)], {1: data}, grids, grid=INT8_RESULT)
    whole = Quantization.per_tensor(1 / 255, -128)
    for slope, offset in ((1 / 6, 0.5), (0.2, 0.5)):
        yield One(f"hard sigmoid {slope}", kinds.HardSigmoid(slope, offset), [q8(2, 30)], grid=whole, low=-6, high=6)
    further = Quantization.per_tensor(0.01, -20)
    yield One("hard sigmoid, wide", kinds.HardSigmoid(0.2, 0.5), [q8(2, 30)], grid=further, low=-6, high=6)


def movement(dtype):
    for rank in (2, 4, 6):
        shape = (2, 3, 2, 3, 2, 2)[:rank]
        a, grid, name = x(dtype, *shape), GRIDS[dtype], f"{dtype} rank {rank}"
        whole = kinds.Slice((1,) * rank, shape, (1,) * rank)
        for kind in (
            kinds.Reshape((shape[1], shape[0], *shape[2:])),
            kinds.Transpose(tuple(range(rank))[::-1]),
            whole,
            replace(whole, begin=(0,) * rank, stride=(2,) * rank),
            kinds.BroadcastTo((4, *shape)),
            kinds.Reverse((0, 1)),
            kinds.Pad((1,) * rank, (0,) * rank),
            kinds.Pad((1,) * rank, (0,) * rank, value=1.0),
            kinds.Pad((1,) * rank, (0,) * rank, "reflect"),
            kinds.Pad((2,) * rank, (0,) * rank, "edge"),
        ):
            yield One(f"{kind} {name}", kind, [a], grid=grid)
        yield One(f"concat {name}", kinds.Concat(1), [a, a], grid=grid)
        halves = [x(dtype, 1, *shape[1:])] * 2
        yield One(f"split {name}", kinds.Split(0, (1, 1)), [a], results=halves)
        gathered = {1: np.array([2, 0], np.int64)}
        yield One(f"gather {name}", kinds.Gather(1), [a], gathered, grid=grid)
    yield One(f"gather nd {dtype}", kinds.GatherND(), [x(dtype, 2, 3)], {1: ROWS}, grid=GRIDS[dtype])
    top = [x(dtype, 2, 2), tensor((2, 2), "int32")]
    yield One(f"top {dtype}", kinds.TopK(2), [x(dtype, 2, 5)], results=top)
    if dtype == "int8":
        for kind, shape in ((kinds.Tile((2, 2)), (2, 3)), (kinds.DepthToSpace(2), (1, 2, 3, 8))):
            yield One(f"{kind}", kind, [q8(*shape)], grid=INT8)
        grid = {2: Quantization.per_tensor(0.05, 3)}
        yield One("scatter", kinds.ScatterND(), [q8(2, 3)], {1: ROWS, 2: np.array([5, -7], np.int8)}, grid, grid=INT8)
        yield One("space to depth", kinds.SpaceToDepth(2), [q8(1, 4, 6, 2)], grid=INT8)


def related(dtype):
    for rank in (1, 2, 4, 6):
        shape = (2, 2, 2, 2, 2)[: rank - 1]
        yield One(f"softmax, rank {rank} {dtype}", kinds.Softmax(), [x(dtype, *shape, 7)], grid=SIGMOID[dtype])
        if dtype == "int8":
            grid = LOG_SOFTMAX[dtype]
            yield One(f"log softmax, rank {rank}", kinds.LogSoftmax(), [q8(*shape, 7)], grid=grid)
    for function in (name for name, widths in REDUCE.items() if dtype in widths):
        for axes, keep in (((1, 2), True), ((3,), False), ((), False)):
            tied = function in ("max", "min")
            grid = GRIDS[dtype] if tied else RESULTS[dtype]
            name = f"reduce {function} {axes} {dtype}"
            yield One(name, kinds.Reduce(function, axes, keep), [x(dtype, 2, 3, 2, 3)], grid=grid)
        many = (1, 3, 5) if tied else (1, 2, 5)  # one after the other, or at once
        grid = GRIDS[dtype] if tied else RESULTS[dtype]
        name = f"reduce {function} {many} {dtype}, rank 7"
        yield One(name, kinds.Reduce(function, many, False), [x(dtype, 2, 3, 2, 3, 2, 2, 2)], grid=grid)
    if dtype == "int8":
        for function in ("max", "min"):
            yield One(f"arg {function}", kinds.ArgReduce(function, 1), [q8(2, 5, 2)])
    yield One(f"quantize {dtype}", kinds.Quantize(), [f32(2, 30)], results=[x(dtype, 2, 30)])
    yield One(f"requantize {dtype}", kinds.Quantize(), [x(dtype, 2, 30)], grid=RESULTS[dtype])
    yield One(f"dequantize {dtype}", kinds.Dequantize(), [x(dtype, 2, 30)])


def _of(make, dtype):
    return list(make(dtype))


FAMILIES = (products, windows, elementwise, movement, related)
ALL = [one for dtype in GRIDS for make in FAMILIES for one in _of(make, dtype)]
ALL += [
    *slopes(),
    One("narrowed", kinds.Quantize(), [q16(2, 30)], results=[q8(2, 30)]),
    One("widened", kinds.Quantize(), [q8(2, 30)], results=[q16(2, 30)]),
    One("int16 with a zero point", kinds.Quantize(), [f32(2, 30)],
        results=[q16(2, 30, grid=Quantization.per_tensor(0.001, 99))]),
    One("int16 from a zero point", kinds.Dequantize(), [q16(2, 30, grid=Quantization.per_tensor(0.001, 99))]),
]  # fmt: skip

STEPS = {
    "average pool": {"int16": 1},
    "softmax": {"int16": 2},
    "tanh": {"int16": 2},
}
"""How far a kernel may be off where that is more than one step, in steps."""

INEXACT_REFERENCE = ("reduce sum",)
"""What TFLite's own reference kernels compute otherwise than its optimized ones: SUM of int8 takes no scale there."""


def limit(one, dtype):
    return next((steps[dtype] for name, steps in STEPS.items() if one.name.startswith(name) and dtype in steps), 1)


@pytest.mark.parametrize("kernels", ["default", "builtin", "reference"])
@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_integer_kernels_are_within_the_stated_steps(one, kernels):
    graph, feeds = one.graph(), one.feeds()
    if kernels == "reference" and one.name.startswith(INEXACT_REFERENCE):
        return
    try:
        found = run(legal(graph), feeds, kernels)
    except ValueError as error:
        if kernels == "reference" and "Didn't find op" in str(error):
            return  # that set of kernels is not complete
        raise
    for name, expected in execute(graph, feeds).items():
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
        if expected.dtype == np.float32:
            np.testing.assert_allclose(found[name], expected, rtol=1e-6)
            continue
        distance = np.abs(found[name].astype(np.int64) - expected.astype(np.int64))
        exact = graph.type(name).quantization is None
        assert distance.max() <= (0 if exact else limit(one, str(expected.dtype))), distance


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_these_are_what_it_claims(one):
    graph = one.graph()
    (operation,) = graph.operations
    inputs = tuple(graph.types_of(operation.inputs))
    if inputs[0].dtype == "float32" or isinstance(operation.kind, kinds.Dequantize):
        return
    reason = TFLiteKernels().objection(graph, operation, inputs, graph.type(operation.outputs[0]))
    assert (reason is None) == (one.name not in ("widened",)), reason


REFUSED = [
    ("one grid", One("concat", kinds.Concat(0), [q8(2, 3), q8(2, 3)], grid=INT8_RESULT)),
    ("steps of", One("sigmoid", kinds.Unary("sigmoid"), [q8(2, 3)], grid=INT8_RESULT)),
    ("no integer kernel for sqrt", One("sqrt", kinds.Unary("sqrt"), [q8(2, 3)], grid=INT8_RESULT)),
    ("no int16 kernel", One("elu", kinds.Unary("elu"), [q16(2, 3)], grid=INT16_RESULT)),
    (
        "divisor",
        One("average", kinds.AveragePool2D((3, 3), (2, 2), Padding2D(1, 2, 1, 1)), [q8(1, 6, 6, 3)], grid=INT8),
    ),
    ("LayerNorm", One("norm", kinds.LayerNorm(1, 1e-5), [q8(2, 3)], grid=INT8)),
    ("zero point of 0", One("add", kinds.Binary("add"), [q16(2), q16(2)], grid=Quantization.per_tensor(0.1, 5))),
    ("run time", One("conv", kinds.Conv2D(), [q8(1, 3, 3, 2), q8(4, 1, 1, 2)], grid=INT8_RESULT)),
    ("too many", One("mean", kinds.Reduce("mean", (1, 3, 5), True), [q8(2, 3, 2, 3, 2, 2, 2)], grid=INT8_RESULT)),
    ("slope", One("line", kinds.HardSigmoid(0.2, 0.0), [q8(2)], grid=INT8_RESULT)),
    ("not on uint8", One("relu", kinds.Unary("relu"), [tensor((2,), "uint8", INT8_OTHER)], grid=INT8_OTHER)),
]


@pytest.mark.parametrize(("words", "one"), REFUSED, ids=lambda item: item.name if isinstance(item, One) else None)
def test_what_it_does_not_compute_is_refused_in_words(words, one):
    graph = one.graph()
    (operation,) = graph.operations
    inputs = tuple(graph.types_of(operation.inputs))
    reason = TFLiteKernels().objection(graph, operation, inputs, graph.type(operation.outputs[0]))
    assert reason is not None
    if words != "one grid":
        assert words in reason


def test_a_convolution_of_symmetric_weights_only():
    data, grids = integer_weights((5, 3, 3, 4), INT8, per_channel=False)
    off = {**grids, 1: Quantization.per_tensor(grids[1].scale[0], 7)}
    graph = One("conv", kinds.Conv2D(), [q8(1, 6, 6, 4)], data, off, grid=INT8_RESULT).graph()
    (operation,) = graph.operations
    inputs = tuple(graph.types_of(operation.inputs))
    reason = TFLiteKernels().objection(graph, operation, inputs, graph.type("y0"))
    assert "symmetric" in reason
