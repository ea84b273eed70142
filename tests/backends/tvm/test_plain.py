"""Kinds that are computed as they are defined give what the reference executor gives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Quantization, TensorType
from edgec.ir.inference import result_types
from edgec.ir.kinds import Kind, Padding2D
from edgec.ir.reference import execute

pytest.importorskip("tvm")

from edgec.backends.tvm.building import build_program
from edgec.backends.tvm.isa import named
from edgec.backends.tvm.kernels.plain_definitions import element, line
from edgec.backends.tvm.lowering.plain import write_plainly
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write
from edgec.runtime.engines.tvm import load
from tests.backends.tvm.compiled import HOST_RUNS_IT, ISA, TARGET, engine_of

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")


class Plain:
    """Operations, each for itself in one graph: every value is an input or a result."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = GraphBuilder()
        self.feeds: dict[str, np.ndarray] = {}
        self.labels: dict[str, str] = {}
        self.count = 0

    def value(self, data: np.ndarray, grid: Quantization | None = None) -> str:
        data = np.asarray(data)
        name = self.builder.input(f"x{len(self.feeds)}", TensorType(data.shape, str(data.dtype), grid))
        self.feeds[name] = data
        return name

    def reals(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=shape).astype(np.float32)

    def integers(self, dtype: str, *shape: int, most: int = 50) -> np.ndarray:
        low = 0 if dtype.startswith("u") else -most
        return self.rng.integers(low, most, shape).astype(dtype)

    def case(self, kind: Kind, *operands: str, **of: object) -> None:
        """of: dtype and quantization of a result that does not follow from the operands."""
        read = [self._turned(name) for name in operands]
        types = list(result_types(kind, [self.builder.type(name) for name in read]))
        if of:
            types = [TensorType(types[0].shape, **of)]  # type: ignore[arg-type]
        names = [f"y{self.count + number}" for number in range(len(types))]
        self.count += len(types)
        self.builder.add(kind, read, names, types=types)
        for name in map(self._turned, names):
            self.labels[name] = f"{kind} of {[self.builder.type(operand) for operand in operands]}"

    def _turned(self, name: str) -> str:
        """A value, or as often the same turned round: it lies in the arena then, or goes there."""
        of = self.builder.type(name)
        if self.rng.integers(2) or name in self.labels:
            return name
        return self.builder.add(kinds.Reverse(tuple(range(of.rank))), [name], f"{name}/turned", types=[of])

    def finish(self) -> Graph:
        return self.builder.finish(list(self.labels))


def test_every_definition_is_the_references(tmp_path):
    cases = _cases()
    graph = cases.finish()
    defined = {kind for table in (element, line) for kind in table.registry if kind is not object}
    assert defined <= {type(operation.kind) for operation in graph.operations}
    writer = ProgramWriter(graph, named(ISA))
    for operation in graph.operations:
        if isinstance(operation.kind, kinds.Reverse):
            write(writer, operation)
        else:
            write_plainly(operation.kind, writer, operation)
    path = tmp_path / "model.so"
    build_program(writer.finish(), ISA, TARGET, path)
    _assert_equal(graph, cases.feeds, cases.labels, load({path.name: path.read_bytes()}, {}, 2).run(cases.feeds))


def _assert_equal(
    graph: Graph, feeds: Mapping[str, np.ndarray], labels: Mapping[str, str], found: Mapping[str, np.ndarray]
) -> None:
    """Integers are equal, floats but for the last bits: float32 sums are added up in another order."""
    for name, expected in execute(graph, feeds).items():
        assert found[name].dtype == expected.dtype, labels[name]
        if expected.dtype == np.float32:
            np.testing.assert_allclose(found[name], expected, rtol=2e-6, atol=2e-6, err_msg=labels[name])
        else:
            np.testing.assert_array_equal(found[name], expected, err_msg=labels[name])


def _cases() -> Plain:
    c = Plain(3)
    for dtype in ("int32", "int64", "uint8", "float32"):
        for shape, k in (((7,), 3), ((2, 5), 5), ((3, 2, 40), 6), ((1, 1, 2, 300), 1)):
            data = c.reals(*shape) if dtype == "float32" else c.integers(dtype, *shape, most=9)
            if dtype == "float32":
                data.reshape(-1)[::3] = np.round(data.reshape(-1)[::3])
            c.case(kinds.TopK(k), c.value(data))
    broken = c.reals(2, 9)
    broken[0, [1, 4]], broken[1, [0, 3, 8]] = np.nan, np.inf
    c.case(kinds.TopK(8), c.value(broken))
    for axis in (0, 1, 2):
        indices = c.value(c.integers("int64", 3, 5, most=7))
        c.case(kinds.OneHot(6, axis), indices, c.value(np.float32(2.5)), c.value(np.float32(-1)))
        c.case(kinds.OneHot(4, 0), c.value(np.int32(axis)), c.value(np.int64(7)), c.value(np.int64(2)))
    for dtype in ("int32", "int64"):
        a, b = c.value(c.integers(dtype, 2, 1, 5, most=5)), c.value(abs(c.integers(dtype, 4, 5, most=6)))
        c.case(kinds.Binary("pow"), a, b)
        c.case(kinds.PRelu(), a, c.value(c.integers(dtype, 5)))
        a, b = c.value(c.integers(dtype, 3, 4, 6)), c.value(c.integers(dtype, 2, 3, 6, 5))
        c.case(kinds.BatchMatMul(), a, b)
        c.case(kinds.BatchMatMul(transpose_a=True, transpose_b=True), b, c.value(c.integers(dtype, 1, 7, 6)))
        c.case(kinds.FullyConnected("relu6"), a, c.value(c.integers(dtype, 9, 6)), c.value(c.integers(dtype, 9)))
    for dtype in ("int32", "uint8", "int8"):
        c.case(kinds.MaxPool2D((3, 2), (2, 1), (1, 2), Padding2D(1, 1, 1, 0)), c.value(c.integers(dtype, 2, 5, 6, 3)))
    choice = c.value(c.rng.integers(0, 2, (4, 1, 3)).astype(bool))
    for dtype in ("float32", "int64", "bool"):
        a, b = (c.value(c.integers("int64", *shape, most=2).astype(dtype)) for shape in ((5, 3), (4, 5, 1)))
        c.case(kinds.Select(), choice, a, b)
    for dtype, zero_point in (("int16", -31), ("int32", 0), ("int32", 5)):
        grid = Quantization.per_tensor(0.013, zero_point)
        c.case(kinds.Quantize(), c.value(c.reals(2, 3, 5) * 1e4), dtype=dtype, quantization=grid)
        c.case(kinds.Dequantize(), c.value(c.integers(dtype, 2, 7, most=30000), grid))
    c.case(
        kinds.Quantize(),
        c.value(c.integers("int16", 40, most=30000), Quantization.per_tensor(0.02, 3)),
        dtype="int32",
        quantization=Quantization.per_tensor(0.001, 0),
    )
    for function in ("mean", "sum", "max", "min", "product"):
        for axes, keepdims in (((0,), True), ((1, 2), False), ((0, 1, 2), False)):
            for dtype in ("int32", "int64", "float32"):
                shape = (3, 1, 4) if function == "product" else (5, 3, 20)
                data = c.reals(*shape) if dtype == "float32" else c.integers(dtype, *shape)
                c.case(kinds.Reduce(function, axes, keepdims), c.value(data))
    for function in ("any", "all"):
        c.case(kinds.Reduce(function, (1,), False), c.value(c.rng.random((4, 3, 2)) < 0.6))
    for corners, half in ((False, False), (True, False), (False, True)):
        c.case(kinds.ResizeBilinear((7, 3), corners, half), c.value(c.reals(1, 4, 5, 3)))
        c.case(kinds.ResizeBilinear((5, 9), corners, half), c.value(c.integers("uint8", 1, 4, 5, 3)))
    x = c.value(c.reals(2, 6, 7, 4))
    for groups in (1, 2, 4):
        weights, bias = c.value(c.reals(8, 3, 2, 4 // groups)), c.value(c.reals(8))
        c.case(kinds.Conv2D((2, 1), (1, 2), Padding2D(1, 0, 2, 1), groups, "relu"), x, weights, bias)
        c.case(kinds.TransposeConv2D((2, 3), (1, 2), Padding2D(1, 1, 0, 2), (1, 0), groups), x, weights)
    c.case(kinds.FullyConnected(), x, c.value(c.reals(5, 4)), c.value(c.reals(5)))
    c.case(kinds.OneHot(9000, 0), c.value(np.int64(8999)), c.value(np.float32(1)), c.value(np.float32(0)))
    return c


def test_what_rules_refuse_is_computed_all_the_same(tmp_path):
    """Products with weights that are computed, and those of integers, also where something follows them."""
    builder, rng = GraphBuilder(), np.random.default_rng(5)
    x, weights, matrix = (
        builder.input(name, TensorType(shape, "float32"))
        for name, shape in (("x", (1, 6, 6, 4)), ("w", (8, 3, 3, 4)), ("v", (5, 4)))
    )
    integers = builder.input("i", TensorType((3, 4), "int32"))
    known = builder.constant("known", rng.integers(-5, 5, (6, 4)).astype(np.int32))
    stored = builder.constant("stored", rng.integers(-99, 99, 8).astype(np.int32), Quantization.per_tensor(0.01, 0))
    bias = builder.add(kinds.Dequantize(), [stored], "bias")
    products = [
        builder.add(kinds.Conv2D(), [x, weights, bias], "convolved"),
        builder.add(kinds.FullyConnected(), [x, matrix], "multiplied"),
        builder.add(kinds.FullyConnected(), [integers, known], "whole"),
    ]
    functions = ("sigmoid", "tanh", "abs")
    graph = builder.finish(
        [
            builder.add(kinds.Unary(function), [name], function)
            for function, name in zip(functions, products, strict=True)
        ]
    )
    feeds = {
        name: (rng.normal(size=graph.type(name).shape) * 3).astype(graph.type(name).dtype) for name in graph.inputs
    }
    _assert_equal(graph, feeds, {name: name for name in functions}, engine_of(graph, tmp_path).run(feeds))
