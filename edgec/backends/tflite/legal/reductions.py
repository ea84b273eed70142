"""Reductions: over nothing, of scalars, and of many dimensions."""

from __future__ import annotations

from dataclasses import replace

from edgec.backends.tflite.legal.ranks import REDUCE, reduced_groups, sizes
from edgec.backends.tflite.legal.rewriting import Place, replaced
from edgec.ir.kinds import Quantize, Reduce, Reshape


@replaced.register
def _(kind: Reduce, place: Place) -> bool:
    if kind.axes:
        return place.type(0).rank > REDUCE and _in_fewer_dimensions(kind, place)
    if place.type(0).quantization != place.result.quantization:
        return place.finish(Quantize(), place.inputs)
    return place.finish(Reshape(place.result.shape), place.inputs)


def _in_fewer_dimensions(kind: Reduce, place: Place) -> bool:
    """At once where few enough are left when neighbours that are treated alike are one; else one after the other."""
    groups = reduced_groups(kind, place.type(0).rank)
    shape = sizes(place.type(0).shape, groups)
    axes = tuple(axis for axis, group in enumerate(groups) if group[0] in kind.axes)
    value = place.inputs[0]
    if len(shape) <= REDUCE:
        value = _step(place, kind, value, shape, axes)
    else:
        for axis in axes:
            around = [range(axis), [axis], range(axis + 1, len(shape))]
            value = _step(place, kind, value, sizes(shape, around), (1,))
            shape = (*shape[:axis], 1, *shape[axis + 1 :])
    return place.finish(Reshape(place.result.shape), [value])


def _step(place: Place, kind: Reduce, value: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> str:
    flat = place.reshaped(value, shape, "flat")
    made = place.result.of_shape(tuple(1 if axis in axes else size for axis, size in enumerate(shape)))
    return place.add(replace(kind, axes=axes, keepdims=True), [flat], "reduced", made)
