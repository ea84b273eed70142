"""Kernels on float32 give what the reference executor gives, as nearly as float32 allows; NaN and infinities likewise.

Tolerances are shares of a result's largest number. Sums of products are rounded in another order than the reference's:
each rounding is 6e-8 of a partial sum, and those of hundreds of products err by some of them (`SUMS`). What is rounded
once or twice is within `ROUNDINGS`, and what is one operation of IEEE 754, or moves, is exact.
"""

from __future__ import annotations

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.graph import Quantization
from edgec.ir.kinds import Padding2D
from tests.backends.tvm.cases import padded

pytest.importorskip("tvm")

from tests.backends.tvm.compiled import X86, runs_here
from tests.backends.tvm.float_cases import FloatCases

SUMS = 3e-6
ROUNDINGS = 1e-6
ACTIVATIONS = ("none", "relu", "relu6")
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 17, 24, 31, 40, 67)


def convolution(cases: FloatCases, groups: str) -> None:
    """One convolution of any shape. groups: "one", "depthwise", "some"."""
    rng = cases.rng
    images, height, width = (int(n) for n in (rng.integers(1, 3), rng.integers(1, 12), rng.integers(1, 20)))
    channels = int(rng.choice(CHANNELS))
    outputs = channels if groups == "depthwise" else int(rng.choice(CHANNELS))
    count = {"one": 1, "depthwise": channels, "some": int(rng.choice([2, 3]))}[groups]
    if groups == "some":
        channels, outputs = channels * count, outputs * count
    window = tuple(int(n) for n in rng.choice([1, 1, 2, 3, 5], 2))
    stride = tuple(int(n) for n in rng.integers(1, 3, 2))
    dilation = tuple(int(n) for n in rng.choice([1, 1, 1, 2], 2))
    padding = padded(rng, 2)
    reach = [(n - 1) * d + 1 for n, d in zip(window, dilation, strict=True)]
    height = max(height, reach[0] - padding.top - padding.bottom, 1)
    width = max(width, reach[1] - padding.left - padding.right, 1)
    kind = kinds.Conv2D(stride, dilation, padding, count, str(rng.choice(ACTIVATIONS)))  # type: ignore[arg-type]
    x = cases.computed((images, height, width, channels))
    operands = [x, cases.weights(outputs, *window, channels // count)]
    if rng.integers(3):
        operands.append(cases.constant((outputs,)))
    cases.case(kind, *operands, label=f"{kind} of {(images, height, width, channels)}, {window} to {outputs}")


def convolutions_of_any_shape(cases: FloatCases) -> None:
    cases.tolerance = SUMS
    for number in range(18):
        convolution(cases, ("one", "depthwise", "some")[number % 3])


def transposed_convolutions_of_any_shape(cases: FloatCases) -> None:
    cases.tolerance = SUMS
    for _ in range(5):
        rng = cases.rng
        channels, outputs = (int(rng.choice(CHANNELS)) for _ in range(2))
        window = tuple(int(n) for n in rng.integers(1, 5, 2))
        stride = tuple(int(n) for n in rng.integers(1, 4, 2))
        padding = Padding2D(*(int(rng.integers(0, size)) for size in (window[0], window[0], window[1], window[1])))
        kind = kinds.TransposeConv2D(stride, (1, 1), padding)
        x = cases.computed((2, int(rng.integers(5, 7)), int(rng.integers(5, 9)), channels))
        cases.case(kind, x, cases.weights(outputs, *window, channels), cases.constant((outputs,)))


def products_of_matrices(cases: FloatCases) -> None:
    cases.tolerance = SUMS
    for rows, depth, outputs in ((1, 5, 1), (1, 33, 200), (7, 12, 10), (30, 3, 67)):
        cases.case(kinds.FullyConnected("relu"), cases.computed((rows, depth)), cases.weights(outputs, depth))
    cases.case(kinds.FullyConnected(), cases.computed((2, 3, 4, 5)), cases.weights(6, 5), cases.constant((6,)))
    for a, b, turned in (
        ((3, 5), (5, 7), (False, False)),
        ((2, 4, 9, 13), (2, 4, 13, 9), (False, False)),
        ((2, 4, 9, 13), (4, 9, 13), (False, True)),
        ((5, 1, 13, 6), (3, 13, 20), (True, False)),
        ((7, 6), (2, 3, 9, 7), (True, True)),
    ):
        kind = kinds.BatchMatMul(*turned)
        cases.case(kind, cases.computed(a), cases.computed(b))
        cases.case(kind, cases.computed(a), cases.constant(b), label=f"{kind} of {a}, constant {b}")


def what_follows_a_product_is_computed_with_it(cases: FloatCases) -> None:
    cases.tolerance = SUMS
    for channels, groups in ((13, 1), (20, 20)):
        x, weights = cases.computed((2, 7, 9, channels)), cases.weights(channels, 3, 3, channels // groups)
        kind = kinds.Conv2D((1, 1), (1, 1), Padding2D(1, 1, 1, 1), groups, "relu6")
        made = cases.builder.add(kind, [x, weights], "product")
        gate = cases.builder.add(kinds.Unary("sigmoid"), [made], "gate")
        gated = cases.builder.add(kinds.Binary("mul"), [made, gate], "gated")
        scaled = cases.builder.add(kinds.Binary("mul"), [gated, cases.computed((2, 1, 1, channels))], "scaled")
        cases.case(kinds.Binary("add", "relu"), x, scaled, label=f"gated, scaled and added, {groups} groups")
    x = cases.computed((9, 21))
    made = cases.builder.add(kinds.FullyConnected(), [x, cases.weights(10, 21)], "product")
    cases.case(kinds.Binary("add"), made, cases.constant((10,)), label="a row is added")
    # What the caller has ends with its last channel, whatever the result's pixels have room for.
    for outputs in (1, 5, 18):
        made = cases.builder.add(kinds.FullyConnected(), [x, cases.weights(outputs, 21)], "product")
        cases.case(kinds.Binary("add"), made, cases.input((9, outputs)), label=f"{outputs} of the caller's are added")
    # Pixels of truths are longer than those of numbers.
    for groups in (1, 5):
        x = cases.computed((1, 6, 7, 5))
        made = cases.builder.add(kinds.Conv2D(groups=groups), [x, cases.weights(5, 3, 3, 5 // groups)], "product")
        cases.case(kinds.Binary("greater"), made, cases.computed((1, 4, 5, 5)), label=f"compared, {groups} groups")


def weights_that_are_stored_as_integers(cases: FloatCases) -> None:
    cases.tolerance = SUMS
    for number, (window, groups) in enumerate((((3, 3), 1), ((1, 1), 1), ((2, 1), 2), ((3, 3), 20))):
        outputs, channels = 20, 20 // groups
        integers = cases.rng.integers(-127, 128, (outputs, *window, channels)).astype(np.int8)
        count = outputs if number % 2 else 1
        scales = tuple(map(float, cases.rng.uniform(0.001, 0.01, count).astype(np.float32)))
        grid = Quantization(scales, (0,) * count, 0 if number % 2 else None)
        stored = cases.builder.constant("w", integers, grid)
        weights = cases.builder.add(kinds.Dequantize(), [stored], "weights")
        kind = kinds.Conv2D(groups=groups, activation="relu")
        x, bias = cases.computed((1, 5, 6, 20)), cases.constant((outputs,))
        cases.case(kind, x, weights, bias, label=f"{kind}, stored weights {integers.shape}")


DENORMAL = 1e-40
SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, DENORMAL, -DENORMAL, 1e38, -1e38, 1.0, -1.0, 0.5, 2.5], np.float32
)
OUT_OF_RANGE = np.array(
    [
        *(np.nan, np.inf, -np.inf, 1e30, -1e30, 3e9, -3e9, 300.7, -300.7, 7e4, 2.0**31, -(2.0**31), 5e9, -5e9),
        *(2.0**63, -(2.0**63), 1.5 * 2.0**63, 2.0**64),
    ],
    np.float32,
)
"""For integers."""

EXACT = (
    "abs", "ceil", "floor", "neg", "reciprocal", "relu", "relu6", "round", "sign", "sqrt", "square",
)  # fmt: skip


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Of all magnitudes, and special ones among them."""
    made = (rng.normal(size=shape) * np.exp(rng.uniform(-5, 5, shape))).astype(np.float32)
    flat = made.reshape(-1)
    flat[rng.choice(flat.size, min(len(SPECIAL), flat.size), replace=False)] = SPECIAL[: flat.size]
    return made


def functions_that_are_exact(cases: FloatCases) -> None:
    cases.tolerance = 0
    x = cases.computed(numbers(cases.rng, 5, 7, 9))
    for function in EXACT:
        cases.case(kinds.Unary(function), x)  # type: ignore[arg-type]
    cases.case(kinds.LeakyRelu(0.1), x)
    cases.case(kinds.Clip(-0.7, np.inf), x)
    cases.case(kinds.Clip(-0.7, 0.3), x)
    cases.case(kinds.HardSigmoid(0.2, 0.5), x)
    cases.case(kinds.PRelu(), x, cases.constant((9,)))
    a, b = cases.computed(numbers(cases.rng, 4, 1, 6, 5)), cases.computed(numbers(cases.rng, 3, 6, 5))
    for function in ("add", "sub", "mul", "div", "maximum", "minimum", "squared_difference"):
        cases.case(kinds.Binary(function, "relu" if function == "sub" else "none"), a, b)  # type: ignore[arg-type]
    for function in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
        cases.case(kinds.Binary(function), a, b)  # type: ignore[arg-type]
    chosen = cases.builder.add(kinds.Binary("less"), [a, b], "chosen")
    sum_ = cases.builder.add(kinds.Binary("add"), [a, b], "sum")
    cases.case(kinds.Select(), chosen, sum_, a, label="a sum or an operand")


def operands_broadcast(cases: FloatCases) -> None:
    cases.tolerance = 0
    for a, b in (
        ((3, 4, 5, 6), (6,)),
        ((3, 4, 5, 6), (5, 1)),
        ((3, 4, 1, 6), (3, 1, 5, 1)),
        ((2, 3), (4, 2, 1)),
        ((2, 1, 2, 3, 2, 4), (5, 2, 1, 2, 1)),
        ((7,), (1, 3, 1)),
        ((1, 9, 8, 1), (1, 9, 8, 1)),
        ((), (5,)),
        ((5000,), ()),
        ((1, 3, 3, 20), (1, 1, 1, 20)),
    ):
        cases.case(kinds.Binary("sub"), cases.computed(a), cases.computed(b))
        cases.case(kinds.Binary("sub"), cases.input(b), cases.constant(a), label=f"an input {b} and a constant {a}")


def integers_that_stand_for_themselves(cases: FloatCases) -> None:
    cases.tolerance = 0
    rng = cases.rng
    for dtype in ("int32", "int64"):
        a = cases.computed(rng.integers(-50, 50, (3, 7)).astype(dtype))
        b = cases.computed(rng.integers(-4, 5, (3, 7)).astype(dtype))
        for function in ("add", "sub", "mul", "div", "floor_div", "floor_mod", "maximum", "minimum", "equal", "less"):
            if function in ("floor_div", "floor_mod", "div"):
                b = cases.computed(rng.choice([-4, -3, -1, 1, 2, 5], (3, 7)).astype(dtype))
            cases.case(kinds.Binary(function), a, b, label=f"{function} of {dtype}")  # type: ignore[arg-type]
        for function in ("abs", "neg", "sign", "square"):
            cases.case(kinds.Unary(function), a, label=f"{function} of {dtype}")  # type: ignore[arg-type]
        cases.case(kinds.Clip(-3.0, 11.0), a, label=f"limits of {dtype}")
        cases.case(kinds.Cast("float32"), a, label=f"float32 of {dtype}")
        cases.case(kinds.Reduce("sum", (1,), True), a, label=f"sum of {dtype}")
        cases.case(kinds.CumSum(1), a, label=f"running sum of {dtype}")
    p, q = (cases.computed(rng.integers(0, 2, (2, 3, 5)).astype(bool)) for _ in range(2))
    for function in ("logical_and", "logical_or", "logical_xor", "equal"):
        cases.case(kinds.Binary(function), p, q)  # type: ignore[arg-type]
    cases.case(kinds.Unary("logical_not"), p)
    cases.case(kinds.Reduce("any", (1,), False), p)
    cases.case(kinds.Reduce("all", (2,), False), p)
    numbers = rng.uniform(-100, 100, (4, 9)).astype(np.float32)
    x = cases.computed(np.concatenate([numbers, OUT_OF_RANGE.reshape(2, 9)]))
    for dtype in ("int8", "uint8", "int16", "uint16", "int32", "int64", "bool"):
        cases.case(kinds.Cast(dtype), x, label=f"{dtype} of float32")


def normalizations(cases: FloatCases) -> None:
    cases.tolerance = 3e-6
    for shape in ((5,), (3, 4), (2, 3, 17), (2, 2, 5, 100), (1, 1001)):
        x = cases.computed((cases.numbers(*shape) * 5).astype(np.float32))
        cases.case(kinds.Softmax(), x)
        cases.case(kinds.LogSoftmax(), x)
    masked = np.where(np.arange(20) % 3 == 0, -np.inf, cases.numbers(4, 20)).astype(np.float32)
    masked[2] = -np.inf
    masked[3, 7] = np.nan
    cases.case(kinds.Softmax(), cases.computed(masked), label="masked")
    for shape, dimensions in (((3, 7), 1), ((2, 4, 48), 1), ((2, 3, 5, 6), 2), ((2, 3, 5, 6), 3)):
        x, gain = cases.computed(shape), cases.constant(shape[-dimensions:])
        cases.case(kinds.LayerNorm(dimensions, 1e-5), x, gain, cases.constant(shape[-dimensions:]))
        cases.case(kinds.LayerNorm(dimensions, 1e-5), x, gain)


def pooling_and_resizing(cases: FloatCases) -> None:
    cases.tolerance = ROUNDINGS
    for channels, kernel, stride, padding in (
        (3, (2, 2), (2, 2), Padding2D()),
        (20, (3, 3), (2, 2), Padding2D(1, 1, 1, 1)),
        (67, (5, 1), (1, 2), Padding2D(2, 2, 0, 0)),
        (100, (3, 2), (1, 1), Padding2D(0, 1, 1, 0)),
    ):
        x = cases.computed((2, 9, 11, channels))
        cases.case(kinds.MaxPool2D(kernel, stride, (1, 1), padding), x)
        cases.case(kinds.AveragePool2D(kernel, stride, padding), x)
    cases.case(kinds.MaxPool2D((2, 2), (1, 1), (2, 3), Padding2D(1, 1, 1, 1)), x)
    odd = cases.numbers(1, 6, 6, 5)
    odd[0, 2, 2, 1], odd[0, 3, 3, 2] = np.nan, -np.inf
    cases.case(kinds.MaxPool2D((2, 2), (2, 2)), cases.computed(odd), label="largest, of NaN too")
    for size, align, half in (((13, 7), False, True), ((4, 20), True, False), ((12, 12), False, False)):
        cases.case(kinds.ResizeBilinear(size, align, half), cases.computed((2, 6, 5, 11)))


def reductions_over_any_axes(cases: FloatCases) -> None:
    cases.tolerance = SUMS
    x = cases.computed((2, 5, 9, 21))
    for axes in ((0,), (1, 2), (3,), (1, 3), (0, 1, 2, 3), (2, 3), (0, 2)):
        for function in ("mean", "sum", "max", "min"):
            cases.case(kinds.Reduce(function, axes, bool(len(axes) % 2)), x)  # type: ignore[arg-type]
        cases.case(kinds.Reduce("product", axes[:1], True), x)
    for shape, axes in (((7,), (0,)), ((4, 30), (0,)), ((4, 300), (1,)), ((2, 3, 4, 5, 6), (1, 4))):
        cases.case(kinds.Reduce("sum", axes, False), cases.computed(shape))
        cases.case(kinds.Reduce("max", axes, False), cases.computed(shape))
    odd = cases.numbers(3, 40)
    odd[1, 17] = np.nan
    for function in ("sum", "max", "min"):
        cases.case(kinds.Reduce(function, (1,), False), cases.computed(odd), label=f"{function}, of NaN too")  # type: ignore[arg-type]


def positions_and_running_sums(cases: FloatCases) -> None:
    cases.tolerance = SUMS
    data = cases.rng.integers(-4, 5, (2, 5, 6, 21)).astype(np.float32)  # equal ones: the first counts
    data[0, 2, 3, 5] = np.nan
    x, y = cases.computed(data), cases.computed(data.shape)
    for axis in range(4):
        for function in ("max", "min"):
            cases.case(kinds.ArgReduce(function, axis), x)  # type: ignore[arg-type]
        cases.case(kinds.CumSum(axis, bool(axis % 2), axis > 1), y)
    cases.case(kinds.ArgReduce("max", 0, "int32"), cases.computed((9,)))


WRITERS = (
    convolutions_of_any_shape,
    transposed_convolutions_of_any_shape,
    products_of_matrices,
    what_follows_a_product_is_computed_with_it,
    weights_that_are_stored_as_integers,
    functions_that_are_exact,
    operands_broadcast,
    integers_that_stand_for_themselves,
    normalizations,
    pooling_and_resizing,
    reductions_over_any_axes,
    positions_and_running_sums,
)


@pytest.mark.parametrize("isa", ["avx512_vnni", "avx2"])
def test_kernels_are_near_the_reference(tmp_path, isa):
    """With vectors of 16 and of 8, one thread and two, other random cases."""
    if not runs_here(isa):
        pytest.skip(f"this machine lacks the instructions of {isa}")
    cases = FloatCases(list(X86).index(isa))
    for write in WRITERS:
        write(cases)
    assert cases.wrong_here(tmp_path, threads=1 + (isa == "avx2"), isa=isa) == {}
