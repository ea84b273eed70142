"""Elementwise operations: functions that TFLite lacks, limits, slopes, and broadcasting in many dimensions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgec.backends.tflite.legal.products import implied, saturates_at
from edgec.backends.tflite.legal.ranks import broadcast_in_fewer_dimensions
from edgec.backends.tflite.legal.rewriting import Place, replaced
from edgec.backends.tflite.writer.elementwise import BINARY, CLIPS, FUSES_ACTIVATION, UNARY
from edgec.ir.graph import Quantization, TensorType
from edgec.ir.kinds import Binary, Cast, Clip, HardSigmoid, LeakyRelu, PRelu, Quantize, Reshape, Select, Unary
from edgec.ir.kinds.elementwise import BinaryFunction

_OF_BOOL: dict[BinaryFunction, BinaryFunction] = {
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_xor": "not_equal",
    "logical_xor": "not_equal",
}
"""What functions of truth values are called in TFLite."""


@replaced.register
def _(kind: Unary, place: Place) -> bool:
    x = place.type(0)
    if x.quantization is not None and kind.function == "square":
        return place.finish(Binary("mul"), [place.inputs[0]] * 2)
    if kind.function not in UNARY:
        place.refuse(f"TFLite has no operator for {kind.function}")
    return False


@replaced.register
def _(kind: HardSigmoid, place: Place) -> bool:
    """The slope leaves the integers as they are and changes what a step is worth; adding the offset then saturates.

    One step of a constant is worth all of it, so that no constant is rounded.
    """
    x = place.type(0)
    assert x.quantization is not None
    slope, offset = (Quantization.per_tensor(value, 0) for value in (kind.slope, kind.offset))
    one = np.ones((), x.dtype)
    step = np.float32(x.quantization.scale[0]) * np.float32(slope.scale[0])
    scaled = TensorType(x.shape, x.dtype, Quantization.per_tensor(float(step), x.quantization.zero_point[0]))
    product = place.add(Binary("mul"), [place.inputs[0], place.constant("slope", one, slope)], "scaled", scaled)
    operands = [product, place.constant("offset", one, offset)]
    if saturates_at(0.0, 1.0, place.result):
        return place.finish(Binary("add"), operands)
    return place.finish(Clip(0.0, 1.0), [place.add(Binary("add"), operands, "line", place.result)])


@replaced.register
def _(kind: Binary, place: Place) -> bool:
    if place.type(0).dtype == "bool" and (logical := _OF_BOOL.get(kind.function)) is not None:
        return place.finish(Binary(logical), place.inputs)
    if kind.function not in BINARY:
        place.refuse(f"TFLite has no operator for {kind.function} of {place.type(0).dtype}")
    if kind.activation != "none" and kind.function not in FUSES_ACTIVATION:
        plain = replace(kind, activation="none")
        return place.finish(Unary(kind.activation), [place.add(plain, place.inputs, "linear", place.result)])
    return broadcast_in_fewer_dimensions(place, kind)


@replaced.register
def _(kind: Select, place: Place) -> bool:
    shape = place.result.shape
    if len(shape) <= 4:
        return False
    if broadcast_in_fewer_dimensions(place, kind):
        return True
    flat = [place.reshaped(name, (place.result.size,), f"flat.{i}") for i, name in enumerate(place.inputs)]
    return place.finish(Reshape(shape), [place.add(kind, flat, "flat", place.result.of_shape((place.result.size,)))])


@replaced.register
def _(kind: Cast, place: Place) -> bool:
    if kind.dtype == "float16":
        place.refuse(
            "it converts to float16 at run time", "Convert the model to float32; --precision fp16 shrinks weights."
        )
    return False


@replaced.register
def _(kind: Clip, place: Place) -> bool:
    x = place.type(0)
    if x.quantization is not None:
        return _integer_clip(kind, place)
    if x.dtype == "float32" and (kind.low, kind.high) in ((0.0, np.inf), (0.0, 6.0)):
        return place.finish(Unary("relu6" if kind.high == 6.0 else "relu"), place.inputs)
    if x.dtype == "float32" and (kind.low, kind.high) in CLIPS:
        return False
    value = place.inputs[0]
    limits = [("maximum", kind.low)] * (kind.low != -np.inf) + [("minimum", kind.high)] * (kind.high != np.inf)
    if not limits:
        return place.finish(Reshape(x.shape), [value])
    for i, (function, limit) in enumerate(limits):
        operands = [value, place.number(function, _within(limit, x.dtype), x)]
        last = i == len(limits) - 1
        if last:
            return place.finish(Binary(function), operands)  # type: ignore[arg-type]
        value = place.add(Binary(function), operands, "clipped")  # type: ignore[arg-type]
    return True


def _within(limit: float, dtype: str) -> float:
    if dtype == "float32":
        return limit
    info = np.iinfo(dtype)
    return max(min(int(limit), int(info.max)), int(info.min))


def _integer_clip(kind: Clip, place: Place) -> bool:
    """On the grid of the result: to round and then to clip is the same as the other way round."""
    x, result = place.type(0), place.result
    assert result.quantization is not None
    limits = np.iinfo(result.dtype)
    scale, zero_point = np.float32(result.quantization.scale[0]), result.quantization.zero_point[0]

    def step(limit: float) -> int:
        return int(np.clip(np.rint(np.float32(limit) / scale) + zero_point, limits.min, limits.max))

    low, high = step(kind.low), step(kind.high)
    bounds = [("maximum", low)] * (low > limits.min) + [("minimum", high)] * (high < limits.max)
    value = place.inputs[0]
    if (kind.low, kind.high) in ((0.0, np.inf), (0.0, 6.0)) and not implied("relu6" if kind.high == 6 else "relu", x):
        return place.finish(Unary("relu6" if kind.high == 6.0 else "relu"), place.inputs)
    if x.quantization != result.quantization or x.dtype != result.dtype:
        if not bounds:
            return place.finish(Quantize(), [value])
        value = place.add(Quantize(), [value], "rescaled", result)
    if not bounds:
        return place.finish(Reshape(x.shape), [value])
    for i, (function, limit) in enumerate(bounds):
        operands = [value, place.constant(function, np.array(limit, result.dtype), result.quantization)]
        if i == len(bounds) - 1:
            return place.finish(Binary(function), operands)  # type: ignore[arg-type]
        value = place.add(Binary(function), operands, "clipped", result)  # type: ignore[arg-type]
    return True


@replaced.register
def _(kind: PRelu, place: Place) -> bool:
    x, slope = place.type(0), place.type(1)
    data = place.data(1)
    if x.quantization is None and (data is None or max(x.rank, slope.rank) > 4):
        zero = place.number("zero", 0.0, x)
        above = place.add(Binary("maximum"), [place.inputs[0], zero], "above")
        below = place.add(Binary("minimum"), [place.inputs[0], zero], "below")
        return place.finish(Binary("add"), [above, place.add(Binary("mul"), [below, place.inputs[1]], "sloped")])
    if data is None:
        return False
    if data.size == 1 and x.quantization is None:
        return place.finish(LeakyRelu(float(data.reshape(()))), place.inputs[:1])
    if slope.rank == 0 or slope.shape[-1] != x.shape[-1]:  # 2.14 reads beyond a slope that is spread over channels
        whole = np.broadcast_to(data, (*slope.shape[:-1], x.shape[-1]))
        return place.finish(kind, [place.inputs[0], place.constant("slope", whole, slope.quantization)])
    return broadcast_in_fewer_dimensions(place, kind)
