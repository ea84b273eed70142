"""Between real numbers and integers: constants that no kernel makes real, and widths that none converts."""

from __future__ import annotations

import numpy as np

from edgec.backends.tflite.legal.rewriting import Place, replaced
from edgec.ir.graph import TensorType, Value
from edgec.ir.kinds import Dequantize, Quantize


@replaced.register
def _(kind: Dequantize, place: Place) -> bool:
    """DEQUANTIZE takes no int32: a bias that is added in float becomes float32, which takes as much room."""
    x, data = place.type(0), place.data(0)
    if x.dtype != "int32" or data is None:
        return False
    assert x.quantization is not None
    along = [1] * x.rank
    if x.quantization.axis is not None:
        along[x.quantization.axis] = -1
    scale = np.array(x.quantization.scale, np.float32).reshape(along if x.rank else ())
    name = place.operation.outputs[0]
    real = (data.astype(np.float64) * scale).astype(np.float32)
    place.rewriting.builder.graph.values[name] = Value(name, TensorType(x.shape, "float32"), real)
    return True


@replaced.register
def _(kind: Quantize, place: Place) -> bool:
    x = place.type(0)
    if x.quantization is None or not (x.dtype == "int8" and place.result.dtype == "int16"):
        return False
    return place.finish(kind, [place.add(Dequantize(), place.inputs, "real")])  # 2.14 does not widen integers
