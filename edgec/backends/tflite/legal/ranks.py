"""Fewer dimensions, where a kernel takes no more: dimensions that an operation treats alike become one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from edgec.backends.tflite.legal.rewriting import Place
from edgec.ir.kinds import BroadcastTo, Kind, Reduce

BROADCAST = 4
"""Dimensions that every kernel that broadcasts takes."""

SLICE = 5
PAD = 5
TRANSPOSE = 6
CONCAT = 6

REDUCE = 6
FULLY_CONNECTED = 6
"""Dimensions that XNNPACK takes of these: it refuses to load the model for more."""


def merged(treatment: Sequence[Hashable | None]) -> list[list[int]]:
    """Groups of neighbouring dimensions that may become one: those that are treated alike.

    treatment: how each dimension is treated; None for one that fits in with any (it has one element everywhere).
    """
    groups: list[list[int]] = []
    current: Hashable | None = None
    for axis, how in enumerate(treatment):
        if groups and (how is None or current is None or how == current):
            groups[-1].append(axis)
            current = how if current is None else current
        else:
            groups.append([axis])
            current = how
    return groups


def reduced_groups(kind: Reduce, rank: int) -> list[list[int]]:
    """The dimensions that a reduction treats alike: those that it reduces, and those that it keeps."""
    return merged([axis in kind.axes for axis in range(rank)])


def sizes(shape: Sequence[int], groups: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The shape whose dimensions are those groups."""
    return tuple(int(np.prod([shape[axis] for axis in group], dtype=np.int64)) for group in groups)


def broadcast_in_fewer_dimensions(place: Place, kind: Kind) -> bool:
    """Write an elementwise operation in at most four dimensions; False where it has no more or does not broadcast."""
    shape = place.result.shape
    operands = [place.type_of(name).shape for name in place.inputs]
    if len(shape) <= BROADCAST or all(item == shape for item in operands):
        return False
    aligned = [(1,) * (len(shape) - len(item)) + item for item in operands]
    groups = merged(
        [None if size == 1 else tuple(item[axis] == 1 for item in aligned) for axis, size in enumerate(shape)]
    )
    if len(groups) <= BROADCAST:
        flat = [
            place.reshaped(name, sizes(item, groups), f"flat.{i}")
            for i, (name, item) in enumerate(zip(place.inputs, aligned, strict=True))
        ]
    else:
        flat = [
            place.reshaped(spread(place, name, shape, i), (place.result.size,), f"flat.{i}")
            for i, name in enumerate(place.inputs)
        ]
        groups = [list(range(len(shape)))]
    of = place.result.of_shape(sizes(shape, groups))
    result = place.add(kind, flat, "flat", of)
    from edgec.ir.kinds import Reshape

    return place.finish(Reshape(shape), [result])


def spread(place: Place, value: str, shape: Sequence[int], number: int) -> str:
    """A value broadcast to a shape; a constant is spread now."""
    of = place.type_of(value)
    if of.shape == tuple(shape):
        return value
    data = place.rewriting.builder.graph.constant(value)
    if data is not None:
        return place.constant(f"spread.{number}", np.broadcast_to(data, tuple(shape)), of.quantization)
    return place.add(BroadcastTo(tuple(shape)), [value], f"spread.{number}")
