"""Reductions: over nothing, and of scalars."""

from __future__ import annotations

from edgec.backends.tflite.legal.rewriting import Place, replaced
from edgec.ir.kinds import Quantize, Reduce, Reshape


@replaced.register
def _(kind: Reduce, place: Place) -> bool:
    if kind.axes:
        return False
    if place.type(0).quantization != place.result.quantization:
        return place.finish(Quantize(), place.inputs)
    return place.finish(Reshape(place.result.shape), place.inputs)
