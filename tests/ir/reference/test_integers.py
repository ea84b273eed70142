"""Operations on integers against ONNX Runtime's DequantizeLinear -> float operator -> QuantizeLinear.

ONNX Runtime sums in float32, the reference executor exactly. So they may differ, by one, where the exact result lies so
near to the middle between two integers that float32 can't tell which of both is nearer; nowhere else. `tie` says how
near that is, in steps of the result's grid.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Quantization, TensorType
from edgec.ir.kinds import Kind, Padding2D
from edgec.ir.reference import execute
from edgec.ir.reference.dispatch import Tensor
from edgec.ir.reference.elementwise import UNARY
from edgec.ir.reference.grid import limits, whole
from edgec.ir.reference.products import accumulated
from edgec.ir.verifier import verify
from tests.ir.reference.onnx_form import oracle

MODERATE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
U = 2.0**-24  # half a unit in the last place of a float32 between 1/2 and 1


def step(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda value: float(np.float32(value)))


def zero_point(dtype: str) -> st.SearchStrategy[int]:
    return st.integers(*limits(dtype)) if dtype == "int8" else st.just(0)


@st.composite
def grids(draw, dtype: str = "int8", low: float = 0.001, high: float = 0.2) -> tuple[str, Quantization]:
    return dtype, Quantization.per_tensor(draw(step(low, high)), draw(zero_point(dtype)))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_what_is_no_number_becomes_the_lowest_integer(dtype):
    builder = GraphBuilder()
    x = builder.input("x", TensorType((4,), "float32"))
    of = TensorType((4,), dtype, Quantization.per_tensor(0.5, 10))
    graph = builder.finish([builder.add(kinds.Quantize(), [x], "y", types=[of])])
    (found,) = execute(graph, {"x": np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)}).values()
    low, high = limits(dtype)
    assert found.tolist() == [low, high, low, 12]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64"])
def test_floats_out_of_range_become_the_integers_that_onnx_runtime_makes_of_them_on_x86(dtype):
    numbers = [np.nan, np.inf, -np.inf, 1e30, 3e9, -3e9, 300.7, -300.7, 2.0**31, -(2.0**31), 2.0**63, -(2.0**63)]
    lowest = -(2**63) if dtype == "int64" else -(2**31)
    inside = (-(2**63), 2**63) if dtype == "int64" else (-(2**31), 2**31)
    found = whole(np.array(numbers, np.float32), dtype)
    assert found.dtype == dtype
    expected = [int(np.float32(x)) if inside[0] <= x < inside[1] else lowest for x in numbers]
    assert found.tolist() == np.array(expected, np.int64).astype(dtype).tolist()


def integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    low, high = limits(dtype)
    return np.asarray(rng.integers(low, high + 1, shape)).astype(dtype)


def operation(
    kind: Kind,
    inputs: list[TensorType],
    result: tuple[str, Quantization] | None,
    constants: list[tuple[np.ndarray, Quantization]] = (),
) -> Graph:
    """A graph of one operation on x0, x1, ... and constants."""
    builder = GraphBuilder()
    names = [builder.input(f"x{i}", of) for i, of in enumerate(inputs)]
    names += [builder.constant(f"c{i}", data, quantization) for i, (data, quantization) in enumerate(constants)]
    given_type = {} if result is None else {"dtype": result[0], "quantization": result[1]}
    graph = builder.finish([builder.add(kind, names, "y", **given_type)])
    verify(graph)
    return graph


def compare(graph: Graph, feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The integers of the reference executor, and by how many ONNX Runtime's differ."""
    mine = execute(graph, feeds)["y"]
    (other,) = oracle(graph)(feeds)
    assert mine.dtype == other.dtype and mine.shape == other.shape
    return mine, np.abs(mine.astype(np.int64) - other.astype(np.int64))


def check(difference: np.ndarray, steps: np.ndarray, tie: np.ndarray | float) -> None:
    """steps: the exact results before they are rounded, float64."""
    assert difference.max(initial=0) <= 1
    from_tie = np.abs(steps - np.floor(steps) - 0.5)
    assert not difference[from_tie > tie].any()


# --- products ---


@st.composite
def products(draw) -> tuple[Kind, tuple[int, ...], tuple[int, ...]]:
    """A kind, the shape of its input and that of its weights."""
    which = draw(st.sampled_from(["conv", "depthwise", "transposed", "fully", "batch"]))
    activation = draw(st.sampled_from(["none", "relu", "relu6"]))
    small = st.integers(1, 3)
    if which == "fully":
        k = draw(st.integers(1, 300))
        return kinds.FullyConnected(activation), (draw(small), k), (draw(st.integers(1, 8)), k)
    if which == "batch":
        m, k, n = draw(st.integers(1, 6)), draw(st.integers(1, 64)), draw(st.integers(1, 6))
        turned = draw(st.tuples(st.booleans(), st.booleans()))
        a, b = ((2, k, m) if turned[0] else (2, m, k)), ((2, n, k) if turned[1] else (2, k, n))
        return kinds.BatchMatMul(*turned), a, b
    window = draw(st.tuples(small, small))
    stride, dilation = draw(st.tuples(small, small)), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    c, o = draw(st.integers(1, 6)), draw(st.integers(1, 4)) * groups
    if which == "depthwise":
        groups, c, o = o, 1, o * draw(st.integers(1, 2))
    reach = [(size - 1) * step + 1 for size, step in zip(window, dilation, strict=True)]
    pads = [draw(st.integers(0, min(2, reach[i // 2] - 1))) for i in range(4)]
    padding = Padding2D(*pads)
    image = (draw(st.integers(1, 2)), draw(st.integers(5, 9)), draw(st.integers(5, 9)), groups * c)
    weights = (o, *window, c)
    if which == "transposed":
        extra = draw(st.tuples(st.integers(0, stride[0] - 1), st.integers(0, stride[1] - 1)))
        return kinds.TransposeConv2D(stride, dilation, padding, extra, groups, activation), image, weights
    return kinds.Conv2D(stride, dilation, padding, groups, activation), image, weights


def product_graph(
    data: st.DataObject, scale: Callable[[float, float], st.SearchStrategy[float]], dtype: str, seed: int
) -> tuple[Graph, dict[str, np.ndarray], float]:
    """A product of random integers whose results spread over the result's grid; and how many products are added up."""
    kind, x_shape, w_shape = data.draw(products())
    rng = np.random.default_rng(seed)
    wide = dtype == "int16"
    x_grid = data.draw(grids(dtype)) if not wide else data.draw(grids(dtype, 1e-6, 1e-3))
    x_grid = (
        x_grid[0],
        Quantization.per_tensor(data.draw(scale(1e-3, 0.2)) / (256 if wide else 1), x_grid[1].zero_point[0]),
    )
    x = TensorType(x_shape, dtype, x_grid[1])
    terms = int(np.prod(w_shape[1:])) if not isinstance(kind, kinds.BatchMatMul) else max(w_shape[1:])
    if isinstance(kind, kinds.BatchMatMul):
        w_type = TensorType(w_shape, "int8", data.draw(grids())[1])
        w_type = TensorType(
            w_shape, "int8", Quantization.per_tensor(data.draw(scale(1e-3, 0.2)), w_type.quantization.zero_point[0])
        )
        scales = w_type.quantization.scale
    else:
        per_channel = data.draw(st.booleans())
        scales = tuple(data.draw(scale(1e-3, 0.05)) for _ in range(w_shape[0] if per_channel else 1))
    typical = 75.0 * (2**14 if wide else 75.0) * np.sqrt(terms) * x_grid[1].scale[0] * max(scales)
    share = data.draw(st.sampled_from([0.5, 2.0])) * typical / (2**15 if wide else 128)
    y_scale = float(2.0 ** np.round(np.log2(share))) if scale is power else float(np.float32(share))
    y = (dtype, Quantization.per_tensor(y_scale, data.draw(zero_point(dtype))))
    feeds = {"x0": integers(rng, x_shape, dtype)}
    if isinstance(kind, kinds.BatchMatMul):
        feeds["x1"] = integers(rng, w_shape, "int8")
        return operation(kind, [x, w_type], y), feeds, terms
    w_grid = Quantization(scales, (0,) * len(scales), 0 if per_channel else None)
    constants = [(np.maximum(integers(rng, w_shape, "int8"), -127), w_grid)]
    if data.draw(st.booleans()):
        steps = tuple(float(np.float32(x_grid[1].scale[0]) * np.float32(item)) for item in scales)
        limit = 10000 * (256 if wide else 1)
        bias = rng.integers(-limit, limit, w_shape[0]).astype(np.int32)
        constants.append((bias, Quantization(steps, w_grid.zero_point, w_grid.axis)))
    return operation(kind, [x], y, constants), feeds, terms


def power(low: float, high: float) -> st.SearchStrategy[float]:
    """Powers of two: with them float32 multiplies and divides without rounding."""
    return st.integers(int(np.ceil(np.log2(low))), int(np.floor(np.log2(high)))).map(lambda n: 2.0**n)


def exact_steps(graph: Graph, feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The exact results in steps, before they are rounded and clamped; and the sums of the products' magnitudes."""
    (item,) = graph.operations
    tensors = [Tensor(feeds[name] if name in feeds else graph.constant(name), graph.type(name)) for name in item.inputs]
    bias = tensors[2].data if len(tensors) > 2 else None
    result = graph.type("y")
    sums = accumulated(item.kind, tensors[0], tensors[1], bias, result)
    magnitudes = []
    for tensor in tensors[:2]:
        quantization = tensor.type.quantization
        offset = quantization.zero_point[0] if quantization.axis is None else 0
        magnitude = np.abs(tensor.data.astype(np.int64) - offset).astype(np.int32)
        zeros = Quantization(quantization.scale, (0,) * len(quantization.scale), quantization.axis)
        magnitudes.append(Tensor(magnitude, TensorType(tensor.type.shape, "int32", zeros)))
    sizes = accumulated(item.kind, *magnitudes, None if bias is None else np.abs(bias.astype(np.int64)), result)
    sx, sw = tensors[0].type.quantization.scale[0], np.array(tensors[1].type.quantization.scale)
    factor = np.float64(sx) * (sw if sw.size > 1 else sw[0]) / result.quantization.scale[0]
    return sums.astype(np.float64) * factor, sizes.astype(np.float64) * factor


@MODERATE
@given(data=st.data(), dtype=st.sampled_from(["int8", "int8", "int16"]), seed=st.integers(0, 2**32))
def test_products_are_exact_but_for_ties(data, dtype, seed):
    graph, feeds, terms = product_graph(data, step, dtype, seed)
    steps, sizes = exact_steps(graph, feeds)
    _, difference = compare(graph, feeds)
    check(difference, steps, (terms + 8) * U * sizes)


@MODERATE
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_products_with_scales_that_are_powers_of_two_are_exact_ties_and_all(data, seed):
    graph, feeds, _ = product_graph(data, power, "int8", seed)
    _, difference = compare(graph, feeds)
    assert not difference.any()


def test_ties_are_rare():
    """A convolution of the size of a real one: fewer than one result in 2000 differs."""
    rng = np.random.default_rng(0)
    scales = tuple(float(np.float32(item)) for item in rng.uniform(0.001, 0.01, 32))
    w = integers(rng, (32, 3, 3, 32), "int8")
    x = TensorType((1, 40, 40, 32), "int8", Quantization.per_tensor(0.0234, -11))
    kind = kinds.Conv2D(padding=Padding2D(1, 1, 1, 1), activation="relu6")
    y = ("int8", Quantization.per_tensor(0.0235, -128))
    graph = operation(kind, [x], y, [(w, Quantization(scales, (0,) * 32, 0))])
    mine, difference = compare(graph, {"x0": integers(rng, x.shape, "int8")})
    assert difference.max() <= 1
    assert np.count_nonzero(difference) < mine.size / 2000
    assert len(np.unique(mine)) > 200


def test_sums_of_32_bits_wrap_around():
    x = TensorType((1, 1), "int8", Quantization.per_tensor(1.0, 0))
    one = Quantization.per_tensor(1.0, 0)
    bias = np.array([2**31 - 1], np.int32)
    graph = operation(kinds.FullyConnected(), [x], ("int8", one), [(np.ones((1, 1), np.int8), one), (bias, one)])
    assert execute(graph, {"x0": np.array([[1]], np.int8)})["y"].tolist() == [[-128]]


def test_large_sums_are_exact_though_float32_can_not_hold_them():
    rng = np.random.default_rng(0)
    k = 70_000
    x = TensorType((1, k), "int16", Quantization.per_tensor(1.0, 0))
    w, values = integers(rng, (2, k), "int8"), integers(rng, (1, k), "int16")
    one = Quantization.per_tensor(1.0, 0)
    builder = GraphBuilder()
    names = [builder.input("x", x), builder.constant("w", w, one)]
    scale = float(np.float32(2**17))
    builder.add(kinds.FullyConnected(), names, "y", quantization=Quantization.per_tensor(scale, 0), dtype="int16")
    found = execute(builder.finish(["y"]), {"x": values})["y"]
    exact = values.astype(object) @ w.T.astype(object)
    expected = [round(float(np.float32(item) / np.float32(scale))) for item in exact[0]]
    assert found.tolist() == [expected]


def test_a_bias_of_16_bit_activations_may_be_int64():
    one = Quantization.per_tensor(1.0, 0)
    x = TensorType((1, 1), "int16", one)
    constants = [(np.ones((1, 1), np.int8), one), (np.array([-5], np.int64), None)]
    graph = operation(kinds.FullyConnected(), [x], ("int16", one), constants)
    assert execute(graph, {"x0": np.array([[9]], np.int16)})["y"].tolist() == [[4]]


# --- what computes in float32 from the real numbers: bit for bit ---


@MODERATE
@given(
    function=st.sampled_from(["add", "sub", "mul", "div", "maximum", "minimum", "squared_difference"]),
    activation=st.sampled_from(["none", "relu", "relu6"]),
    a=grids(),
    b=grids(),
    y=grids(low=0.01, high=1.0),
    shapes=st.sampled_from([((3, 4, 5), (3, 4, 5)), ((3, 4, 5), (5,)), ((3, 1, 5), (4, 1)), ((), (7,))]),
    seed=st.integers(0, 2**32),
)
def test_arithmetic_is_exact(function, activation, a, b, y, shapes, seed):
    rng = np.random.default_rng(seed)
    graph = operation(
        kinds.Binary(function, activation),
        [TensorType(shape, *grid) for shape, grid in zip(shapes, (a, b), strict=True)],
        y,
    )
    feeds = {"x0": integers(rng, shapes[0], "int8"), "x1": integers(rng, shapes[1], "int8")}
    if function == "div":  # nobody says what 0 / 0 is
        zero = b[1].zero_point[0]
        feeds["x1"] = np.where(feeds["x1"] == zero, zero + (1 if zero < 127 else -1), feeds["x1"]).astype(np.int8)
    assert not compare(graph, feeds)[1].any()


@MODERATE
@given(
    a=grids("int16", 1e-5, 1e-3), b=grids("int16", 1e-5, 1e-3), y=grids("int16", 1e-5, 1e-3), seed=st.integers(0, 2**32)
)
def test_arithmetic_of_16_bits_is_exact(a, b, y, seed):
    rng = np.random.default_rng(seed)
    for function in ("add", "mul"):
        graph = operation(kinds.Binary(function), [TensorType((40,), *a), TensorType((40,), *b)], y)
        assert not compare(graph, {name: integers(rng, (40,), "int16") for name in ("x0", "x1")})[1].any()


@MODERATE
@given(x=grids(), slope=grids(), y=grids(), seed=st.integers(0, 2**32))
def test_slopes_of_channels_are_exact(x, slope, y, seed):
    rng = np.random.default_rng(seed)
    graph = operation(kinds.PRelu(), [TensorType((1, 4, 4, 6), *x), TensorType((6,), *slope)], y)
    feeds = {"x0": integers(rng, (1, 4, 4, 6), "int8"), "x1": integers(rng, (6,), "int8")}
    assert not compare(graph, feeds)[1].any()


@MODERATE
@given(
    dtypes=st.sampled_from([("int8", "int8"), ("int8", "int16"), ("int16", "int8")]),
    data=st.data(),
    seed=st.integers(0, 2**32),
)
def test_requantizing_is_exact(dtypes, data, seed):
    x, y = (data.draw(grids(dtype)) for dtype in dtypes)
    graph = operation(kinds.Quantize(), [TensorType((300,), *x)], y)
    assert not compare(graph, {"x0": integers(np.random.default_rng(seed), (300,), x[0])})[1].any()


@MODERATE
@given(y=st.sampled_from(["int8", "int16"]).flatmap(grids), seed=st.integers(0, 2**32))
def test_quantizing_is_exact(y, seed):
    graph = operation(kinds.Quantize(), [TensorType((300,), "float32")], y)
    values = np.random.default_rng(seed).normal(scale=10, size=300).astype(np.float32)
    values[:4] = [np.inf, -np.inf, 3.4e38, 0.0]
    assert not compare(graph, {"x0": values})[1].any()


ALL = np.arange(-128, 128).astype(np.int8)
CHEAP = ["abs", "relu", "relu6", "neg", "ceil", "floor", "round", "sign", "sqrt", "square"]
COSTLY = ["sigmoid", "tanh", "exp", "erf", "elu", "gelu", "gelu_tanh", "softplus", "hard_swish", "sin", "cos"]


@MODERATE
@given(
    kind=st.one_of(
        st.sampled_from(CHEAP).map(kinds.Unary),
        step(0.0, 1.0).map(kinds.LeakyRelu),
        st.sampled_from([kinds.HardSigmoid(0.2, 0.5), kinds.HardSigmoid(1 / 6, 0.5)]),
        st.tuples(step(-4, 0), step(0, 4)).map(lambda both: kinds.Clip(*both)),
    ),
    x=grids(),
    y=grids(),
)
def test_functions_of_one_operand(kind, x, y):
    if kind == kinds.Unary("sqrt"):  # of negative numbers nobody says what it is
        x = (x[0], Quantization.per_tensor(x[1].scale[0], -128))
    _, difference = compare(operation(kind, [TensorType((256,), *x)], y), {"x0": ALL})
    real = (ALL.astype(np.float64) - x[1].zero_point[0]) * x[1].scale[0]
    made = execute(operation(kind, [TensorType((256,), "float32")], None), {"x0": real.astype(np.float32)})["y"]
    steps = made.astype(np.float64) / y[1].scale[0]
    check(difference, steps, 4 * U * (np.abs(steps) + 1 / y[1].scale[0]))


@MODERATE
@given(function=st.sampled_from(COSTLY), x=grids(low=0.005, high=0.06), y=grids(low=0.004, high=0.1))
def test_functions_of_one_operand_that_libraries_approximate(function, x, y):
    _, difference = compare(operation(kinds.Unary(function), [TensorType((256,), *x)], y), {"x0": ALL})
    real = (ALL.astype(np.float64) - x[1].zero_point[0]) * x[1].scale[0]
    steps = UNARY[function](real) / y[1].scale[0]
    check(difference, steps, 1e-5 + 4e-6 * np.abs(steps) + 1e-6 / y[1].scale[0])


@pytest.mark.parametrize("function", ["sigmoid", "tanh"])
def test_the_prescribed_grids(function):
    fixed = {"sigmoid": Quantization.per_tensor(1 / 256, -128), "tanh": Quantization.per_tensor(1 / 128, 0)}
    x = TensorType((256,), "int8", Quantization.per_tensor(0.04, 3))
    assert not compare(operation(kinds.Unary(function), [x], ("int8", fixed[function])), {"x0": ALL})[1].any()


# --- sums scaled once ---


@MODERATE
@given(
    x=grids(), y=grids(), function=st.sampled_from(["mean", "sum"]), size=st.integers(1, 9), seed=st.integers(0, 2**32)
)
def test_means_and_sums_are_exact_but_for_ties(x, y, function, size, seed):
    shape = (2, size, size, 5)
    values = integers(np.random.default_rng(seed), shape, "int8")
    if function == "sum":
        y = (y[0], Quantization.per_tensor(y[1].scale[0] * size, y[1].zero_point[0]))
    graph = operation(kinds.Reduce(function, (1, 2), True), [TensorType(shape, *x)], y)
    _, difference = compare(graph, {"x0": values})
    centred = values.astype(np.float64) - x[1].zero_point[0]
    count = size * size if function == "mean" else 1
    factor = x[1].scale[0] / y[1].scale[0] / count
    steps, sizes = (item.sum((1, 2), keepdims=True) * factor for item in (centred, np.abs(centred)))
    check(difference, steps, (size * size + 8) * U * sizes)


@MODERATE
@given(x=grids(), y=grids(), same=st.booleans(), data=st.data(), seed=st.integers(0, 2**32))
def test_average_pools_are_exact_but_for_ties(x, y, same, data, seed):
    y = x if same else y
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = Padding2D(*(data.draw(st.integers(0, kernel[i // 2] - 1)) for i in range(4)))
    kind = kinds.AveragePool2D(kernel, stride, padding)
    shape = (1, 7, 6, 3)
    values = integers(np.random.default_rng(seed), shape, "int8")
    graph = operation(kind, [TensorType(shape, *x)], y)
    _, difference = compare(graph, {"x0": values})
    scale = np.float64(x[1].scale[0]) / y[1].scale[0]
    plain = operation(kind, [TensorType(shape, "float32")], None)
    centred = (values.astype(np.int64) - x[1].zero_point[0]).astype(np.float32)
    steps, sizes = (execute(plain, {"x0": item})["y"] * scale for item in (centred, np.abs(centred)))
    check(difference, steps, (kernel[0] * kernel[1] + 8) * 2 * U * sizes)


@MODERATE
@given(
    x=grids(),
    y=grids(),
    same=st.booleans(),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    where=st.sampled_from([(False, False), (True, False), (False, True)]),
    seed=st.integers(0, 2**32),
)
def test_bilinear_resizing_is_exact_but_for_ties(x, y, same, size, where, seed):
    y = x if same else y
    kind = kinds.ResizeBilinear(size, *where)
    shape = (1, 5, 4, 3)
    values = integers(np.random.default_rng(seed), shape, "int8")
    _, difference = compare(operation(kind, [TensorType(shape, *x)], y), {"x0": values})
    centred = (values.astype(np.int64) - x[1].zero_point[0]).astype(np.float32)
    plain = operation(kind, [TensorType(shape, "float32")], None)
    steps = execute(plain, {"x0": centred})["y"].astype(np.float64) * x[1].scale[0] / y[1].scale[0]
    # positions in float32 are good to a few units of the last place, between neighbours that differ by 255 at most
    check(difference, steps, 255 * 64 * U * x[1].scale[0] / y[1].scale[0])


@MODERATE
@given(x=grids(low=0.005, high=0.2), width=st.integers(1, 1200), log=st.booleans(), seed=st.integers(0, 2**32))
def test_softmax_is_exact_but_for_ties(x, width, log, seed):
    rng = np.random.default_rng(seed)
    values = np.clip(rng.normal(scale=40, size=(2, width)), -128, 127).astype(np.int8)
    kind = kinds.LogSoftmax() if log else kinds.Softmax()
    y = Quantization.per_tensor(16 / 256, 127) if log else Quantization.per_tensor(1 / 256, -128)
    _, difference = compare(operation(kind, [TensorType((2, width), *x)], ("int8", y)), {"x0": values})
    real = (values.astype(np.float64) - x[1].zero_point[0]) * x[1].scale[0]
    powers = np.exp(real - real.max(-1, keepdims=True))
    shares = powers / powers.sum(-1, keepdims=True)
    steps = (np.log(shares) if log else shares) / y.scale[0]
    check(difference, steps, 1e-4)


def test_softmax_of_16_bits_is_within_one():
    wide = Quantization.per_tensor(2**-12, 0)
    values = integers(np.random.default_rng(0), (4, 100), "int16")
    x = TensorType((4, 100), "int16", wide)
    graph = operation(kinds.Softmax(), [x], ("int16", Quantization.per_tensor(2**-15, 0)))
    assert compare(graph, {"x0": values})[1].max() <= 1


# --- movement: integers as they are ---

MOVES = [
    kinds.MaxPool2D((2, 3), (2, 1), padding=Padding2D(1, 0, 1, 1)),
    kinds.ResizeNearest((8, 9)),
    kinds.Pad((0, 1, 2, 0), (0, 0, 1, 0), value=0.3),
    kinds.Pad((0, 1, 2, 0), (0, 0, 1, 0), "reflect"),
    kinds.Reduce("max", (1, 2), False),
    kinds.Transpose((0, 3, 1, 2)),
    kinds.Slice((0, 1, 0, 0), (1, 4, 3, 2), (1, 2, 1, 1)),
    kinds.SpaceToDepth(2),
]


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.label)
@MODERATE
@given(x=grids(), y=grids(), same=st.booleans(), seed=st.integers(0, 2**32))
def test_movement_is_exact(kind, x, y, same, seed):
    shape = (1, 4, 6, 3)
    graph = operation(kind, [TensorType(shape, *x)], x if same else y)
    assert not compare(graph, {"x0": integers(np.random.default_rng(seed), shape, "int8")})[1].any()


@MODERATE
@given(a=grids(), b=grids(), y=grids(), seed=st.integers(0, 2**32))
def test_joining_what_is_on_other_grids_is_exact(a, b, y, seed):
    rng = np.random.default_rng(seed)
    graph = operation(kinds.Concat(0), [TensorType((30,), *a), TensorType((20,), *b)], y)
    assert not compare(graph, {"x0": integers(rng, (30,), "int8"), "x1": integers(rng, (20,), "int8")})[1].any()


@given(x=grids(), seed=st.integers(0, 2**32))
@MODERATE
def test_positions_are_those_of_the_real_numbers(x, seed):
    for function in ("max", "min"):
        graph = operation(kinds.ArgReduce(function, 1), [TensorType((4, 50), *x)], None)
        assert not compare(graph, {"x0": integers(np.random.default_rng(seed), (4, 50), "int8")})[1].any()


def test_products_of_integers_with_a_float_result():
    rng = np.random.default_rng(0)
    x = TensorType((2, 30), "int8", Quantization.per_tensor(0.03, 5))
    scales = (0.01, 0.02, 0.005)
    w = (integers(rng, (3, 30), "int8"), Quantization(scales, (0, 0, 0), 0))
    builder = GraphBuilder()
    names = [builder.input("x0", x), builder.constant("w", *w)]
    builder.add(kinds.FullyConnected("relu"), names, "y", types=[TensorType((2, 3), "float32")])
    graph = builder.finish(["y"])
    verify(graph)
    feeds = {"x0": integers(rng, (2, 30), "int8")}
    np.testing.assert_allclose(execute(graph, feeds)["y"], oracle(graph)(feeds)[0], rtol=1e-5, atol=1e-5)
