"""Movement. Integers pass through as they are; an operand on another grid than the result's is requantized first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.reference.dispatch import Tensor, compute
from edgec.ir.reference.grid import requantized, stored

_MODES = {"reflect": "reflect", "symmetric": "symmetric", "edge": "edge"}


@compute.register
def _(kind: kinds.Reshape, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    return [requantized(operands[0], results[0]).reshape(kind.shape)]


@compute.register
def _(kind: kinds.Transpose, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    turned = requantized(operands[0], results[0]).transpose(kind.permutation)
    return [np.ascontiguousarray(turned).reshape(results[0].shape)]


@compute.register
def _(kind: kinds.Concat, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    return [np.concatenate([requantized(item, results[0]) for item in operands], kind.axis)]


@compute.register
def _(kind: kinds.Split, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    (x,) = operands
    bounds = np.cumsum(kind.sizes)[:-1].tolist()
    return [
        np.ascontiguousarray(part)
        for part in (np.split(requantized(x, of), bounds, kind.axis)[position] for position, of in enumerate(results))
    ]


@compute.register
def _(kind: kinds.Slice, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    ranges = (
        slice(begin, None if end < 0 else end, stride)
        for begin, end, stride in zip(kind.begin, kind.end, kind.stride, strict=True)
    )
    return [np.ascontiguousarray(requantized(operands[0], results[0])[tuple(ranges)]).reshape(results[0].shape)]


@compute.register
def _(kind: kinds.Pad, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """The value of the padding is a real number: on the grid of the result it is what Quantize makes of it."""
    x = requantized(operands[0], results[0])
    around = list(zip(kind.before, kind.after, strict=True))
    if kind.mode == "constant":
        filler = stored(np.array(kind.value, np.float32), _scalar(results[0]))
        return [np.pad(x, around, constant_values=filler)]
    return [np.pad(x, around, mode=kind.mode)]


@compute.register
def _(kind: kinds.Gather, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    x, indices = requantized(operands[0], results[0]), operands[1].data
    lead = kind.batch_dims
    if not lead:
        return [np.take(x, indices, kind.axis)]
    batch = x.shape[:lead]
    rows = [
        np.take(part, index, kind.axis - lead)
        for part, index in zip(x.reshape(-1, *x.shape[lead:]), indices.reshape(-1, *indices.shape[lead:]), strict=True)
    ]
    return [np.stack(rows).reshape(*batch, *rows[0].shape)]


@compute.register
def _(kind: kinds.GatherND, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    x, indices = requantized(operands[0], results[0]), operands[1].data
    return [np.ascontiguousarray(x[tuple(np.moveaxis(indices, -1, 0))]).reshape(results[0].shape)]


@compute.register
def _(kind: kinds.ScatterND, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    x, indices, updates = operands
    made = requantized(x, results[0]).copy()
    made[tuple(np.moveaxis(indices.data, -1, 0))] = requantized(updates, results[0])
    return [made]


@compute.register
def _(kind: kinds.Tile, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    return [np.tile(requantized(operands[0], results[0]), kind.repeats)]


@compute.register
def _(kind: kinds.BroadcastTo, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    return [np.broadcast_to(requantized(operands[0], results[0]), kind.shape).copy()]


@compute.register
def _(kind: kinds.OneHot, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    indices = operands[0].data
    on, off = (requantized(item, results[0]).reshape(()) for item in operands[1:])
    hit = np.expand_dims(indices, kind.axis) == np.arange(kind.depth).reshape(
        [-1 if axis == kind.axis else 1 for axis in range(results[0].rank)]
    )
    return [np.where(hit, on, off)]


@compute.register
def _(kind: kinds.Reverse, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    return [np.flip(requantized(operands[0], results[0]), kind.axes).copy()]


@compute.register
def _(kind: kinds.DepthToSpace, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    x, b = requantized(operands[0], results[0]), kind.block
    n, h, w, c = x.shape
    return [x.reshape(n, h, w, b, b, c // b**2).transpose(0, 1, 3, 2, 4, 5).reshape(n, h * b, w * b, c // b**2)]


@compute.register
def _(kind: kinds.SpaceToDepth, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    x, b = requantized(operands[0], results[0]), kind.block
    n, h, w, c = x.shape
    return [x.reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // b, w // b, c * b**2)]


def _scalar(of: TensorType) -> TensorType:
    return of.of_shape(())
