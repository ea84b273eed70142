from __future__ import annotations

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Quantization, TensorType
from edgec.ir.passes.one_hot_products import one_hot_products
from edgec.ir.reference import execute
from edgec.ir.verifier import verify

DEPTH, WIDTH = 7, 5
INDICES = np.array([[0, 6, -1], [7, 3, -100], [1 << 30, 2, 2]])


def _embedding(*, dtype: str = "int64", compared: bool = True, quantized: bool = False, start: int = 0) -> Graph:
    """indices [3, 3] -> rows [3, 3, WIDTH]: as exporters write it, or with OneHot."""
    builder, rng = GraphBuilder(), np.random.default_rng(0)
    indices = builder.input("indices", TensorType((3, 3), dtype))
    if compared:
        spread = builder.add(kinds.Reshape((3, 3, 1)), [indices], "spread")
        numbers = builder.constant("numbers", np.arange(start, start + DEPTH).astype(dtype))
        equal = builder.add(kinds.Binary("equal"), [spread, numbers], "equal")
        rows = builder.add(kinds.Cast("float32"), [equal], "rows")
    else:
        on, off = (builder.constant("value", np.float32(value)) for value in (2, -1))
        rows = builder.add(kinds.OneHot(DEPTH, 2), [indices, on, off], "rows")
    weights = rng.normal(size=(WIDTH, DEPTH)).astype(np.float32)
    if not quantized:
        product = builder.add(
            kinds.FullyConnected(),
            [rows, builder.constant("w", weights), builder.constant("b", weights[:, 0].copy())],
            "product",
        )
        return builder.finish([builder.add(kinds.Unary("gelu"), [product], "result")])
    grid, of_rows = Quantization.per_tensor(0.02, 3), Quantization.per_tensor(1 / 127, -128)
    integers = builder.add(kinds.Quantize(), [rows], "q", types=[TensorType((3, 3, DEPTH), "int8", of_rows)])
    scaled = builder.constant("w", np.rint(weights * 50).astype(np.int8), Quantization.per_tensor(0.02, 0))
    product = builder.add(kinds.FullyConnected(), [integers, scaled], "product", dtype="int8", quantization=grid)
    return builder.finish([builder.add(kinds.Dequantize(), [product], "result")])


@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_rows_are_looked_up(compared, quantized, dtype):
    graph = _embedding(dtype=dtype, compared=compared, quantized=quantized)
    found = one_hot_products(graph)
    verify(found)
    assert [type(operation.kind) for operation in found.operations][-1] is kinds.Gather
    assert not any(isinstance(operation.kind, kinds.FullyConnected) for operation in found.operations)
    feeds = {"indices": INDICES.astype(dtype)}
    np.testing.assert_array_equal(execute(found, feeds)["result"], execute(graph, feeds)["result"])


def test_other_comparisons_stay():
    """With 1, 2, 3 ... no row is that of its index."""
    graph = _embedding(start=1)
    assert one_hot_products(graph) is graph


def test_a_product_that_others_read_is_looked_up_without_what_follows():
    graph = _embedding()
    graph.outputs = ("product", "result")
    found = one_hot_products(graph)
    feeds = {"indices": INDICES}
    assert [type(operation.kind) for operation in found.operations][-2:] == [kinds.Gather, kinds.Unary]
    for name, expected in execute(graph, feeds).items():
        np.testing.assert_array_equal(execute(found, feeds)[name], expected)
