"""What counts as a multiplication with an addition."""

import pytest

from edgec.ir import kinds
from edgec.ir.accounting import account
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Quantization, TensorType
from edgec.ir.kinds import Padding2D

CASES = [
    (kinds.Conv2D(padding=Padding2D(1, 1, 1, 1)), (1, 5, 5, 4), (8, 3, 3, 4), 5 * 5 * 8 * 9 * 4),
    (kinds.Conv2D(groups=4), (1, 5, 5, 4), (4, 3, 3, 1), 3 * 3 * 4 * 9),
    (kinds.TransposeConv2D((2, 2)), (1, 5, 5, 4), (8, 3, 3, 4), 5 * 5 * 4 * 9 * 8),
    (kinds.TransposeConv2D((2, 2), groups=2), (1, 5, 5, 4), (8, 3, 3, 2), 5 * 5 * 4 * 9 * 4),
    (kinds.FullyConnected(), (2, 3, 5), (7, 5), 2 * 3 * 5 * 7),
    (kinds.BatchMatMul(), (2, 3, 5), (2, 5, 7), 2 * 3 * 5 * 7),
    (kinds.BatchMatMul(transpose_a=True, transpose_b=True), (2, 5, 3), (2, 7, 5), 2 * 3 * 5 * 7),
    (kinds.Binary("mul"), (2, 3), (2, 3), 0),
]


@pytest.mark.parametrize(("kind", "x", "weights", "macs"), CASES)
def test_macs(kind, x, weights, macs):
    builder = GraphBuilder()
    names = [builder.input(name, TensorType(shape, "float32")) for name, shape in (("x", x), ("w", weights))]
    found = account(builder.finish([builder.add(kind, names, "y", origin=["node"])]))
    assert found.macs == macs
    assert [(item.macs, item.origin) for item in found.in_float] == ([(macs, ("node",))] if macs else [])
    assert found.integer_share == (0 if macs else 1)


def test_the_share_of_integers():
    grid = Quantization.per_tensor(0.1, 0)
    builder = GraphBuilder()
    x = builder.input("x", TensorType((1, 8), "int8", grid))
    w = builder.input("w", TensorType((8, 8), "int8", grid))
    y = builder.add(kinds.FullyConnected(), [x, w], "y", quantization=grid)
    real = [builder.add(kinds.Dequantize(), [name], f"{name}/real") for name in (y, w)]
    builder.add(kinds.FullyConnected(), real, "z")
    found = account(builder.finish(["z"]))
    assert found.integer_share == 0.5
    assert [item.result for item in found.in_float] == ["z"]
