"""Normalizations compute what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgec.errors import UnsupportedOp
from edgec.ir.reference.executor import execute
from tests.ir.importer.comparison import agree, assert_same_as_onnxruntime, imported, labels, model_of, node, random

SHAPES = [(2, 6, 5), (2, 6, 4, 3), (1, 6, 2, 3, 2)]


def _positive(*shape: int) -> np.ndarray:
    return np.abs(random(*shape)) + np.float32(0.1)


@pytest.mark.parametrize("shape", [(2, 6), *SHAPES])
def test_batch_normalization(shape: tuple[int, ...]) -> None:
    constants = {"s": random(6), "b": random(6), "m": random(6), "v": _positive(6)}
    item = node("BatchNormalization", ["x", *constants], epsilon=1e-3)
    graph = agree(item, {"x": shape}, constants)
    assert labels(graph) == ["mul", "add"]


def test_batch_normalization_that_trains_is_refused() -> None:
    constants = {"s": random(6), "b": random(6), "m": random(6), "v": _positive(6)}
    item = node("BatchNormalization", ["x", *constants], ["y", "mean", "variance"], training_mode=1)
    with pytest.raises(UnsupportedOp, match="training mode"):
        imported(model_of(item, {"x": (2, 6, 4, 3)}, constants))


@pytest.mark.parametrize("shape", SHAPES)
def test_instance_normalization(shape: tuple[int, ...]) -> None:
    constants = {"s": random(6), "b": random(6)}
    item = node("InstanceNormalization", ["x", *constants], epsilon=1e-3)
    agree(item, {"x": shape}, constants, tolerance=1e-5)


@pytest.mark.parametrize(("opset", "gains"), [(18, 3), (21, 6)])
@pytest.mark.parametrize("shape", SHAPES)
def test_group_normalization(shape: tuple[int, ...], opset: int, gains: int) -> None:
    constants = {"s": random(gains), "b": random(gains)}
    item = node("GroupNormalization", ["x", *constants], num_groups=3, epsilon=1e-3)
    graph = imported(model_of(item, {"x": shape}, constants, opset=opset))
    assert labels(graph).count("reduce_mean") == 2
    agree(item, {"x": shape}, constants, opset=opset, tolerance=1e-5)


@pytest.mark.parametrize("axes", [None, [1], [0, 2, 3], [2, 3], [-1]])
def test_mean_variance_normalization(axes: list[int] | None) -> None:
    agree(node("MeanVarianceNormalization", ["x"], axes=axes), {"x": (2, 3, 4, 5)}, tolerance=1e-5)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("axis", [-1, 1, 2, -3])
def test_layer_normalization(axis: int, bias: bool, constant: bool) -> None:
    shape = (2, 3, 4, 5)
    gains = {"s": random(*shape[axis:]), **({"b": random(*shape[axis:])} if bias else {})}
    inputs = {"x": shape} if constant else {"x": shape, **{name: data.shape for name, data in gains.items()}}
    item = node("LayerNormalization", ["x", *gains], axis=axis, epsilon=1e-3)
    graph = agree(item, inputs, gains if constant else {}, tolerance=1e-5)
    assert labels(graph) == ["LayerNorm"]


@pytest.mark.parametrize("axis", [-1, 1])
def test_mean_and_deviation_of_a_layer_normalization(axis: int) -> None:
    names = ("y", "mean", "inverse")
    item = node("LayerNormalization", ["x", "s"], names, axis=axis)
    agree(item, {"x": (2, 3, 4)}, {"s": random(*(2, 3, 4)[axis:])}, names, tolerance=1e-5)


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_rms_normalization(axis: int) -> None:
    shape = (2, 3, 4)
    item = node("RMSNormalization", ["x", "s"], axis=axis, epsilon=1e-3)
    agree(item, {"x": shape}, {"s": random(*shape[axis:])}, opset=23, tolerance=1e-5)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [-1, 1, 0])
def test_lp_normalization(axis: int, p: int) -> None:
    agree(node("LpNormalization", ["x"], axis=axis, p=p), {"x": (2, 3, 4)})


def test_a_norm_of_zero_is_not_divided_by() -> None:
    zeros = {"zero": np.zeros((1, 3), np.float32)}
    nodes = [node("Mul", ["x", "zero"], ["h"]), node("LpNormalization", ["h"])]
    agree(nodes, {"x": (1, 3)}, zeros)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_normalization(size: int) -> None:
    item = node("LRN", ["x"], size=size, alpha=0.3, beta=0.6, bias=1.5)
    agree(item, {"x": (2, 7, 3, 4)}, tolerance=1e-5)


@pytest.mark.parametrize("size", [2, 4])
def test_local_response_normalization_over_an_even_number_of_channels(size: int) -> None:
    """ONNX Runtime has only odd ones; the specification says that the channel more lies behind."""
    x = random(1, 5, 2, 2)
    padded = np.pad(x.astype(np.float64) ** 2, ((0, 0), ((size - 1) // 2, size // 2), (0, 0), (0, 0)))
    total = sum(padded[:, i : i + 5] for i in range(size))
    graph = imported(model_of(node("LRN", ["x"], size=size, alpha=0.3, beta=0.6, bias=1.5), {"x": x.shape}))
    np.testing.assert_allclose(execute(graph, {"x": x})["y"], x / (1.5 + 0.3 / size * total) ** 0.6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_along_any_axis(op: str, shape: tuple[int, ...]) -> None:
    for axis in range(-len(shape), len(shape)):
        agree(node(op, ["x"], axis=axis), {"x": shape})


GAINS = {
    "BatchNormalization": {"s": random(6), "b": random(6), "m": random(6), "v": _positive(6)},
    "InstanceNormalization": {"s": random(6), "b": random(6)},
    "LayerNormalization": {"s": random(5), "b": random(5)},
}


@pytest.mark.parametrize("op", GAINS)
def test_gains_that_are_stored_as_float16(op: str) -> None:
    constants = GAINS[op]
    casts = [node("Cast", [f"{name}16"], [name], to=onnx.TensorProto.FLOAT) for name in constants]
    model = model_of(
        [*casts, node(op, ["x", *constants])],
        {"x": (1, 6, 4, 5)},
        {f"{name}16": data.astype(np.float16) for name, data in constants.items()},
    )
    assert_same_as_onnxruntime(model, tolerance=1e-5)
