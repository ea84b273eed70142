"""Any graph, any backend: what `integer_operations` makes computes the same, to the bit.

Scales are powers of two and the functions exact in float32, so that nothing is left to rounding.
"""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgec.ir import kinds
from edgec.ir.dump import dump
from edgec.ir.graph import Graph, Operation, Quantization, TensorType
from edgec.ir.passes.boundary import boundary_bytes, boundary_integers
from edgec.ir.passes.integers import float_between, integer_operations
from edgec.ir.reference import execute
from edgec.ir.verifier import verify
from tests.ir.passes.test_integers import Net, feeds_of

GRIDS = [Quantization.per_tensor(2**-4, 3), Quantization.per_tensor(2**-3, -20), Quantization.per_tensor(2**-4, 0)]
SHAPE = (1, 4, 4, 4)
SAME_SHAPE = [
    kinds.Transpose((0, 3, 1, 2)),
    kinds.Reverse((1,)),
    kinds.MaxPool2D((3, 3), (1, 1), padding=kinds.Padding2D(1, 1, 1, 1)),
    kinds.Unary("relu"),
    kinds.Unary("neg"),
    kinds.Unary("square"),
    kinds.LeakyRelu(0.25),
    kinds.Clip(-1.0, 1.5),
    kinds.CumSum(1),
]


@dataclass
class Some:
    """A backend that lacks what a draw says, and asks for one grid where elements move."""

    lacking: frozenset[str]
    tied: bool
    asked: list[str] = field(default_factory=list)

    def objection(self, graph: Graph, operation: Operation, inputs, output) -> str | None:
        if operation.kind.label in self.lacking:
            return "it is lacking"
        if self.tied and isinstance(operation.kind, kinds.Concat | kinds.Transpose | kinds.MaxPool2D):
            assert {of.quantization for of in inputs} == {output.quantization}
        return None


@st.composite
def graphs(draw) -> Graph:
    net = Net()
    reals = [net.real("x", *SHAPE), net.real("z", *SHAPE)]
    integers: list[str] = []
    for number in range(draw(st.integers(3, 14))):
        name = f"v{number}"
        what = draw(
            st.sampled_from(
                ["q", "q", "q_dq", "q_dq", "again", "dq", "one", "one", "two", "concat", "pad", "fc", "split"]
            )
        )
        x = draw(st.sampled_from(reals))
        if what in ("q", "q_dq"):
            integers.append(net.q(x, draw(st.sampled_from(GRIDS)), f"{name}_quantized"))
        if what == "q_dq" or (what == "dq" and integers):
            reals.append(net.dq(draw(st.sampled_from(integers)) if what == "dq" else integers[-1], name))
        if what == "again" and integers:
            integers.append(net.q(draw(st.sampled_from(integers)), draw(st.sampled_from(GRIDS)), f"{name}_quantized"))
        if what == "one":
            reals.append(net.add(draw(st.sampled_from(SAME_SHAPE)), [x], name))
        if what == "two":
            function = draw(st.sampled_from(["add", "sub", "maximum", "minimum"]))
            activation = draw(st.sampled_from(["none", "relu"]))
            reals.append(net.add(kinds.Binary(function, activation), [x, draw(st.sampled_from(reals))], name))
        if what == "concat":
            wide = net.add(kinds.Concat(1), [x, draw(st.sampled_from(reals))], f"{name}/wide")
            reals.append(net.add(kinds.Slice((0, 2, 0, 0), (1, 6, 4, 4), (1,) * 4), [wide], name))
        if what == "pad":
            value = draw(st.sampled_from([0.0, 0.5, 0.03]))
            wide = net.add(kinds.Pad((0, 0, 1, 0), (0, 0, 0, 0), value=value), [x], f"{name}/wide")
            reals.append(net.add(kinds.Slice((0, 0, 0, 0), (1, 4, 4, 4), (1,) * 4), [wide], name))
        if what == "split":
            parts = [f"{name}/a", f"{name}/b"]
            net.add(kinds.Split(3, (1, 3)), [x], parts)
            reals.append(net.add(kinds.Concat(3), parts[::-1], name))
        if what == "fc":
            w = net.constant(f"{name}/w", net.rng.integers(-9, 9, (4, 4)).astype(np.int8), GRIDS[2])
            reals.append(net.add(kinds.FullyConnected(), [x, net.dq(w, f"{name}/w_real")], name))
    outputs = draw(st.lists(st.sampled_from([*reals, *integers]), min_size=1, max_size=4, unique=True))
    return net.finish(outputs)


LABELS = ["Concat", "Transpose", "MaxPool2D", "relu", "add", "FullyConnected", "Quantize", "Slice", "Pad", "Split"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(graph=graphs(), lacking=st.frozensets(st.sampled_from(LABELS), max_size=3), tied=st.booleans())
def test_the_same_results(graph, lacking, tied):
    verify(graph)
    before = dump(graph)
    kernels = Some(lacking, tied)
    made = integer_operations(graph, kernels)
    verify(made)
    assert dump(graph) == before, "what a pass is given stays as it is"
    again = dump(integer_operations(made, kernels))
    assert sorted(again.splitlines()) == sorted(dump(made).splitlines())
    assert (made.inputs, made.outputs) == (graph.inputs, graph.outputs)
    feeds = feeds_of(graph)
    expected, found = execute(graph, feeds), execute(made, feeds)
    for name in graph.outputs:
        assert graph.type(name) == made.type(name)
        np.testing.assert_array_equal(expected[name], found[name])
    in_float = [
        item.outputs[0]
        for item in made.operations
        if any(made.type(name).dtype == "float32" for name in item.inputs)
        and not isinstance(item.kind, kinds.Quantize | kinds.Dequantize)
    ]
    assert [item.result for item in float_between(made, kernels)] == in_float


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(graph=graphs())
def test_the_same_integers_inside_of_a_quantized_boundary(graph):
    _agrees_within(boundary_integers(graph), graph)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(graph=graphs())
def test_the_same_integers_inside_of_a_boundary_of_bytes(graph):
    made, signed = boundary_bytes(graph), boundary_integers(graph)
    _agrees_within(made, graph)
    for name in (*graph.inputs, *graph.outputs):
        changed = signed.type(name) != graph.type(name) and signed.type(name).dtype == "int8"
        assert made.type(name).dtype == ("uint8" if changed else signed.type(name).dtype)


def _agrees_within(made: Graph, graph: Graph) -> None:
    verify(made)
    assert (made.inputs, made.outputs) == (graph.inputs, graph.outputs)
    feeds = feeds_of(graph)
    expected = execute(graph, feeds)
    inner = {name: quantized(data, made.type(name)) for name, data in feeds.items()}
    found = execute(made, inner)
    for name in graph.outputs:
        grid = made.type(name).quantization
        if grid is not None and graph.type(name).quantization is None:
            found[name] = (found[name].astype(np.float32) - grid.zero_point[0]) * np.float32(grid.scale[0])
        np.testing.assert_array_equal(expected[name], found[name])


def quantized(data: np.ndarray, of: TensorType) -> np.ndarray:
    if of.quantization is None:
        return data
    limits = np.iinfo(of.dtype)
    steps = np.rint(data / np.float32(of.quantization.scale[0])) + of.quantization.zero_point[0]
    return np.clip(steps, limits.min, limits.max).astype(of.dtype)
