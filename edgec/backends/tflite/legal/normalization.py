"""Normalizations: many dimensions."""

from __future__ import annotations

from edgec.backends.tflite.legal.rewriting import Place, replaced
from edgec.ir.kinds import Kind, LogSoftmax, Reshape, Softmax


@replaced.register(Softmax)
@replaced.register(LogSoftmax)
def _(kind: Kind, place: Place) -> bool:
    x = place.type(0)
    if x.rank <= 4:
        return False
    flat = place.reshaped(place.inputs[0], (x.size // x.shape[-1], x.shape[-1]), "rows")
    result = place.add(kind, [flat], "rows/result", place.result.of_shape((x.size // x.shape[-1], x.shape[-1])))
    return place.finish(Reshape(x.shape), [result])
