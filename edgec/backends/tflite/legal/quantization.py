"""Between real numbers and integers: what DEQUANTIZE and QUANTIZE do not take."""

from __future__ import annotations

import numpy as np

from edgec.backends.tflite.legal.rewriting import Place, replaced
from edgec.ir.graph import Quantization, TensorType, Value
from edgec.ir.kinds import Binary, Cast, Clip, Dequantize, Quantize, Unary


@replaced.register
def _(kind: Dequantize, place: Place) -> bool:
    """DEQUANTIZE takes no int32, and no int16 with a zero point."""
    x = place.type(0)
    assert x.quantization is not None
    if x.dtype == "int32" and place.data(0) is not None:
        return _real_constant(place)
    if x.dtype != "int32" and not (x.dtype == "int16" and any(x.quantization.zero_point)):
        return False
    real = place.add(Cast("float32"), place.inputs, "as_float", TensorType(x.shape, "float32"))
    if any(x.quantization.zero_point):
        real = place.add(Binary("sub"), [real, _spread(place, x, "zero_point")], "from_zero_point")
    return place.finish(Binary("mul"), [real, _spread(place, x, "scale")])


def _real_constant(place: Place) -> bool:
    """A bias that is added in float becomes float32, which takes as much room."""
    x, data = place.type(0), place.data(0)
    assert x.quantization is not None and data is not None
    scale, zero_point = (_along(x, getattr(x.quantization, which)) for which in ("scale", "zero_point"))
    name = place.operation.outputs[0]
    real = ((data.astype(np.float64) - zero_point) * scale).astype(np.float32)
    place.rewriting.builder.graph.values[name] = Value(name, TensorType(x.shape, "float32"), real)
    return True


def _spread(place: Place, x: TensorType, which: str) -> str:
    assert x.quantization is not None
    return place.constant(which, _along(x, getattr(x.quantization, which)))


def _along(x: TensorType, numbers: tuple[float, ...]) -> np.ndarray:
    """Scales or zero points as float32, so that they broadcast to x."""
    assert x.quantization is not None
    shape = [1] * x.rank
    if x.quantization.axis is not None:
        shape[x.quantization.axis] = -1
    return np.array(numbers, np.float32).reshape(shape)


@replaced.register
def _(kind: Quantize, place: Place) -> bool:
    x, result = place.type(0), place.result
    assert result.quantization is not None
    if result.dtype == "int16" and any(result.quantization.zero_point):
        return _by_parts(place, result.quantization)
    if x.quantization is None or not (x.dtype == "int8" and result.dtype == "int16"):
        return False
    return place.finish(kind, [place.add(Dequantize(), place.inputs, "real")])  # 2.14 does not widen integers


def _by_parts(place: Place, of: Quantization) -> bool:
    """QUANTIZE gives no int16 with a zero point: divide, round, add, saturate, and convert."""
    x, result = place.inputs[0], place.result
    if place.type(0).quantization is not None:
        x = place.add(Dequantize(), [x], "real")
    like = TensorType((), "float32")
    steps = place.add(Binary("div"), [x, place.number("scale", of.scale[0], like)], "steps")
    whole = place.add(Unary("round"), [steps], "rounded")
    moved = place.add(Binary("add"), [whole, place.number("zero_point", of.zero_point[0], like)], "moved")
    limits = np.iinfo(result.dtype)
    inside = place.add(Clip(float(limits.min), float(limits.max)), [moved], "saturated")
    return place.finish(Cast(result.dtype), [inside])
