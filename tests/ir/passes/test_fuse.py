"""What becomes part of the operation before or after."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.ir import kinds
from edgec.ir.graph import Graph, Quantization, TensorType
from edgec.ir.kinds import Kind
from edgec.ir.passes.fuse import fuse, fuse_activations, fuse_constants, fuse_padding
from edgec.ir.passes.transposes import place_transposes
from tests.ir.passes.onnx_order import OnnxOrder, assert_same, kinds_in
from tests.ir.passes.test_transposes import convolutional_network, graphs


class ChannelsLast(OnnxOrder):
    """A builder of graphs with channels last."""

    def plain_conv(self, x: str, output: str, channels: int = 4, kernel: int = 3, bias: bool = True) -> str:
        weights = self.integers(f"{output}.w", channels, kernel, kernel, self.type(x).shape[3])
        rest = [self.integers(f"{output}.b", channels)] if bias else []
        return self.add(kinds.Conv2D(), [x, weights, *rest], output, origin=[f"node_{output}"])


@pytest.mark.parametrize(
    ("kind", "activation"),
    [
        (kinds.Unary("relu"), "relu"),
        (kinds.Unary("relu6"), "relu6"),
        (kinds.Clip(0.0, math.inf), "relu"),
        (kinds.Clip(0.0, 6.0), "relu6"),
        (kinds.Clip(0.0, 5.0), "none"),
        (kinds.Unary("sigmoid"), "none"),
    ],
)
def test_an_activation_becomes_part_of_the_product(kind: Kind, activation: str) -> None:
    b = ChannelsLast()
    made = b.plain_conv(b.image("x", 1, 6, 6, 3), "c")
    before = b.finish([b.add(kind, [made], "y", origin=["node_y"])])
    after = fuse_activations(before)
    assert after.operations[0].kind == kinds.Conv2D(activation=activation)  # type: ignore[arg-type]
    assert len(after.operations) == (1 if activation != "none" else 2)
    if activation != "none":
        assert after.operations[0].outputs == ("y",)
        assert after.operations[0].origin == ("node_c", "node_y")
        assert "c" not in after.values
    assert_same(before, after)


@pytest.mark.parametrize("function", ["add", "sub", "mul", "maximum"])
def test_an_activation_becomes_part_of_sums_and_products(function: str) -> None:
    b = ChannelsLast()
    total = b.add(kinds.Binary(function), [b.image("x", 2, 3), b.image("z", 2, 3)], "t")  # type: ignore[arg-type]
    before = b.finish([b.add(kinds.Unary("relu"), [total], "y")])
    after = fuse_activations(before)
    assert len(after.operations) == (2 if function == "maximum" else 1)
    assert_same(before, after)


def test_a_result_that_others_read_keeps_its_activation_apart() -> None:
    b = ChannelsLast()
    read_twice = b.plain_conv(b.image("x", 1, 6, 6, 3), "c")
    output = b.plain_conv(b.add(kinds.Unary("relu"), [read_twice], "r"), "d")
    before = b.finish([b.add(kinds.Unary("relu"), [output], "y"), output, b.add(kinds.Unary("neg"), [read_twice], "n")])
    assert fuse_activations(before).operations == before.operations


def test_an_activation_passes_a_reshape() -> None:
    b = ChannelsLast()
    made = b.plain_conv(b.image("x", 1, 1, 6, 3), "c/image", kernel=1)
    before = b.finish([b.add(kinds.Unary("relu"), [b.add(kinds.Reshape((1, 6, 4)), [made], "c")], "y")])
    after = fuse_activations(before)
    assert [(type(item.kind), item.outputs) for item in after.operations] == [
        (kinds.Conv2D, ("y/Conv2D",)),
        (kinds.Reshape, ("y",)),
    ]
    assert_same(before, after)


def test_no_reshape_is_left_between_one_dimensional_convolutions() -> None:
    b = ChannelsLast()
    x = b.image("x", 1, 1, 6, 3)
    for name in ("a", "b"):
        made = b.plain_conv(x, f"{name}/image", kernel=1)
        relu = b.add(kinds.Unary("relu"), [b.add(kinds.Reshape((1, 6, 4)), [made], name)], f"{name}_relu")
        x = b.add(kinds.Reshape((1, 1, 6, 4)), [relu], f"{name}_relu/image")
    before = b.finish([x])
    after = fuse(before)
    assert kinds_in(after) == [kinds.Conv2D, kinds.Conv2D]
    assert_same(before, after)


def test_two_activations_become_the_tighter_one() -> None:
    b = ChannelsLast()
    made = b.plain_conv(b.image("x", 1, 6, 6, 3), "c")
    relu = b.add(kinds.Unary("relu"), [made], "r")
    before = b.finish([b.add(kinds.Unary("relu"), [b.add(kinds.Clip(0.0, 6.0), [relu], "r6")], "y")])
    after = fuse_activations(before)
    assert [item.kind for item in after.operations] == [kinds.Conv2D(activation="relu6")]
    assert_same(before, after)


def test_rounding_between_keeps_the_activation_apart() -> None:
    b = ChannelsLast()
    made = b.plain_conv(b.image("x", 1, 6, 6, 3), "c")
    grid = Quantization.per_tensor(1.0, 0)
    stored = b.add(kinds.Quantize(), [made], "q", quantization=grid, dtype="int8")
    before = b.finish([b.add(kinds.Unary("relu"), [b.add(kinds.Dequantize(), [stored], "d")], "y")])
    assert kinds_in(fuse(before)) == [kinds.Conv2D, kinds.Quantize, kinds.Dequantize, kinds.Unary]


def test_on_one_grid_an_activation_is_part_of_operations_on_integers_too() -> None:
    grid, other = Quantization.per_tensor(1.0, -5), Quantization.per_tensor(0.5, 0)
    for result, count in ((grid, 1), (other, 2)):
        b = ChannelsLast()
        x = b.input("x", TensorType((2, 3), "int8", grid))
        total = b.add(kinds.Binary("add"), [x, x], "t", quantization=grid)
        before = b.finish([b.add(kinds.Unary("relu"), [total], "y", quantization=result)])
        after = fuse_activations(before)
        assert len(after.operations) == count
        assert_same(before, after)


def test_constants_of_each_channel_become_weights_and_bias() -> None:
    b = ChannelsLast()
    x = b.plain_conv(b.image("x", 1, 6, 6, 3), "c", bias=False)
    x = b.add(kinds.Binary("mul"), [b.integers("scale", 4), x], "scaled", origin=["node_scale"])
    x = b.add(kinds.Binary("add"), [x, b.integers("shift", 1, 1, 4)], "shifted")
    x = b.add(kinds.Binary("sub", "relu"), [x, b.integers("less", 1)], "y")
    before = b.finish([x])
    after = fuse_constants(before)
    assert [(item.kind, item.outputs) for item in after.operations] == [(kinds.Conv2D(activation="relu"), ("y",))]
    assert after.operations[0].origin == ("node_c", "node_scale")
    assert_same(before, after)


def test_constants_of_another_shape_stay_apart() -> None:
    b = ChannelsLast()
    x = b.plain_conv(b.image("x", 1, 6, 6, 3), "c")
    x = b.add(kinds.Binary("add"), [x, b.integers("rows", 4, 1, 1)], "rows_added")
    x = b.add(kinds.Binary("sub"), [b.integers("from", 4), x], "negated")
    before = b.finish(
        [b.gemm(x, "d", 4), b.add(kinds.Binary("add"), [b.gemm(x, "e", 2), b.integers("k", 2, 4, 4, 2)], "y")]
    )
    assert fuse_constants(before).operations == before.operations


def test_weights_that_are_stored_as_integers_take_a_bias_and_no_factor() -> None:
    b = ChannelsLast()
    weights = b.constant("w", b.random.integers(-3, 4, (2, 3)).astype(np.int8), Quantization((0.5, 1.0), (0, 0), 0))
    product = [b.input("x", TensorType((1, 3), "float32")), b.add(kinds.Dequantize(), [weights], "w/float")]
    shifted = b.add(kinds.Binary("add"), [b.add(kinds.FullyConnected(), product, "p"), b.integers("k", 2)], "shifted")
    before = b.finish([b.add(kinds.Binary("mul"), [shifted, b.integers("f", 2)], "y")])
    after = fuse_constants(before)
    assert kinds_in(after) == [kinds.Dequantize, kinds.FullyConnected, kinds.Binary]
    assert_same(before, after)


def test_zeros_around_an_image_become_padding() -> None:
    b = ChannelsLast()
    x = b.add(kinds.Pad((0, 1, 0, 0), (0, 0, 2, 0)), [b.image("x", 1, 6, 6, 3)], "padded", origin=["pad"])
    made = b.plain_conv(x, "c", kernel=2)
    before = b.finish([made, b.add(kinds.AveragePool2D((2, 2), (1, 1)), [x], "mean")])
    after = fuse_padding(before)
    assert after.operations[1].kind == kinds.Conv2D(padding=kinds.Padding2D(1, 0, 0, 2))
    assert after.operations[1].origin == ("pad", "node_c")
    assert after.operations[2].inputs == ("padded",)
    assert_same(before, after)


@pytest.mark.parametrize(
    "pad",
    [
        kinds.Pad((0, 1, 0, 0), (0, 0, 2, 0), "constant", 1.0),
        kinds.Pad((0, 1, 0, 0), (0, 0, 2, 0), "reflect"),
        kinds.Pad((0, 0, 0, 0), (0, 0, 0, 1)),
        kinds.Pad((0, -1, 0, 0), (0, 0, 0, 0)),
    ],
)
def test_other_padding_stays(pad: kinds.Pad) -> None:
    b = ChannelsLast()
    before = b.finish([b.plain_conv(b.add(pad, [b.image("x", 1, 6, 6, 3)], "padded"), "c")])
    assert fuse_padding(before).operations == before.operations


@pytest.mark.parametrize(("value", "left"), [(0.0, 2), (-math.inf, 1)])
def test_only_the_lowest_value_is_padding_of_the_largest(value: float, left: int) -> None:
    b = ChannelsLast()
    x = b.add(kinds.Pad((0, 1, 0, 0), (0, 0, 1, 0), "constant", value), [b.image("x", 1, 6, 6, 3)], "padded")
    before = b.finish([b.add(kinds.MaxPool2D((2, 2), (1, 1)), [x], "y")])
    after = fuse_padding(before)
    assert len(after.operations) == left
    assert_same(before, after)


def test_a_number_times_a_number_is_left_as_it_is() -> None:
    b = ChannelsLast()
    before = b.finish([b.add(kinds.Binary("mul"), [b.image("x"), b.integers("two")], "y")])
    after = fuse_constants(before)
    assert kinds_in(after) == [kinds.Binary]
    assert_same(before, after)


def test_a_convolutional_network_is_only_what_it_must_be() -> None:
    before = convolutional_network()
    after = fuse(place_transposes(before, free_boundary=True))
    assert kinds_in(after) == [
        kinds.Conv2D,
        kinds.Conv2D,
        kinds.Binary,
        kinds.MaxPool2D,
        kinds.Conv2D,
        kinds.Concat,
        kinds.Reduce,
        kinds.Reshape,
        kinds.FullyConnected,
    ]
    assert_same(before, after)


@settings(max_examples=100, deadline=None)
@given(graphs(), st.booleans())
def test_random_graphs_compute_the_same(before: Graph, free: bool) -> None:
    after = fuse(place_transposes(before, free_boundary=free))
    assert_same(before, after)
    assert_same(before, fuse(before))
    assert len(after.operations) <= len(before.operations)
