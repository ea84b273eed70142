"""A bias that is stored as integers becomes part of the product before it."""

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.graph import Quantization
from edgec.ir.passes.stored_bias import fuse_stored_bias
from edgec.ir.reference import execute
from edgec.ir.verifier import verify
from tests.ir.passes.test_integers import Net, feeds_of, labels


def net(shape: tuple[int, ...], axis: int | None, flip: bool = False) -> tuple[Net, str, str]:
    made = Net()
    x = made.real("x", 2, 16)
    product = made.add(kinds.FullyConnected(), [x, made.weights("w", (3, 16))], "product", origin=["matmul"])
    scale = (0.1,) if axis is None else (0.1, 0.2, 0.3)
    stored = made.constant(
        "b_quantized", np.array([5, -6, 7], np.int32).reshape(shape), Quantization(scale, (0,) * len(scale), axis)
    )
    operands = [product, made.dq(stored, "b_dequantized")]
    y = made.add(kinds.Binary("add", "relu"), operands[::-1] if flip else operands, "y", origin=["add"])
    return made, product, y


@pytest.mark.parametrize(("shape", "axis"), [((3,), 0), ((3,), None), ((1, 3), 1), ((1, 3), None)])
@pytest.mark.parametrize("flip", [False, True])
def test_it_becomes_the_third_operand(shape, axis, flip):
    made, _, y = net(shape, axis, flip)
    before = made.finish([y])
    after = fuse_stored_bias(before)
    verify(after)
    assert labels(after) == ["Dequantize", "Dequantize", "FullyConnected"]
    product = after.operations[-1]
    assert product.kind == kinds.FullyConnected("relu") and product.origin == ("matmul", "add")
    bias = after.values[after.producers()[product.inputs[2]].inputs[0]]
    assert bias.type.dtype == "int32" and bias.type.shape == (3,)
    expected, found = (execute(graph, feeds_of(before))[y] for graph in (before, after))
    np.testing.assert_array_equal(expected, found)


def test_a_sum_that_others_read_stays():
    made, product, y = net((3,), 0)
    graph = made.finish([y, made.add(kinds.Unary("neg"), [product], "z")])
    assert labels(fuse_stored_bias(graph)) == labels(graph)


def test_what_is_not_one_value_for_each_channel_stays():
    made = Net()
    x = made.real("x", 3, 16)
    product = made.add(kinds.FullyConnected(), [x, made.weights("w", (3, 16))], "product")
    stored = made.constant("b", np.array([[5], [-6], [7]], np.int32), Quantization.per_tensor(0.1, 0))
    graph = made.finish([made.add(kinds.Binary("add"), [product, made.dq(stored, "bias")], "y")])
    assert labels(fuse_stored_bias(graph)) == labels(graph)
