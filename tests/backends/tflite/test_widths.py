"""16 bits around an operation that has them on one side."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.backends.tflite.kernels import TFLiteKernels
from edgec.backends.tflite.widths import one_width
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Quantization, TensorType
from edgec.ir.kinds import Binary, Conv2D, Dequantize, Quantize
from edgec.ir.passes.integers import float_between, integer_operations
from edgec.ir.reference import execute
from edgec.ir.verifier import run_passes

RNG = np.random.default_rng(3)
X = RNG.normal(size=(1, 6, 6, 4)).astype(np.float32)
GRIDS = {"int8": Quantization.per_tensor(0.03, -7), "int16": Quantization.per_tensor(0.0002, 0)}
RESULTS = {"int8": Quantization.per_tensor(0.05, 11), "int16": Quantization.per_tensor(0.0004, 0)}


def through(b: GraphBuilder, name: str, width: str, grid: Quantization) -> str:
    integers = b.add(Quantize(), [name], f"{name}_quantized", quantization=grid, dtype=width)
    return b.add(Dequantize(), [integers], f"{name}_dequantized")


def convolution(reads: str, writes: str) -> Graph:
    b = GraphBuilder()
    x = through(b, b.input("x", TensorType(X.shape, "float32")), reads, GRIDS[reads])
    weights = b.constant("w", RNG.integers(-127, 128, (5, 3, 3, 4)).astype(np.int8), Quantization.per_tensor(0.01, 0))
    y = b.add(Conv2D(), [x, b.add(Dequantize(), [weights], "w_dequantized")], "y", origin=["conv"])
    return b.finish([through(b, y, writes, RESULTS[writes])])


def sum_of_both() -> Graph:
    b = GraphBuilder()
    x = b.input("x", TensorType(X.shape, "float32"))
    operands = [through(b, x, "int8", GRIDS["int8"]), through(b, x, "int16", GRIDS["int16"])]
    return b.finish([through(b, b.add(Binary("add"), operands, "y", origin=["sum"]), "int16", RESULTS["int16"])])


def in_integers(graph: Graph) -> bool:
    return not [item for item in float_between(graph, TFLiteKernels()) if item.label in ("Conv2D", "add")]


@pytest.mark.parametrize("make", [lambda: convolution("int8", "int16"), sum_of_both], ids=["convolution", "sum"])
def test_to_widen_an_operand_changes_no_value(make):
    before = make()
    after = run_passes(before, [one_width])
    assert not in_integers(before) and in_integers(after)
    np.testing.assert_array_equal(*(execute(graph, {"x": X})[graph.outputs[0]] for graph in (before, after)))


def test_a_result_in_8_bits_is_rounded_to_finer_steps_first():
    before = convolution("int16", "int8")
    after = run_passes(before, [one_width])
    assert not in_integers(before) and in_integers(after)
    wanted, found = (execute(graph, {"x": X})[graph.outputs[0]] for graph in (before, after))
    off = np.abs(found - wanted) / RESULTS["int8"].scale[0]
    assert off.max() < 1.01 and (off > 0.5).mean() < 0.02  # a tie between two steps of 8 bits may fall the other way


@pytest.mark.parametrize("width", ["int8", "int16"])
def test_what_has_one_width_stays_as_it_is(width):
    graph = convolution(width, width)
    assert [item.kind for item in one_width(graph).operations] == [item.kind for item in graph.operations]


def test_the_integer_kernels_compute_what_it_makes():
    graph = run_passes(convolution("int8", "int16"), [one_width, lambda g: integer_operations(g, TFLiteKernels())])
    (made,) = [item for item in graph.operations if isinstance(item.kind, Conv2D)]
    assert graph.type(made.inputs[0]).dtype == graph.type(made.outputs[0]).dtype == "int16"
