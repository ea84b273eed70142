"""QuantizeLinear and DequantizeLinear: scales, zero points, and what stays as integers."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.errors import UnsupportedOp
from edgec.ir.graph import Quantization
from edgec.ir.kinds import Dequantize, Quantize
from tests.ir.importer.comparison import agree, imported, labels, model_of, node, random

ACTIVATIONS = [("int8", 0), ("int8", -3), ("uint8", 128), ("uint8", 7), ("int16", 0)]


def _grid(dtype: str, zero_point: int) -> dict[str, np.ndarray]:
    return {"s": np.array(0.037, np.float32), "z": np.array(zero_point, dtype)}


@pytest.mark.parametrize(("dtype", "zero_point"), ACTIVATIONS)
def test_an_activation_is_quantized_and_made_real_again(dtype: str, zero_point: int) -> None:
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"])]
    graph = agree(nodes, {"x": (50, 40)}, _grid(dtype, zero_point), opset=21, tolerance=0)
    assert [operation.kind for operation in graph.operations] == [Quantize(), Dequantize()]
    of = graph.type("q")
    signed = zero_point - 128 if dtype == "uint8" else zero_point
    assert of.dtype == ("int8" if dtype == "uint8" else dtype)
    assert of.quantization == Quantization.per_tensor(0.037, signed)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_an_output_keeps_its_integers(dtype: str) -> None:
    graph = agree(node("QuantizeLinear", ["x", "s", "z"]), {"x": (4, 5)}, _grid(dtype, 3), opset=21)
    assert graph.type("y").dtype == dtype


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
def test_an_input_of_integers_gets_the_scale_of_who_reads_it(dtype: str) -> None:
    zero_point = 0 if dtype == "int32" else 3
    integers = {"x": np.arange(20, dtype=dtype).reshape(4, 5)}
    graph = agree(node("DequantizeLinear", ["x", "s", "z"]), integers, _grid(dtype, zero_point), opset=21, tolerance=0)
    assert graph.type("x").quantization == Quantization.per_tensor(0.037, zero_point)


def test_integers_that_are_moved_keep_their_scale() -> None:
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("Transpose", ["q"], ["t"], perm=[1, 0]),
        node("DequantizeLinear", ["t", "s", "z"]),
    ]
    for dtype in ("int8", "uint8"):
        graph = agree(nodes, {"x": (4, 5)}, _grid(dtype, 3), tolerance=0)
        assert labels(graph) == ["Quantize", "Transpose", "Dequantize"]
        assert graph.type("q").quantization == graph.type("t").quantization


def test_a_tensor_with_two_meanings_is_refused() -> None:
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s2", "z"])]
    constants = {**_grid("int8", 0), "s2": np.array(0.1, np.float32)}
    with pytest.raises(UnsupportedOp, match="other scales than those that it was written with"):
        imported(model_of(nodes, {"x": (4, 5)}, constants))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_constants_stay_stored_with_a_scale_for_each_index(dtype: str, axis: int) -> None:
    shape = (3, 4, 5)
    data = np.random.default_rng(0).integers(-100, 100, shape)
    scales = np.abs(random(shape[axis])) + np.float32(0.1)
    middle = 128 if dtype == "uint8" else 0
    constants = {
        "w": (data + middle).astype(dtype),
        "s": scales,
        "z": np.full(scales.shape, middle, dtype),
    }
    nodes = [node("DequantizeLinear", ["w", "s", "z"], ["real"], axis=axis), node("Add", ["x", "real"])]
    graph = agree(nodes, {"x": shape}, constants)
    of = graph.type("w")
    assert of.dtype == "int8" and of.quantization is not None and of.quantization.axis == axis % 3
    np.testing.assert_array_equal(graph.constant("w"), data)


def test_a_constant_that_is_read_on_two_grids_is_two_constants() -> None:
    constants = {"w": np.arange(4, dtype=np.int8), "s": np.array(0.5, np.float32), "s2": np.array(2, np.float32)}
    nodes = [
        node("DequantizeLinear", ["w", "s"], ["a"]),
        node("DequantizeLinear", ["w", "s2"], ["b"]),
        node("Add", ["x", "a"], ["h"]),
        node("Add", ["h", "b"]),
    ]
    agree(nodes, {"x": (4,)}, constants)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("channels", [1, 4])
def test_weights_that_the_model_quantizes_are_stored_as_integers(dtype: str, channels: int) -> None:
    """As training that is aware of quantization exports them."""
    middle = 128 if dtype == "uint8" else 0
    scales = np.array([0.01, 0.02, 0.03, 0.04], np.float32)[:channels]
    grid = {"s": scales, "z": np.full(channels, middle, dtype)} if channels > 1 else _grid(dtype, middle)
    nodes = [
        node("QuantizeLinear", ["w", "s", "z"], ["w8"], axis=0),
        node("DequantizeLinear", ["w8", "s", "z"], ["r"], axis=0),
        node("Conv", ["x", "r"]),
    ]
    graph = agree(nodes, {"x": (1, 3, 5, 5)}, {"w": random(4, 3, 3, 3), **grid})
    assert labels(graph) == ["Dequantize", "Transpose", "Conv2D", "Transpose"]


def test_int32_biases_have_the_scales_of_their_products() -> None:
    constants = {
        "w8": np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8),
        "ws": np.abs(random(4)) + np.float32(0.1),
        "b32": np.array([1, -2, 3, 400], np.int32),
        "bs": np.abs(random(4)) + np.float32(0.1),
    }
    nodes = [
        node("DequantizeLinear", ["w8", "ws"], ["w"], axis=0),
        node("DequantizeLinear", ["b32", "bs"], ["b"], axis=0),
        node("Conv", ["x", "w", "b"]),
    ]
    graph = agree(nodes, {"x": (1, 3, 5, 5)}, constants)
    of = graph.type("b32")
    assert of.dtype == "int32" and of.quantization is not None and of.quantization.axis == 0


REFUSED = {
    "several scales": ({"s": np.array([0.1, 0.2], np.float32), "z": np.zeros(2, np.int8)}, 1, "several scales"),
    "no positive scale": ({"s": np.array(0, np.float32), "z": np.array(0, np.int8)}, 1, "not a positive number"),
    "unsigned 16 bits": ({"s": np.array(0.1, np.float32), "z": np.array(0, np.uint16)}, 1, "integers are uint16"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_grids_are_refused(case: str) -> None:
    constants, axis, message = REFUSED[case]
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis),
        node("DequantizeLinear", ["q", "s", "z"], axis=axis),
    ]
    with pytest.raises(UnsupportedOp, match=message):
        imported(model_of(nodes, {"x": (3, 2)}, constants, opset=21))


def test_zero_points_of_channels_and_blocks_are_refused() -> None:
    held = {"w": np.zeros((4, 6), np.int8)}
    channels = {**held, "s": np.ones(4, np.float32), "z": np.arange(4, dtype=np.int8)}
    nodes = [node("DequantizeLinear", ["w", "s", "z"], ["r"], axis=0), node("Add", ["x", "r"])]
    with pytest.raises(UnsupportedOp, match="several scales and zero points"):
        imported(model_of(nodes, {"x": (4, 6)}, channels))
    blocks = {**held, "s": np.ones((4, 2), np.float32), "z": np.zeros((4, 2), np.int8)}
    nodes = [node("DequantizeLinear", ["w", "s", "z"], ["r"], axis=1, block_size=3), node("Add", ["x", "r"])]
    with pytest.raises(UnsupportedOp, match="those of blocks"):
        imported(model_of(nodes, {"x": (4, 6)}, blocks, opset=21))


def test_a_scale_that_is_computed_is_refused() -> None:
    nodes = [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"])]
    with pytest.raises(UnsupportedOp, match="its scale is computed at run time"):
        imported(model_of(nodes, {"x": (3, 2), "s": ()}))


def test_dynamic_quantization_is_refused() -> None:
    nodes = [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), node("DequantizeLinear", ["q", "s", "z"])]
    with pytest.raises(UnsupportedOp, match="DynamicQuantizeLinear"):
        imported(model_of(nodes, {"x": (3, 2)}))
