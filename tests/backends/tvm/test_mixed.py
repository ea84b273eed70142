"""Islands of float32 in a quantized graph: integers to the bit before them, and floats near the reference."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Quantization, TensorType
from edgec.ir.kinds import Padding2D
from edgec.ir.reference import execute

pytest.importorskip("tvm")

from edgec.backends.tvm.lowering.graph import in_integers
from tests.backends.tvm.compiled import HOST_RUNS_IT, engine_of

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")

SHAPE = (1, 9, 11, 6)


def test_float_between_integers(tmp_path):
    """Quantize, convolution, Dequantize, gelu and a float convolution, Quantize, convolution, Dequantize."""
    rng, builder = np.random.default_rng(0), GraphBuilder()

    def real(name: str, scale: float) -> str:
        """Rounded to int8."""
        of = TensorType(builder.type(name).shape, "int8", Quantization.per_tensor(scale, 3))
        return builder.add(kinds.Dequantize(), [builder.add(kinds.Quantize(), [name], "q", types=[of])], "real")

    def weights(*shape: int) -> str:
        grid = Quantization((0.01,) * shape[0], (0,) * shape[0], 0)
        stored = builder.constant("w", rng.integers(-127, 128, shape).astype(np.int8), grid)
        return builder.add(kinds.Dequantize(), [stored], "weights")

    kind = kinds.Conv2D((1, 1), (1, 1), Padding2D(1, 1, 1, 1))
    x = builder.input("x", TensorType(SHAPE, "float32"))
    first = real(builder.add(kind, [real(x, 0.02), weights(13, 3, 3, 6)], "first"), 0.05)
    island = builder.add(kinds.Unary("gelu"), [first], "island")
    weights_of_island = builder.constant("w", (rng.normal(size=(20, 1, 1, 13)) / 4).astype(np.float32))
    island = builder.add(kinds.Conv2D(), [island, weights_of_island], "product")
    last = real(builder.add(kind, [real(island, 0.1), weights(8, 3, 3, 20)], "last"), 0.2)
    graph = in_integers(builder.finish([first, island, last]))
    on = [graph.type(operation.inputs[0]).dtype for operation in graph.operations if operation.kind.label == "Conv2D"]
    assert on == ["int8", "float32", "int8"]

    feeds = {"x": rng.normal(size=SHAPE).astype(np.float32)}
    expected = execute(graph, feeds)
    found = engine_of(graph, tmp_path).run(feeds)
    exact, near, rounded = graph.outputs
    np.testing.assert_array_equal(found[exact], expected[exact])
    np.testing.assert_allclose(found[near], expected[near], atol=1e-6 * np.abs(expected[near]).max())
    # Where a float was next to the middle of two integers, it may have been rounded to the other one.
    assert np.mean(found[rounded] != expected[rounded]) < 0.01
