"""Normalizations and softmaxes.

What has no kind of its own is written out: means, deviations from them, and their square roots. Shapes of gains and
offsets are those that broadcast in ONNX's order of dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.ir.importer.handlers import imports
from edgec.ir.importer.node import NodeImport
from edgec.ir.importer.spatial import to_image
from edgec.ir.kinds import (
    ArgReduce,
    Binary,
    BroadcastTo,
    FullyConnected,
    LayerNorm,
    LogSoftmax,
    OneHot,
    Reduce,
    Reshape,
    Softmax,
    Transpose,
    Unary,
)

_SMALLEST = np.finfo(np.float32).tiny  # keeps a norm of 0 from being divided by


# --- over batches, channels and groups ---


@imports("BatchNormalization")
def _batch_normalization(item: NodeImport) -> None:
    item.require_float(0, 1, 2, 3, 4)
    if item.attribute("training_mode", 0):
        item.refuse("it is in training mode", "Export the model for inference: model.eval() before the export.")
    if any(item.outputs[1:]):
        item.refuse("running statistics are asked for", "Leave out all results but the first.")
    scale, offset, mean, variance = (
        _constant_numbers(item, position, what).astype(np.float64)
        for position, what in enumerate(("scale", "offset", "mean", "variance"), 1)
    )
    factor = scale / np.sqrt(variance + float(item.attribute("epsilon", 1e-5)))
    x = item.operand(0)
    scaled = _with(item, "mul", x, _per_channel(item, "factor", factor), "scaled")
    _finish(item, "add", scaled, _per_channel(item, "offset", offset - mean * factor))


@imports("InstanceNormalization")
def _instance_normalization(item: NodeImport) -> None:
    item.require_float(0, 1, 2)
    x = item.operand(0)
    axes = tuple(range(2, item.type(x).rank))
    value = _standardized(item, x, axes, float(item.attribute("epsilon", 1e-5)))
    value = _with(item, "mul", value, _per_channel(item, "scale", _constant_numbers(item, 1, "scale")), "scaled")
    _finish(item, "add", value, _per_channel(item, "offset", _constant_numbers(item, 2, "offset")))


@imports("GroupNormalization")
def _group_normalization(item: NodeImport) -> None:
    item.require_float(0, 1, 2)
    x = item.operand(0)
    shape = item.type(x).shape
    groups = int(item.attribute("num_groups"))
    grouped = item.add(
        Reshape((shape[0], groups, item.type(x).size // (shape[0] * groups))), [x], item.between("groups")
    )
    value = _standardized(item, grouped, (2,), float(item.attribute("epsilon", 1e-5)))
    value = item.add(Reshape(shape), [value], item.between("channels"))
    # Gains are those of channels; before opset 21 they were those of groups.
    scale, offset = (
        np.repeat(data, shape[1] // len(data))
        for data in (_constant_numbers(item, 1, "scale"), _constant_numbers(item, 2, "offset"))
    )
    value = _with(item, "mul", value, _per_channel(item, "scale", scale), "scaled")
    _finish(item, "add", value, _per_channel(item, "offset", offset))


@imports("MeanVarianceNormalization")
def _mean_variance_normalization(item: NodeImport) -> None:
    item.require_float(0)
    rank = item.type(item.operand(0)).rank
    axes = sorted(int(axis) % rank for axis in item.attribute("axes") or (0, 2, 3))
    deviation, variance = _deviation(item, item.operand(0), axes)
    root = item.add(Unary("sqrt"), [variance], item.between("deviation"))
    _finish(item, "div", deviation, _with(item, "add", root, item.add_constant("epsilon", np.float32(1e-9)), "safe"))


# --- over the last dimensions ---


@imports("LayerNormalization")
def _layer_normalization(item: NodeImport) -> None:
    item.require_float(0, 1, 2)
    x = item.operand(0)
    rank = item.type(x).rank
    axis = int(item.attribute("axis", -1)) % rank
    shape = item.type(x).shape[axis:]
    epsilon = float(item.attribute("epsilon", 1e-5))
    operands = [_of_shape(item, item.operand(position), shape) for position in (1, 2) if item.has(position)]
    item.add(LayerNorm(len(shape), epsilon), [x, *operands])
    _, mean, inverse, *_ = [*item.outputs, "", ""]
    axes = tuple(range(axis, rank))
    if mean:
        item.add(Reduce("mean", axes, keepdims=True), [x], mean)
    if inverse:
        item.rename(_inverse_root(item, _deviation(item, x, axes)[1], epsilon), inverse)


@imports("RMSNormalization")
def _rms_normalization(item: NodeImport) -> None:
    item.require_float(0, 1)
    x = item.operand(0)
    rank = item.type(x).rank
    axes = tuple(range(int(item.attribute("axis", -1)) % rank, rank))
    square = item.add(Unary("square"), [x], item.between("square"))
    mean = item.add(Reduce("mean", axes, keepdims=True), [square], item.between("mean"))
    inverse = _inverse_root(item, mean, float(item.attribute("epsilon", 1e-5)))
    value = _with(item, "mul", x, inverse, "standardized")
    _finish(item, "mul", value, item.operand(1))


@imports("LpNormalization")
def _lp_normalization(item: NodeImport) -> None:
    item.require_float(0)
    x = item.operand(0)
    axis = int(item.attribute("axis", -1)) % item.type(x).rank
    if item.attribute("p", 2) == 1:
        size = item.add(Unary("abs"), [x], item.between("size"))
        norm = item.add(Reduce("sum", (axis,), keepdims=True), [size], item.between("sum"))
    else:
        square = item.add(Unary("square"), [x], item.between("square"))
        total = item.add(Reduce("sum", (axis,), keepdims=True), [square], item.between("sum"))
        norm = item.add(Unary("sqrt"), [total], item.between("norm"))
    smallest = item.add_constant("smallest", np.float32(_SMALLEST))
    _finish(item, "div", x, _with(item, "maximum", norm, smallest, "safe"))


@imports("LRN")
def _local_response_normalization(item: NodeImport) -> None:
    item.require_float(0)
    x = item.operand(0)
    if item.type(x).rank != 4:
        item.refuse(f"it works on {item.type(x).rank} dimensions", "Only images [N, C, H, W] can be compiled.")
    size = int(item.attribute("size"))
    channels = np.arange(item.type(x).shape[1])
    distance = channels[None, :] - channels[:, None]
    band = ((distance >= -((size - 1) // 2)) & (distance <= size // 2)) * (item.attribute("alpha", 1e-4) / size)
    square = item.add(Unary("square"), [to_image(item, x)], item.between("square"))
    # The sum over neighbouring channels is a product with a matrix of ones around the diagonal.
    bias = item.add_constant("bias", np.full(len(channels), item.attribute("bias", 1.0), np.float32))
    weights = item.add_constant("band", band.astype(np.float32))
    total = item.add(FullyConnected(), [square, weights, bias], item.between("total"))
    beta = item.add_constant("beta", np.float32(item.attribute("beta", 0.75)))
    divisor = item.add(Binary("pow"), [total, beta], item.between("divisor/nhwc"))
    _finish(item, "div", x, item.add(Transpose((0, 3, 1, 2)), [divisor], item.between("divisor")))


# --- softmaxes ---


@imports("Softmax", "LogSoftmax", "Hardmax")
def _softmax(item: NodeImport) -> None:
    item.require_float(0)
    x = item.operand(0)
    rank = item.type(x).rank
    axis = int(item.attribute("axis", -1)) % rank
    if item.node.op_type == "Hardmax":
        depth = item.type(x).shape[axis]
        place = item.add(ArgReduce("max", axis), [x], item.between("place"))
        on = item.add_constant("on", np.float32(1))
        off = item.add_constant("off", np.float32(0))
        item.add(OneHot(depth, axis), [place, on, off])
        return
    kind = Softmax() if item.node.op_type == "Softmax" else LogSoftmax()
    if axis == rank - 1:
        item.add(kind, [x])
        return
    swap = list(range(rank))
    swap[axis], swap[-1] = rank - 1, axis
    last = item.permuted(x, swap, f"last{axis}")
    item.add(Transpose(tuple(swap)), [item.add(kind, [last], item.between("last"))])


# --- what they are made of ---


def _constant_numbers(item: NodeImport, position: int, what: str) -> np.ndarray:
    data = item.numbers(position)
    return data if data is not None else item.required_constant(position, what)


def _per_channel(item: NodeImport, suffix: str, data: np.ndarray) -> str:
    """A constant [C, 1, ...] that spreads over the first operand's dimension 1."""
    rank = item.type(item.operand(0)).rank
    return item.add_constant(suffix, data.astype(np.float32).reshape(-1, *[1] * (rank - 2)))


def _with(item: NodeImport, function: str, a: str, b: str, suffix: str) -> str:
    return item.add(Binary(function), [a, b], item.between(suffix))  # type: ignore[arg-type]


def _finish(item: NodeImport, function: str, a: str, b: str) -> None:
    item.add(Binary(function), [a, b])  # type: ignore[arg-type]


def _deviation(item: NodeImport, x: str, axes: Sequence[int]) -> tuple[str, str]:
    """x without its mean along `axes`, and the mean of its square."""
    mean = item.add(Reduce("mean", tuple(axes), keepdims=True), [x], item.between("mean"))
    deviation = _with(item, "sub", x, mean, "centered")
    square = item.add(Unary("square"), [deviation], item.between("square"))
    return deviation, item.add(Reduce("mean", tuple(axes), keepdims=True), [square], item.between("variance"))


def _standardized(item: NodeImport, x: str, axes: Sequence[int], epsilon: float) -> str:
    """(x - mean) / sqrt(variance + epsilon)."""
    deviation, variance = _deviation(item, x, axes)
    return _with(item, "mul", deviation, _inverse_root(item, variance, epsilon), "standardized")


def _inverse_root(item: NodeImport, value: str, epsilon: float) -> str:
    safe = _with(item, "add", value, item.add_constant("epsilon", np.float32(epsilon)), "safe")
    return item.add(Unary("rsqrt"), [safe], item.between("inverse"))


def _of_shape(item: NodeImport, value: str, shape: tuple[int, ...]) -> str:
    """`value` spread to `shape`."""
    if item.type(value).shape == shape:
        return value
    if item.is_stored(value):
        suffix = "x".join(str(size) for size in shape)
        return item.arranged(value, lambda data: np.broadcast_to(data, shape), suffix)
    return item.add(BroadcastTo(shape), [value], item.between("spread"))
