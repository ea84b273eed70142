"""Operations that a backend lacks, written in those that it has.

`decompose` asks the backend about every operation, also about those that it writes itself, so that a gelu becomes an
erf where there is one, and else what the erf becomes. An operation that has no rule, or computes on integers that
stand for real numbers, stays for the backend to refuse.

Every rule computes what the operation is defined to compute; results differ from it by roundings of float32 alone,
at most 1e-6 of the result's range. Two functions become polynomials: erf, to 5e-7, and the logarithm within softplus,
to 4e-9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch

import numpy as np

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Operation, TensorType
from edgec.ir.kinds import (
    Binary,
    Cast,
    Clip,
    Concat,
    Gather,
    Kind,
    LeakyRelu,
    Reduce,
    Reshape,
    Select,
    Slice,
    Tile,
    Transpose,
    Unary,
)
from edgec.ir.kinds.elementwise import BinaryFunction, UnaryFunction

Lacks = Callable[[Graph, Operation], bool]
"""Whether a backend lacks an operation of a graph; the graph has the types of its operands and results."""


def decompose(graph: Graph, lacks: Lacks) -> Graph:
    """The graph without operations that the backend lacks, as far as there are rules. Names of values stay."""
    builder = GraphBuilder.over(graph)
    for operation in graph.operations:
        _visit(builder, operation, lacks)
    return builder.finish(graph.outputs)


def _visit(builder: GraphBuilder, operation: Operation, lacks: Lacks) -> None:
    """Write an operation whose values are declared already, or what it consists of."""
    operations = builder.graph.operations
    types = [builder.type(name) for name in (*operation.inputs, *operation.outputs)]
    if any(of.quantization is not None for of in types) or not lacks(builder.graph, operation):
        operations.append(operation)
        return
    kept = {name: builder.graph.values.pop(name) for name in operation.outputs}
    parts = Parts(builder, operation, [value.type for value in kept.values()], lacks)
    if not _write(operation.kind, parts):
        builder.graph.values.update(kept)
        operations.append(operation)


@dataclass(frozen=True)
class Parts:
    """An operation while it is taken apart. A rule adds operations; the last one has the operation's own result."""

    builder: GraphBuilder
    operation: Operation
    results: list[TensorType]
    lacks: Lacks

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.operation.inputs

    def type(self, position: int) -> TensorType:
        """The type of an operand."""
        return self.builder.type(self.inputs[position])

    def add(self, kind: Kind, inputs: Sequence[str], suffix: str | None = None, result: int = 0) -> str:
        """Add a part; returns its result. suffix: names what lies in between; None for the result of that number."""
        own = self.operation.outputs[result]
        name = own if suffix is None else self.builder.fresh(f"{own}/{suffix}")
        written = self.builder.add(kind, inputs, name, origin=self.operation.origin)
        part = self.builder.graph.operations.pop()
        _visit(self.builder, part, self.lacks)
        return written

    def unary(self, function: UnaryFunction, x: str, suffix: str | None = None) -> str:
        return self.add(Unary(function), [x], suffix)

    def binary(self, function: BinaryFunction, a: str, b: str | float, suffix: str | None = None) -> str:
        """b: a value, or a number of the dtype of a."""
        return self.add(Binary(function), [a, b if isinstance(b, str) else self.number(b, a)], suffix)

    def number(self, value: float, like: str) -> str:
        """A scalar constant of the dtype of another value."""
        return self.constant("number", np.array(value, self.builder.type(like).dtype))

    def constant(self, suffix: str, data: np.ndarray) -> str:
        """A constant of the operation's own."""
        return self.builder.constant(f"{self.operation.outputs[0]}/{suffix}", data)


@singledispatch
def _write(kind: Kind, parts: Parts) -> bool:
    """Write the parts of an operation; False, and nothing written, where there is no rule."""
    return False


# --- elementwise ---


@_write.register
def _(kind: Unary, parts: Parts) -> bool:
    rule = _UNARY.get(kind.function)
    if rule is None or (parts.type(0).dtype != "float32" and kind.function not in _OF_ANY_DTYPE):
        return False
    rule(parts, parts.inputs[0])
    return True


def _gelu(parts: Parts, x: str) -> None:
    """x / 2 * (1 + erf(x / sqrt 2))."""
    error = parts.unary("erf", parts.binary("mul", x, math.sqrt(0.5), "scaled"), "erf")
    half = parts.binary("mul", x, 0.5, "half")
    parts.binary("mul", half, parts.binary("add", error, 1.0, "gate"))


def _gelu_tanh(parts: Parts, x: str) -> None:
    """x / 2 * (1 + tanh(sqrt(2 / pi) * x * (1 + 0.044715 * x^2)))."""
    factor = parts.binary("add", parts.binary("mul", parts.unary("square", x, "square"), 0.044715, "cubic"), 1.0, "sum")
    inner = parts.binary("mul", parts.binary("mul", x, math.sqrt(2 / math.pi), "scaled"), factor, "inner")
    gate = parts.binary("add", parts.unary("tanh", inner, "tanh"), 1.0, "gate")
    parts.binary("mul", parts.binary("mul", x, 0.5, "half"), gate)


_ERF_ABOVE = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_ERF_BELOW = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02,
)  # fmt: skip
"""Coefficients of the polynomials of x^2, the highest power first: those of Eigen, the library of linear algebra."""


def _erf(parts: Parts, x: str) -> None:
    """x * P(x^2) / Q(x^2) between -4 and 4; outside it is 1 - 2e-8, which is 1."""
    inside = parts.add(Clip(-4.0, 4.0), [x], "inside")
    square = parts.unary("square", inside, "square")
    above = parts.binary("mul", inside, _polynomial(parts, square, _ERF_ABOVE), "above")
    parts.binary("div", above, _polynomial(parts, square, _ERF_BELOW))


def _polynomial(parts: Parts, x: str, coefficients: Sequence[float]) -> str:
    value = parts.binary("mul", x, coefficients[0], "power")
    for coefficient in coefficients[1:-1]:
        value = parts.binary("mul", parts.binary("add", value, coefficient, "term"), x, "power")
    return parts.binary("add", value, coefficients[-1], "polynomial")


def _hard_swish(parts: Parts, x: str) -> None:
    parts.binary("mul", x, parts.add(kinds.HardSigmoid(1 / 6, 0.5), [x], "gate"))


_LOG1P = (0.2815777836, 0.2796515775, 0.4002459523, 0.6666632164, 2.000000008)
"""2 atanh(sqrt z) / sqrt z for z up to 1/9 as a polynomial, the highest power first: Chebyshev, to 4e-9."""


def _softplus(parts: Parts, x: str) -> None:
    """max(x, 0) + log(1 + p) with p = exp(-|x|), which does not overflow.

    Logarithms of numbers near 1 have few digits: log(1 + p) = 2 atanh(s) with s = p / (2 + p), at most 1/3, has all.
    """
    power = parts.unary("exp", parts.unary("neg", parts.unary("abs", x, "abs"), "neg"), "exp")
    ratio = parts.binary("div", power, parts.binary("add", power, 2.0, "sum"), "ratio")
    series = _polynomial(parts, parts.unary("square", ratio, "square"), _LOG1P)
    parts.binary("add", parts.unary("relu", x, "relu"), parts.binary("mul", ratio, series, "log1p"))


def _sign(parts: Parts, x: str) -> None:
    dtype = parts.type(0).dtype
    above = parts.add(Cast(dtype), [parts.binary("greater", x, 0.0, "above")], "one")
    below = parts.add(Cast(dtype), [parts.binary("less", x, 0.0, "below")], "one")
    parts.binary("sub", above, below)


def _elu(parts: Parts, x: str) -> None:
    power = parts.unary("exp", parts.binary("minimum", x, 0.0, "negative"), "exp")
    below = parts.binary("sub", power, 1.0, "below")
    parts.binary("add", parts.unary("relu", x, "relu"), below)


def _sigmoid(parts: Parts, x: str) -> None:
    """1 / (1 + exp(-x)); an exponential that overflows gives 0."""
    divisor = parts.binary("add", parts.unary("exp", parts.unary("neg", x, "neg"), "exp"), 1.0, "divisor")
    parts.unary("reciprocal", divisor)


def _tanh(parts: Parts, x: str) -> None:
    """2 * sigmoid(2 * x) - 1."""
    gate = parts.unary("sigmoid", parts.binary("mul", x, 2.0, "twice"), "sigmoid")
    parts.binary("sub", parts.binary("mul", gate, 2.0, "wide"), 1.0)


def _reciprocal(parts: Parts, x: str) -> None:
    parts.add(Binary("div"), [parts.number(1.0, x), x])


def _tan(parts: Parts, x: str) -> None:
    parts.add(Binary("div"), [parts.unary("sin", x, "sin"), parts.unary("cos", x, "cos")])


def _rsqrt(parts: Parts, x: str) -> None:
    parts.unary("reciprocal", parts.unary("sqrt", x, "sqrt"))


def _square(parts: Parts, x: str) -> None:
    parts.binary("mul", x, x)


def _relu(parts: Parts, x: str) -> None:
    parts.binary("maximum", x, 0.0)


def _relu6(parts: Parts, x: str) -> None:
    parts.binary("minimum", parts.unary("relu", x, "relu"), 6.0)


def _abs(parts: Parts, x: str) -> None:
    parts.binary("maximum", x, parts.unary("neg", x, "neg"))


def _neg(parts: Parts, x: str) -> None:
    parts.binary("mul", x, -1.0)


def _logical_not(parts: Parts, x: str) -> None:
    parts.binary("equal", x, 0.0)


_UNARY: dict[UnaryFunction, Callable[[Parts, str], None]] = {
    "abs": _abs,
    "elu": _elu,
    "erf": _erf,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hard_swish": _hard_swish,
    "logical_not": _logical_not,
    "neg": _neg,
    "reciprocal": _reciprocal,
    "relu": _relu,
    "relu6": _relu6,
    "rsqrt": _rsqrt,
    "sigmoid": _sigmoid,
    "sign": _sign,
    "softplus": _softplus,
    "square": _square,
    "tan": _tan,
    "tanh": _tanh,
}
_OF_ANY_DTYPE = frozenset({"abs", "logical_not", "neg", "relu", "relu6", "sign", "square"})


@_write.register
def _(kind: Binary, parts: Parts) -> bool:
    a, b = parts.inputs
    dtype = parts.type(0).dtype
    if kind.activation != "none":
        parts.unary(kind.activation, parts.add(Binary(kind.function), [a, b], "before"))
    elif kind.function == "squared_difference":
        parts.unary("square", parts.binary("sub", a, b, "difference"))
    elif kind.function == "logical_xor":
        parts.binary("not_equal", a, b)
    elif kind.function == "not_equal":
        parts.unary("logical_not", parts.binary("equal", a, b, "equal"))
    elif kind.function == "floor_mod" and dtype != "float32":
        multiple = parts.binary("mul", parts.binary("floor_div", a, b, "quotient"), b, "multiple")
        parts.binary("sub", a, multiple)
    elif kind.function == "floor_div" and dtype == "float32":
        parts.unary("floor", parts.binary("div", a, b, "quotient"))
    else:
        return False
    return True


@_write.register
def _(kind: Clip, parts: Parts) -> bool:
    x = parts.inputs[0]
    limits: list[tuple[BinaryFunction, float]] = [("maximum", kind.low), ("minimum", kind.high)]
    finite = [(function, limit) for function, limit in limits if math.isfinite(limit)]
    if parts.type(0).dtype != "float32" or not finite:
        return False
    for index, (function, limit) in enumerate(finite, start=1):
        x = parts.binary(function, x, limit, None if index == len(finite) else "limited")
    return True


@_write.register
def _(kind: kinds.HardSigmoid, parts: Parts) -> bool:
    line = parts.binary("add", parts.binary("mul", parts.inputs[0], kind.slope, "slope"), kind.offset, "line")
    parts.add(Clip(0.0, 1.0), [line])
    return True


@_write.register
def _(kind: LeakyRelu, parts: Parts) -> bool:
    x = parts.inputs[0]
    smaller = parts.binary("mul", x, kind.alpha, "smaller")
    if 0 <= kind.alpha <= 1:
        parts.binary("maximum", x, smaller)
    else:
        above = parts.binary("greater", x, 0.0, "above")
        parts.add(Select(), [above, x, smaller])
    return True


@_write.register
def _(kind: kinds.PRelu, parts: Parts) -> bool:
    x, slope = parts.inputs
    negative = parts.binary("mul", parts.binary("minimum", x, 0.0, "negative"), slope, "below")
    parts.binary("add", parts.unary("relu", x, "relu"), negative)
    return True


# --- normalization and reductions ---


@_write.register
def _(kind: kinds.LayerNorm, parts: Parts) -> bool:
    x, rank = parts.inputs[0], parts.type(0).rank
    mean = Reduce("mean", tuple(range(rank - kind.dimensions, rank)), True)
    centred = parts.binary("sub", x, parts.add(mean, [x], "mean"), "centred")
    variance = parts.add(mean, [parts.unary("square", centred, "square")], "variance")
    factor = parts.unary("rsqrt", parts.binary("add", variance, kind.epsilon, "sum"), "factor")
    scaled = parts.binary("mul", centred, factor, "normal")
    last = len(parts.inputs) - 1
    for index, (function, operand) in enumerate(zip(("mul", "add"), parts.inputs[1:], strict=False), start=1):
        step: BinaryFunction = "mul" if function == "mul" else "add"
        scaled = parts.binary(step, scaled, operand, None if index == last else "scaled")
    return True


@_write.register
def _(kind: kinds.Softmax, parts: Parts) -> bool:
    axes = (parts.type(0).rank - 1,)
    power = parts.unary("exp", _below_largest(parts, axes), "exp")
    parts.binary("div", power, parts.add(Reduce("sum", axes, True), [power], "sum"))
    return True


@_write.register
def _(kind: kinds.LogSoftmax, parts: Parts) -> bool:
    axes = (parts.type(0).rank - 1,)
    lower = _below_largest(parts, axes)
    total = parts.add(Reduce("sum", axes, True), [parts.unary("exp", lower, "exp")], "sum")
    parts.binary("sub", lower, parts.unary("log", total, "log"))
    return True


def _below_largest(parts: Parts, axes: tuple[int, ...]) -> str:
    x = parts.inputs[0]
    return parts.binary("sub", x, parts.add(Reduce("max", axes, True), [x], "max"), "lower")


@_write.register
def _(kind: Reduce, parts: Parts) -> bool:
    of = parts.type(0)
    if kind.function != "mean" or of.dtype != "float32":
        return False
    count = math.prod(of.shape[axis] for axis in kind.axes)
    parts.binary("mul", parts.add(replace(kind, function="sum"), parts.inputs, "sum"), 1 / count)
    return True


# --- movement ---


@_write.register
def _(kind: kinds.BroadcastTo, parts: Parts) -> bool:
    shape = parts.type(0).shape
    whole = (*(1,) * (len(kind.shape) - len(shape)), *shape)
    x = parts.inputs[0]
    if whole != shape:
        x = parts.add(Reshape(whole), [x], "whole")
    parts.add(Tile(tuple(wanted // size for wanted, size in zip(kind.shape, whole, strict=True))), [x])
    return True


@_write.register
def _(kind: kinds.OneHot, parts: Parts) -> bool:
    indices, on, off = parts.inputs
    of = parts.type(0)
    column = parts.add(Reshape((*of.shape[: kind.axis], 1, *of.shape[kind.axis :])), [indices], "column")
    places = np.arange(kind.depth, dtype=of.dtype).reshape([-1 if i == kind.axis else 1 for i in range(of.rank + 1)])
    hit = parts.add(Binary("equal"), [column, parts.constant("places", places)], "hit")
    parts.add(Select(), [hit, on, off])
    return True


@_write.register
def _(kind: kinds.Reverse, parts: Parts) -> bool:
    shape = parts.type(0).shape
    _gathered(parts, {axis: np.arange(shape[axis])[::-1] for axis in kind.axes})
    return True


@_write.register
def _(kind: kinds.Pad, parts: Parts) -> bool:
    """What is mirrored or repeated is gathered."""
    if kind.mode == "constant":
        return False
    shape = parts.type(0).shape
    widths = [(axis, pair) for axis, pair in enumerate(zip(kind.before, kind.after, strict=True)) if any(pair)]
    _gathered(parts, {axis: np.pad(np.arange(shape[axis]), pair, kind.mode) for axis, pair in widths})
    return True


def _gathered(parts: Parts, sources: dict[int, np.ndarray]) -> None:
    """Take indices along several axes, one after the other."""
    x = parts.inputs[0]
    for position, (axis, source) in enumerate(sources.items(), start=1):
        indices = parts.constant("indices", source.astype(np.int32))
        x = parts.add(Gather(axis), [x, indices], None if position == len(sources) else "gathered")


@_write.register
def _(kind: kinds.Split, parts: Parts) -> bool:
    of, start = parts.type(0), 0
    for number, size in enumerate(kind.sizes):
        begin = tuple(start if axis == kind.axis else 0 for axis in range(of.rank))
        start += size
        end = tuple(start if axis == kind.axis else whole for axis, whole in enumerate(of.shape))
        parts.add(Slice(begin, end, (1,) * of.rank), parts.inputs, result=number)
    return True


@_write.register
def _(kind: kinds.DepthToSpace, parts: Parts) -> bool:
    n, h, w, c = parts.type(0).shape
    block = kind.block
    _rearranged(parts, (n, h, w, block, block, c // block**2), (0, 1, 3, 2, 4, 5))
    return True


@_write.register
def _(kind: kinds.SpaceToDepth, parts: Parts) -> bool:
    n, h, w, c = parts.type(0).shape
    block = kind.block
    _rearranged(parts, (n, h // block, block, w // block, block, c), (0, 1, 3, 2, 4, 5))
    return True


def _rearranged(parts: Parts, split: tuple[int, ...], permutation: tuple[int, ...]) -> None:
    blocks = parts.add(Reshape(split), parts.inputs, "blocks")
    parts.add(Reshape(parts.results[0].shape), [parts.add(Transpose(permutation), [blocks], "turned")])


@_write.register
def _(kind: kinds.GatherND, parts: Parts) -> bool:
    """Positions become one index into the rows that they name."""
    (x, indices), (of, at) = parts.inputs, (parts.type(0), parts.type(1))
    depth = at.shape[-1]
    strides = np.array([math.prod(of.shape[axis + 1 : depth]) for axis in range(depth)], at.dtype)
    data = parts.builder.graph.constant(indices)
    if data is not None:
        row = parts.constant("row", (data * strides).sum(-1, dtype=at.dtype))
    else:
        steps = parts.add(Binary("mul"), [indices, parts.constant("strides", strides)], "steps")
        row = parts.add(Reduce("sum", (at.rank - 1,), False), [steps], "row")
    rows = parts.add(Reshape((math.prod(of.shape[:depth]), *of.shape[depth:])), [x], "rows")
    parts.add(Gather(0), [rows, row])
    return True


@_write.register
def _(kind: kinds.ScatterND, parts: Parts) -> bool:
    """With constant indices: the rows of x and of the updates after each other, and each row from where it now is."""
    x, indices, updates = parts.inputs
    of, positions = parts.type(0), parts.builder.graph.constant(indices)
    if positions is None:
        return False
    depth = positions.shape[-1]
    count, inner = math.prod(of.shape[:depth]), math.prod(of.shape[depth:])
    strides = [math.prod(of.shape[axis + 1 : depth]) for axis in range(depth)]
    rows = (positions.reshape(-1, depth).astype(np.int64) * strides).sum(-1)
    source = np.arange(count)
    source[rows] = count + np.arange(len(rows))
    both = [
        parts.add(Reshape((count, inner)), [x], "rows"),
        parts.add(Reshape((len(rows), inner)), [updates], "updates"),
    ]
    joined = parts.add(Concat(0), both, "joined")
    taken = parts.add(Gather(0), [joined, parts.constant("source", source.astype(np.int32))], "taken")
    parts.add(Reshape(of.shape), [taken])
    return True
