"""Movement: many dimensions, borders that are repeated, scattering into what is there already."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgec.backends.tflite.legal import ranks
from edgec.backends.tflite.legal.rewriting import Place, replaced
from edgec.ir.kinds import (
    Binary,
    Cast,
    Concat,
    Gather,
    OneHot,
    Pad,
    Reshape,
    Reverse,
    ScatterND,
    Select,
    Slice,
    Split,
    Transpose,
)

_RANK = "It has more dimensions than TFLite's kernels take, even where those that belong together are one"


@replaced.register
def _(kind: Transpose, place: Place) -> bool:
    x = place.type(0)
    if x.rank <= ranks.TRANSPOSE:
        return False
    order = kind.permutation
    runs: list[list[int]] = []
    for axis in order:  # dimensions that stay neighbours become one
        if runs and axis == runs[-1][-1] + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    if len(runs) > ranks.TRANSPOSE:
        place.refuse(f"{_RANK}: it transposes {len(runs)} dimensions, TFLite {ranks.TRANSPOSE}")
    groups = sorted(runs)
    flat = place.reshaped(place.inputs[0], ranks.sizes(x.shape, groups), "flat")
    turned = place.add(Transpose(tuple(groups.index(run) for run in runs)), [flat], "turned")
    return place.finish(Reshape(place.result.shape), [turned])


@replaced.register
def _(kind: Concat, place: Place) -> bool:
    if len(place.inputs) == 1:
        return place.finish(Reshape(place.result.shape), place.inputs)
    if place.result.rank <= ranks.CONCAT:
        return False
    parts = [
        place.reshaped(name, _around(place.type_of(name).shape, kind.axis), f"flat.{i}")
        for i, name in enumerate(place.inputs)
    ]
    of = place.result.of_shape(_around(place.result.shape, kind.axis))
    return place.finish(Reshape(place.result.shape), [place.add(Concat(1), parts, "flat", of)])


@replaced.register
def _(kind: Split, place: Place) -> bool:
    x, outputs = place.type(0), place.operation.outputs
    if len(outputs) == 1:
        return place.finish(Reshape(x.shape), place.inputs)
    if x.rank <= ranks.CONCAT:
        return False
    flat = place.reshaped(place.inputs[0], _around(x.shape, kind.axis), "flat")
    types = [place.type_of(name).of_shape(_around(place.type_of(name).shape, kind.axis)) for name in outputs]
    parts = place.add_all(Split(1, kind.sizes), [flat], [f"part.{i}" for i in range(len(outputs))], types)
    for part, output in zip(parts, outputs, strict=True):
        reshape = replace(place.operation, kind=Reshape(place.type_of(output).shape), inputs=(part,), outputs=(output,))
        place.rewriting.write(reshape)
    return True


def _around(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """What lies before an axis, the axis, and what lies after it."""
    before, after = (int(np.prod(part, dtype=np.int64)) for part in (shape[:axis], shape[axis + 1 :]))
    return before, shape[axis], after


@replaced.register
def _(kind: Slice, place: Place) -> bool:
    x = place.type(0)
    if x.rank <= ranks.SLICE:
        return False
    ranges = list(zip(kind.begin, kind.end, kind.stride, strict=True))
    groups = ranks.merged(
        [
            "whole" if item == (0, size, 1) else axis
            for axis, (item, size) in enumerate(zip(ranges, x.shape, strict=True))
        ]
    )
    if len(groups) > ranks.SLICE:
        return _one_by_one(kind, place)
    flat_shape = ranks.sizes(x.shape, groups)
    taken = [
        ranges[group[0]] if len(group) == 1 else (0, size, 1) for group, size in zip(groups, flat_shape, strict=True)
    ]
    flat = place.reshaped(place.inputs[0], flat_shape, "flat")
    begin, end, stride = (tuple(values) for values in zip(*taken, strict=True))
    return place.finish(Reshape(place.result.shape), [place.add(Slice(begin, end, stride), [flat], "taken")])


def _one_by_one(kind: Slice, place: Place) -> bool:
    """One dimension after the other: each leaves three, with those around it."""
    value, shape = place.inputs[0], list(place.type(0).shape)
    for axis, (begin, end, stride) in enumerate(zip(kind.begin, kind.end, kind.stride, strict=True)):
        if (begin, end, stride) == (0, shape[axis], 1):
            continue
        around = _around(tuple(shape), axis)
        flat = place.reshaped(value, around, f"flat.{axis}")
        taken = Slice((0, begin, 0), (around[0], end, around[2]), (1, stride, 1))
        value = place.add(taken, [flat], f"taken.{axis}")
        shape[axis] = place.type_of(value).shape[1]
    return place.finish(Reshape(place.result.shape), [value])


@replaced.register
def _(kind: Pad, place: Place) -> bool:
    x = place.type(0)
    amounts = list(zip(kind.before, kind.after, strict=True))
    if kind.mode == "edge":
        return _edge(kind, place)
    if kind.mode != "constant" or x.rank <= ranks.PAD:
        return False
    groups = ranks.merged(["none" if pair == (0, 0) else axis for axis, pair in enumerate(amounts)])
    if len(groups) > ranks.PAD:
        return _padded_one_by_one(kind, place)
    flat = place.reshaped(place.inputs[0], ranks.sizes(x.shape, groups), "flat")
    before, after = (
        tuple(side[group[0]] if len(group) == 1 else 0 for group in groups) for side in (kind.before, kind.after)
    )
    return place.finish(
        Reshape(place.result.shape), [place.add(replace(kind, before=before, after=after), [flat], "padded")]
    )


def _padded_one_by_one(kind: Pad, place: Place) -> bool:
    value, shape = place.inputs[0], list(place.type(0).shape)
    for axis, (before, after) in enumerate(zip(kind.before, kind.after, strict=True)):
        if before or after:
            flat = place.reshaped(value, _around(tuple(shape), axis), f"flat.{axis}")
            value = place.add(replace(kind, before=(0, before, 0), after=(0, after, 0)), [flat], f"padded.{axis}")
            shape[axis] += before + after
    return place.finish(Reshape(place.result.shape), [value])


def _edge(kind: Pad, place: Place) -> bool:
    """Repeat the border: rows are gathered, the first and last of them several times."""
    value = place.inputs[0]
    for axis, (before, after) in enumerate(zip(kind.before, kind.after, strict=True)):
        size = place.type_of(value).shape[axis]
        if before or after:
            rows = np.clip(np.arange(-before, size + after), 0, size - 1).astype(np.int32)
            value = place.add(Gather(axis), [value, place.constant(f"rows.{axis}", rows)], f"edge.{axis}")
    return place.finish(Reshape(place.result.shape), [value])


@replaced.register
def _(kind: Reverse, place: Place) -> bool:
    if len(kind.axes) == 1:
        return False
    value = place.inputs[0]
    if not kind.axes:
        return place.finish(Reshape(place.result.shape), [value])
    for axis in kind.axes[:-1]:  # 2.14 turns one axis round and ignores the others
        value = place.add(Reverse((axis,)), [value], f"reversed.{axis}")
    return place.finish(Reverse(kind.axes[-1:]), [value])


@replaced.register
def _(kind: ScatterND, place: Place) -> bool:
    x, indices, updates = place.inputs
    data = place.data(0)
    if place.type(0).dtype in ("bool", "int16", "uint8", "int8") and place.type(0).quantization is None:
        return _scattered_as_int32(kind, place)
    if place.type(1).dtype != "int32":
        return place.finish(kind, [x, place.cast(indices, "int32", "indices"), updates])
    if data is not None and not data.any():
        return False
    of = place.type(0)
    empty = place.constant("empty", np.zeros(of.shape, of.dtype), of.quantization)
    spread = place.add(kind, [empty, indices, updates], "spread", of)
    ones = place.constant("ones", np.ones(place.type(2).shape, np.int32))
    blank = place.constant("blank", np.zeros(of.shape, np.int32))
    count = place.add(kind, [blank, indices, ones], "count")
    touched = place.add(Binary("greater"), [count, place.constant("none", np.array(0, np.int32))], "touched")
    return place.finish(Select(), [touched, spread, x])


def _scattered_as_int32(kind: ScatterND, place: Place) -> bool:
    x, indices, updates = place.inputs
    wide = place.add(kind, [place.cast(x, "int32", "x"), indices, place.cast(updates, "int32", "updates")], "wide")
    return place.finish(Cast(place.result.dtype), [wide])


@replaced.register
def _(kind: OneHot, place: Place) -> bool:
    indices, on, off = place.inputs
    if place.type(0).dtype not in ("int32", "int64"):
        return place.finish(kind, [place.cast(indices, "int32", "indices"), on, off])
    if place.result.dtype != "int16":
        return False
    wide = place.add(kind, [indices, place.cast(on, "int32", "on"), place.cast(off, "int32", "off")], "wide")
    return place.finish(Cast("int16"), [wide])
