"""Means and sums along axes, seen through reshapes that put axes of size 1 in or take them out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from edgec.onnx_graph.canonicalization.no_effect import RESHAPES
from edgec.onnx_graph.canonicalization.workpiece import Workpiece, axes_of


@dataclass(frozen=True)
class Reduction:
    """A tensor reduced along `axes` of `source`, and the nodes that do it. Its shape may be any of that many elements:
    reshapes leave the order as it is."""

    source: str
    axes: tuple[int, ...]
    members: tuple[NodeProto, ...]


def reduction(work: Workpiece, tensor: str, *ops: str) -> Reduction | None:
    """What `tensor` is a reduction of by one of `ops`."""
    members: list[NodeProto] = []
    while (node := work.made_by(tensor, *RESHAPES)) is not None:
        members.append(node)
        tensor = node.input[0]
    node = work.made_by(tensor, *ops)
    shape = None if node is None else work.shape(node.input[0])
    if node is None or shape is None:
        return None
    axes = axes_of(work, node, len(shape))
    return Reduction(node.input[0], axes, (*members, node)) if axes else None


def mean(work: Workpiece, tensor: str) -> Reduction | None:
    """What `tensor` is the mean of: ReduceMean, or ReduceSum times 1 / n."""
    found = reduction(work, tensor, "ReduceMean")
    if found is not None:
        return found
    members: list[NodeProto] = []
    while (node := work.made_by(tensor, *RESHAPES)) is not None:
        members.append(node)
        tensor = node.input[0]
    node = work.made_by(tensor, "Mul")
    if node is None:
        return None
    for name, other in (tuple(node.input), tuple(reversed(node.input))):
        factor, total = work.scalar(other), reduction(work, name, "ReduceSum")
        if factor is not None and total is not None:
            shape = work.shape(total.source) or ()
            count = math.prod(shape[axis] for axis in total.axes)
            if math.isclose(factor * count, 1.0, rel_tol=1e-6):
                return Reduction(total.source, total.axes, (*members, node, *total.members))
    return None


def broadcasts_from(work: Workpiece, tensor: str, shape: Sequence[int], axes: Sequence[int]) -> bool:
    """Whether `tensor` has the shape of a reduction of `shape` along `axes` whose axes were kept."""
    found = work.shape(tensor)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return found is not None and (1,) * (len(kept) - len(found)) + found == kept
