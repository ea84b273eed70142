"""Between float32 and integers, wherever the floats lie: the caller's arrays in any order, or computed ones."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.graph import Graph, TensorType
from edgec.ir.kinds import Padding2D
from edgec.ir.reference import execute
from tests.backends.tvm.cases import Cases

pytest.importorskip("tvm")

from edgec.backends.tvm.lowering.graph import in_full
from tests.backends.tvm.compiled import HOST_RUNS_IT, differences, engine_of

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")

SHAPES = [
    (1, 20, 33, 3), (2, 5, 7, 1), (1, 6, 40, 4), (1, 5, 6, 20), (2, 3, 4, 16), (1, 4, 4, 64), (1, 3, 5, 100),
    (1000,), (3, 10), (), (5,), (2, 3, 4, 5, 6), (2, 7, 48),
]  # fmt: skip


def assert_exact(cases: Cases, graph: Graph, folder, threads: int = 1) -> None:
    feeds = cases.feeds(graph)
    for array in feeds.values():
        if array.size > 4:
            array.reshape(-1)[:4] = np.inf, np.nan, -np.inf, 3e38
    found = differences(graph, engine_of(graph, folder, threads), feeds)
    assert {cases.labels[name]: count for name, count in found.items() if count} == {}


@pytest.mark.parametrize("planes", [False, True])
def test_between_the_caller_and_integers(tmp_path, planes):
    """planes: the caller's images are channels first."""
    cases = Cases(0)
    for shape in SHAPES:
        for dtype in ("int8", "uint8"):
            cases.result(cases.activations(shape, dtype), f"{shape} {dtype}")
            x = cases.activations(shape, dtype)
            if len(shape) == 4:  # read by a convolution only: pixels may be short, and have a border
                kind = kinds.Conv2D(padding=Padding2D(1, 0, 2, 1))
                x = cases.product(kind, x, (2, 2, shape[3]), 8)
            cases.result(x, f"{shape} {dtype} for a convolution")
    graph = cases.finish()
    if planes:
        for name in (*graph.inputs, *graph.outputs):
            if graph.type(name).rank == 4:
                graph.layouts[name] = (0, 2, 3, 1)
    assert_exact(cases, graph, tmp_path)


def test_between_computed_floats_and_integers(tmp_path):
    cases = Cases(1)
    for shape in SHAPES:
        for dtype in ("int8", "uint8"):
            number = len(cases.builder.graph.inputs)
            x = cases.builder.input(f"x{number}", TensorType(shape, "float32"))
            there = cases.quantized(x, shape, dtype, cases.grid(dtype))
            floats = cases.builder.add(kinds.Dequantize(), [there], "floats")
            turned = cases.builder.add(kinds.Reverse(tuple(range(len(shape)))), [floats], "turned")
            again = cases.quantized(turned, shape, dtype, cases.grid(dtype))
            cases.result(again, f"{shape} {dtype}")
    assert_exact(cases, cases.finish(), tmp_path)


def test_constants_are_converted_when_a_model_is_compiled():
    """Those in float16 and in integers; but not weights of a product, which reads them as they are stored."""
    cases = Cases(2)
    b = cases.builder
    x = b.input("x", TensorType((2, 20), "float32"))
    half = b.add(kinds.Cast("float32"), [b.constant("h", cases.rng.normal(size=20).astype(np.float16))], "half")
    integers = b.constant("i", cases.rng.integers(-9, 9, (20,)).astype(np.int8), cases.grid())
    whole = b.add(kinds.Dequantize(), [integers], "whole")
    stored = b.constant("w", cases.rng.integers(-9, 9, (7, 20)).astype(np.int8), cases.grid())
    weights = b.add(kinds.Dequantize(), [stored], "weights")
    added = b.add(kinds.Binary("add"), [b.add(kinds.Binary("mul"), [x, half], "scaled"), whole], "moved")
    graph = b.finish([b.add(kinds.FullyConnected(), [added, weights], "y")])
    full = in_full(graph)
    assert [operation.kind.label for operation in full.operations] == ["Dequantize", "mul", "add", "FullyConnected"]
    feeds = {"x": cases.rng.normal(size=(2, 20)).astype(np.float32)}
    assert np.array_equal(execute(graph, feeds)["y"], execute(full, feeds)["y"])
