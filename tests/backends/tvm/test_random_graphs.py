"""Graphs of many kinds, drawn at random, give what the reference executor gives.

Functions that jump (positions, comparisons, rounding) read only what is exact on both sides; what is computed in
float32 in an order of its own is read by functions that do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, TensorType
from edgec.ir.inference import result_types
from edgec.ir.kinds import Kind, Padding2D
from edgec.ir.reference import execute

pytest.importorskip("tvm")

from tests.backends.tvm.compiled import HOST_RUNS_IT, engine_of

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")

OPERATIONS = 150
LARGEST = 4000
"""Elements of a value."""


class Drawn:
    """A graph in the drawing. exact, rounded: values to go on with, that have the same bits on both sides, or not.
    inexact: all that have not."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = GraphBuilder()
        self.exact: list[str] = []
        self.rounded: list[str] = []
        self.inexact: set[str] = set()
        for dtype in ("float32", "float32", "float32", "int32", "int64", "bool"):
            for rank in (4, 3, 2):
                shape = tuple(int(size) for size in self.rng.integers(1, 9, rank))
                name = f"x{len(self.exact)}"
                self.exact.append(self.builder.input(name, TensorType(shape, dtype)))

    def draw(self) -> Graph:
        while len(self.builder.graph.operations) < OPERATIONS:
            self.rng.choice(RULES)(self)
        made = [name for operation in self.builder.graph.operations for name in operation.outputs]
        read = {name for operation in self.builder.graph.operations for name in operation.inputs}
        return self.builder.finish([name for name in made if name not in read or self.rng.random() < 0.2])

    def feeds(self, graph: Graph) -> dict[str, np.ndarray]:
        made = {}
        for name in graph.inputs:
            of = graph.type(name)
            numbers = self.rng.normal(size=of.shape) if of.dtype == "float32" else self.rng.integers(-9, 10, of.shape)
            made[name] = (numbers > 0 if of.dtype == "bool" else numbers).astype(of.dtype)
        return made

    # --- what rules are written with ---

    def type(self, name: str) -> TensorType:
        return self.builder.type(name)

    def one(self, *dtypes: str, exact: bool = False, rank: int | None = None) -> str | None:
        """A value of one of the dtypes, if there is one."""
        found = [
            name
            for name in (*self.exact, *([] if exact else self.rounded))
            if self.type(name).dtype in (dtypes or ("float32",)) and rank in (None, self.type(name).rank)
        ]
        return str(self.rng.choice(found)) if found else None

    def below(self, size: int, least: int = 0) -> int:
        return int(self.rng.integers(least, size))

    def constant(self, *shape: int, gain: float = 1.0) -> str:
        return self.builder.constant("c", (self.rng.normal(size=shape) * gain).astype(np.float32))

    def add(self, kind: Kind, *operands: str, rounds: bool = False, bounded: bool = True) -> None:
        """An operation. rounds: in a way of its own. bounded: whether results are as large as operands; others are
        limited by one more operation."""
        types = result_types(kind, [self.type(name) for name in operands])
        if any(item.size > LARGEST or item.size == 0 or item.rank > 5 for item in types):
            return
        names = [f"{type(kind).__name__}{len(self.builder.graph.operations)}.{number}" for number in range(len(types))]
        self.builder.add(kind, list(operands), names)
        inexact = rounds or any(name in self.inexact for name in operands)
        self.inexact.update(names if inexact else ())
        if not bounded:
            names = [self.builder.add(kinds.Clip(-4, 4), names, f"{names[0]}/limited")]
            self.inexact.update(names if inexact else ())
        (self.rounded if inexact else self.exact).extend(names)


ANY = ("float32", "int32", "int64", "bool")
INTEGERS = ("int32", "int64")


def _moved(d: Drawn) -> None:
    name = d.one(*ANY)
    assert name is not None
    shape = d.type(name).shape
    rank, axis = len(shape), d.below(max(1, len(shape)))
    if not rank:
        return
    begin = [d.below(size) for size in shape]
    end = [d.below(size + 1, first + 1) for size, first in zip(shape, begin, strict=True)]
    around = [tuple(int(count) for count in d.rng.integers(0, 3, rank)) for _ in range(2)]
    choices: Sequence[Kind] = (
        kinds.Transpose(tuple(int(at) for at in d.rng.permutation(rank))),
        kinds.Reshape(_factors(d, math.prod(shape))),
        kinds.Reverse((axis,)),
        kinds.Slice(tuple(begin), tuple(end), (1,) * rank),
        kinds.Pad(around[0], around[1], value=0),
        kinds.Tile(tuple(int(count) for count in d.rng.integers(1, 3, rank))),
        kinds.Reshape((*shape, 1)),
    )
    d.add(choices[d.below(len(choices))], name)


def _factors(d: Drawn, size: int) -> tuple[int, ...]:
    """A shape of so many elements."""
    made = []
    for _ in range(d.below(3)):
        divisors = [factor for factor in range(1, size + 1) if size % factor == 0]
        made.append(int(d.rng.choice(divisors)))
        size //= made[-1]
    return (*made, size)


def _joined(d: Drawn) -> None:
    name = d.one(*ANY)
    assert name is not None
    if d.type(name).rank:
        d.add(kinds.Concat(d.below(d.type(name).rank)), name, name)


def _gathered(d: Drawn) -> None:
    name = d.one(*ANY)
    assert name is not None
    shape = d.type(name).shape
    if shape:
        axis = d.below(len(shape))
        indices = d.rng.integers(0, shape[axis], d.below(4, 1)).astype(np.int64)
        d.add(kinds.Gather(axis), name, d.builder.constant("i", indices))


def _unary(d: Drawn) -> None:
    smooth = ("sigmoid", "tanh", "hard_swish", "relu", "relu6", "abs", "neg", "gelu", "erf", "elu", "softplus", "sin")
    name = d.one()
    assert name is not None
    d.add(kinds.Unary(str(d.rng.choice(smooth))), name, rounds=True)  # type: ignore[arg-type]
    d.add(kinds.Unary("exp"), name, rounds=True, bounded=False)
    if (found := d.one(*INTEGERS)) is not None:
        d.add(kinds.Unary(str(d.rng.choice(["abs", "neg", "sign", "relu"]))), found)  # type: ignore[arg-type]


def _jumping(d: Drawn) -> None:
    name = d.one(exact=True)
    assert name is not None
    function = str(d.rng.choice(["floor", "ceil", "round", "sign"]))
    d.add(kinds.Unary(function), name)  # type: ignore[arg-type]
    d.add(kinds.Cast(str(d.rng.choice(["int32", "int64", "bool"]))), name)
    if d.type(name).rank:
        axis = d.below(d.type(name).rank)
        d.add(kinds.ArgReduce("max" if d.below(2) else "min", axis), name)
        d.add(kinds.TopK(d.below(d.type(name).shape[-1] + 1, 1)), name)


def _binary(d: Drawn) -> None:
    dtype = str(d.rng.choice(["float32", "int32", "int64"]))
    name = d.one(dtype)
    assert name is not None
    other = _broadcast(d, name)
    d.add(kinds.Binary(str(d.rng.choice(["add", "sub", "mul"]))), name, other, bounded=False)  # type: ignore[arg-type]
    d.add(kinds.Binary(str(d.rng.choice(["maximum", "minimum"]))), name, other)  # type: ignore[arg-type]
    exact = name not in d.inexact
    if exact:
        function = str(d.rng.choice(["less", "greater_equal", "equal", "not_equal"]))
        d.add(kinds.Binary(function), name, other)  # type: ignore[arg-type]
    if dtype != "float32" and exact:
        divisor = d.builder.constant("c", np.array([3, -5][d.below(2)], dtype))
        d.add(kinds.Binary(str(d.rng.choice(["floor_mod", "div", "floor_div"]))), name, divisor)  # type: ignore[arg-type]


def _broadcast(d: Drawn, name: str) -> str:
    """A value that broadcasts with another one: its first elements along some axes."""
    shape = d.type(name).shape
    sizes = tuple(size if d.below(2) else 1 for size in shape)
    part = kinds.Slice((0,) * len(shape), sizes, (1,) * len(shape))
    made = d.builder.add(part, [name], f"{name}/part{len(d.builder.graph.operations)}")
    if name in d.inexact:
        d.inexact.add(made)
    return made


def _chosen(d: Drawn) -> None:
    condition, name = d.one("bool"), d.one()
    assert condition is not None and name is not None
    d.add(kinds.Cast("float32"), condition)
    d.add(kinds.Unary("logical_not"), condition)
    scalar = d.constant()
    d.add(kinds.Select(), condition, scalar, d.constant())
    d.add(kinds.PRelu(), name, d.constant(*d.type(name).shape[-1:]))


def _reduced(d: Drawn) -> None:
    name = d.one("float32", *INTEGERS)
    assert name is not None
    of = d.type(name)
    if not of.rank:
        return
    axes = tuple(axis for axis in range(of.rank) if d.below(2)) or (0,)
    d.add(kinds.Reduce("max" if d.below(2) else "min", axes, bool(d.below(2))), name)
    d.add(kinds.Reduce("sum", axes, bool(d.below(2))), name, rounds=of.dtype == "float32", bounded=False)
    d.add(kinds.CumSum(axes[0], bool(d.below(2)), bool(d.below(2))), name, rounds=of.dtype == "float32", bounded=False)
    if of.dtype == "float32":
        d.add(kinds.Reduce("mean", axes, bool(d.below(2))), name, rounds=True)


def _normalized(d: Drawn) -> None:
    name = d.one()
    assert name is not None
    shape = d.type(name).shape
    if shape:
        d.add(kinds.Softmax(), name, rounds=True)
        d.add(kinds.LogSoftmax(), name, rounds=True, bounded=False)
        d.add(kinds.LayerNorm(1, 0.1), name, d.constant(shape[-1]), d.constant(shape[-1]), rounds=True, bounded=False)


def _multiplied(d: Drawn) -> None:
    name = d.one()
    assert name is not None
    shape = d.type(name).shape
    if not shape:
        return
    wanted = d.below(40, 1)
    gain = 1 / math.sqrt(shape[-1])
    operands = [name, d.constant(wanted, shape[-1], gain=gain), *([d.constant(wanted)] if d.below(2) else [])]
    d.add(kinds.FullyConnected("relu" if d.below(2) else "none"), *operands, rounds=True, bounded=False)
    if len(shape) > 1:
        d.add(kinds.BatchMatMul(transpose_b=True), name, name, rounds=True, bounded=False)
        d.add(kinds.BatchMatMul(transpose_a=True), name, name, rounds=True, bounded=False)


def _windowed(d: Drawn) -> None:
    name = d.one(rank=4)
    if name is None:
        return
    _, rows, columns, channels = d.type(name).shape
    window = (min(3, rows), min(2, columns))
    stride, padding = (d.below(3, 1), 1), Padding2D(window[0] - 1, 0, 0, window[1] - 1)
    d.add(kinds.MaxPool2D(window, stride, padding=padding), name)
    d.add(kinds.AveragePool2D(window, stride, padding), name, rounds=True)
    d.add(kinds.ResizeBilinear((d.below(9, 1), d.below(9, 1)), half_pixel_centers=bool(d.below(2))), name, rounds=True)
    d.add(kinds.ResizeNearest((d.below(9, 1), d.below(9, 1))), name)
    groups = channels if d.below(2) else 1
    wanted = groups * d.below(3, 1)
    shape = (wanted, *window, channels // groups)
    weights = d.constant(*shape, gain=1 / math.sqrt(math.prod(shape[1:])))
    convolution = kinds.Conv2D(stride, padding=padding, groups=groups)
    d.add(convolution, name, weights, d.constant(wanted), rounds=True, bounded=False)
    d.add(kinds.TransposeConv2D((2, 1), groups=groups), name, weights, rounds=True, bounded=False)


RULES: list[Callable[[Drawn], None]] = [
    _moved, _moved, _moved, _joined, _gathered, _unary, _jumping, _binary, _binary, _chosen, _reduced, _normalized,
    _multiplied, _windowed,
]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_a_random_graph_computes_what_the_reference_executor_does(tmp_path, seed):
    drawn = Drawn(seed)
    graph = drawn.draw()
    feeds = drawn.feeds(graph)
    found = engine_of(graph, tmp_path, threads=2).run(feeds)
    writers = graph.producers()
    for name, expected in execute(graph, feeds).items():
        what = f"{name}: {writers[name].kind} of {list(graph.types_of(writers[name].inputs))}"
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape), what
        if name in drawn.inexact:
            np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=2e-4, err_msg=what)
        else:
            np.testing.assert_array_equal(found[name], expected, err_msg=what)
