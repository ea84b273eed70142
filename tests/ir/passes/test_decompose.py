import math

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Quantization, TensorType
from edgec.ir.kinds import Binary, Clip, HardSigmoid, LeakyRelu, Unary
from edgec.ir.passes.decompose import decompose
from edgec.ir.reference import execute
from edgec.ir.verifier import run_passes

RNG = np.random.default_rng(0)
WIDE = np.concatenate([np.linspace(-12, 12, 2001), [0.0, 1e-6, -1e-6, 100, -100]]).astype(np.float32)
X = RNG.normal(size=(2, 4, 4, 8)).astype(np.float32)

ESSENTIAL_UNARY = {"exp", "log", "sqrt", "floor", "sin", "cos", "ceil", "round"}
ESSENTIAL_BINARY = {
    "add", "sub", "mul", "div", "pow", "floor_div", "maximum", "minimum", "equal", "less", "greater",
    "less_equal", "greater_equal", "logical_and", "logical_or",
}  # fmt: skip
ESSENTIAL = (
    kinds.Cast, kinds.Concat, kinds.Gather, kinds.Reshape, kinds.Select, kinds.Slice, kinds.Tile, kinds.Transpose,
)  # fmt: skip


def few(graph, operation):
    """A backend that has the least that there are rules for."""
    kind = operation.kind
    if isinstance(kind, Unary):
        return kind.function not in ESSENTIAL_UNARY
    if isinstance(kind, Binary):
        integer_division = kind.function == "floor_div" and graph.type(operation.inputs[0]).dtype == "float32"
        return kind.function not in ESSENTIAL_BINARY or kind.activation != "none" or integer_division
    if isinstance(kind, kinds.Reduce):
        return kind.function not in ("sum", "max")
    return not isinstance(kind, ESSENTIAL)


def graph_of(kind, *feeds, constants=()):
    builder = GraphBuilder()
    names = [builder.input(f"x{i}", TensorType(data.shape, str(data.dtype))) for i, data in enumerate(feeds)]
    names += [builder.constant(f"c{i}", data) for i, data in enumerate(constants)]
    builder.add(kind, names, ["y", "z", "w"][: len(kind.sizes)] if isinstance(kind, kinds.Split) else "y")
    return builder.finish(builder.graph.operations[-1].outputs)


def check(graph, feeds, lacks, tolerance=1e-6):
    named = dict(zip(graph.inputs, feeds, strict=True))
    parts = run_passes(graph, [lambda g: decompose(g, lacks)])
    assert not any(lacks(parts, operation) for operation in parts.operations), "something is left"
    assert parts.outputs == graph.outputs
    expected, found = execute(graph, named), execute(parts, named)
    for name, data in expected.items():
        assert found[name].dtype == data.dtype
        largest = np.abs(data.astype(np.float64)).max()
        np.testing.assert_allclose(found[name], data, rtol=1e-6, atol=tolerance * max(largest, 1), err_msg=name)


FUNCTIONS = [
    "abs", "elu", "erf", "gelu", "gelu_tanh", "hard_swish", "neg", "relu", "relu6", "sigmoid", "sign",
    "softplus", "square", "tanh",
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_of_one_number_is_the_same_in_parts(function):
    graph = graph_of(Unary(function), WIDE)
    check(graph, [WIDE], few)
    check(graph, [WIDE], lambda g, operation: operation.kind == Unary(function))


@pytest.mark.parametrize("function", ["reciprocal", "rsqrt", "tan"])
def test_a_function_with_poles_is_the_same_in_parts(function):
    x = np.linspace(0.1, 1.4, 500, dtype=np.float32)
    check(graph_of(Unary(function), x), [x], few)


def test_erf_is_within_its_bound_of_the_mathematical_function():
    x = np.linspace(-6, 6, 20001).astype(np.float32)
    graph = decompose(graph_of(Unary("erf"), x), few)
    exact = np.array([math.erf(value) for value in x])
    assert np.abs(execute(graph, {"x0": x})["y"] - exact).max() <= 5e-7


def test_softplus_keeps_its_digits_where_it_is_small():
    x = np.linspace(-80, 5, 5001).astype(np.float32)
    graph = decompose(graph_of(Unary("softplus"), x), few)
    exact = np.log1p(np.exp(x.astype(np.float64)))
    np.testing.assert_allclose(execute(graph, {"x0": x})["y"], exact, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("function", ["abs", "neg", "sign", "square", "relu"])
def test_functions_of_integers_stay_exact(function, dtype):
    x = np.array([-7, -1, 0, 1, 9], dtype)
    check(graph_of(Unary(function), x), [x], few, 0)


def test_logical_functions():
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    check(graph_of(Unary("logical_not"), a), [a], few, 0)
    check(graph_of(Binary("logical_xor"), a, b), [a, b], few, 0)
    check(graph_of(Binary("not_equal"), a, b), [a, b], few, 0)


def test_integer_floor_mod_has_the_sign_of_the_divisor():
    a, b = np.array([7, -7, 7, -7, 6], np.int64), np.array([3, 3, -3, -3, 3], np.int64)
    check(graph_of(Binary("floor_mod"), a, b), [a, b], few, 0)


def test_differences_and_activations():
    a, b = X, X[::-1] * 2
    check(graph_of(Binary("squared_difference"), a, b), [a, b], few)
    check(graph_of(Binary("add", "relu6"), a, b), [a, b], few)
    check(graph_of(Binary("floor_div"), a, b), [a, b], few)


@pytest.mark.parametrize("kind", [Clip(-1, 1), Clip(-math.inf, 0.5), Clip(0.25, math.inf)])
def test_limits(kind):
    check(graph_of(kind, WIDE), [WIDE], few, 0)


@pytest.mark.parametrize("alpha", [0.01, 0.5, 1.5, -0.2])
def test_leaky_relu_of_any_slope(alpha):
    check(graph_of(LeakyRelu(alpha), WIDE), [WIDE], few)
    check(graph_of(HardSigmoid(alpha, 0.5), WIDE), [WIDE], few)


def test_prelu_with_a_slope_a_channel():
    slope = np.linspace(-1, 2, 8, dtype=np.float32)
    check(graph_of(kinds.PRelu(), X, constants=[slope]), [X], few)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_layer_norm(dimensions):
    gain = RNG.normal(size=X.shape[-dimensions:]).astype(np.float32)
    kind = kinds.LayerNorm(dimensions, 1e-5)
    check(graph_of(kind, X, constants=[gain, gain + 1]), [X], few)
    check(graph_of(kind, X, constants=[gain]), [X], few)


@pytest.mark.parametrize("kind", [kinds.Softmax(), kinds.LogSoftmax()])
def test_softmax_does_not_overflow(kind):
    check(graph_of(kind, X * 100), [X * 100], few)


def test_mean():
    check(graph_of(kinds.Reduce("mean", (1, 2), False), X), [X], few)


MOVEMENT = [
    kinds.BroadcastTo((3, 2, 4, 4, 8)),
    kinds.Reverse((1, 3)),
    kinds.Pad((0, 1, 2, 0), (0, 2, 0, 0), "edge"),
    kinds.Pad((0, 1, 2, 0), (0, 2, 0, 0), "reflect"),
    kinds.Pad((0, 1, 2, 0), (0, 2, 0, 0), "symmetric"),
    kinds.Split(3, (1, 2, 5)),
    kinds.DepthToSpace(2),
    kinds.SpaceToDepth(2),
]


@pytest.mark.parametrize("kind", MOVEMENT, ids=lambda kind: f"{kind.label}-{getattr(kind, 'mode', '')}")
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_movement_stays_exact(kind, dtype):
    x = np.arange(X.size).reshape(X.shape).astype(dtype)
    check(graph_of(kind, x), [x], few, 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_hot(axis):
    indices = np.array([[0, 3, -1], [5, 2, 4]], np.int64)
    kind = kinds.OneHot(5, axis)
    check(graph_of(kind, indices, constants=[np.float32(2), np.float32(-1)]), [indices], few, 0)


INDICES = np.array([[[1, 3], [0, 2]], [[1, 0], [0, 0]]], np.int64)


def test_gather_nd_of_given_and_of_computed_indices():
    check(graph_of(kinds.GatherND(), X, constants=[INDICES]), [X], few, 0)
    check(graph_of(kinds.GatherND(), X, INDICES), [X, INDICES], few, 0)


def test_scatter_nd_of_given_indices():
    updates = RNG.normal(size=(2, 2, 4, 8)).astype(np.float32)
    graph = graph_of_scatter(updates)
    check(graph, [X, updates], few, 0)


def graph_of_scatter(updates):
    builder = GraphBuilder()
    x, new = (builder.input(n, TensorType(d.shape, "float32")) for n, d in (("x", X), ("updates", updates)))
    builder.add(kinds.ScatterND(), [x, builder.constant("indices", INDICES), new], "y")
    return builder.finish(["y"])


def test_what_has_no_rule_and_what_is_quantized_stays():
    builder = GraphBuilder()
    x = builder.input("x", TensorType((4,), "float32"))
    of = Quantization.per_tensor(0.1, 0)
    builder.add(kinds.Quantize(), [x], "q", quantization=of)
    builder.add(Unary("gelu"), ["q"], "g", quantization=of)
    builder.add(Unary("ceil"), [x], "c")
    graph = builder.finish(["g", "c"])
    assert decompose(graph, lambda g, operation: True).operations == graph.operations


def test_a_graph_that_lacks_nothing_stays_as_it_is():
    graph = graph_of(Unary("gelu"), X)
    assert decompose(graph, lambda g, operation: False).operations == graph.operations


def test_layouts_and_origins_are_kept():
    graph = graph_of(Unary("gelu"), X)
    graph.layouts = {"x0": (0, 2, 3, 1)}
    graph.operations = [type(o)(o.kind, o.inputs, o.outputs, ("node",)) for o in graph.operations]
    parts = decompose(graph, few)
    assert parts.layouts == graph.layouts
    assert {operation.origin for operation in parts.operations} == {("node",)}
