"""Which orders of dimensions an operation can work in.

Most kinds work on a space of axes: an element-wise operation on the dimensions of its result, a reduction on those of
its operand. An order of that space (a label) says in which order all operands and results are stored. What is fixed to
its dimensions (a convolution, a matrix product) has no freedom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch

from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.kinds import Kind
from edgec.ir.passes.layout.orders import Order, channels_last, identity, permuted

Axes = tuple[int, ...]
Types = Sequence[TensorType]


@dataclass(frozen=True)
class Freedom:
    """The axes that an operation works on.

    operands, results: the axis of every dimension; several dimensions of one axis stay together. None for a tensor
        that stays as it is written.
    turned: the kind in the order of a label.
    head, tail: so many axes stay at the front (at the end) in their order.
    aligned: operands are spread over all axes; one of lower rank has 1 where it has no dimension.
    loose: any operand will do whose elements lie in the right order, whatever its shape (a reshape).
    labels: the only labels that there are; None for all.
    """

    rank: int
    operands: tuple[Axes | None, ...]
    results: tuple[Axes | None, ...]
    turned: Callable[[Order], Kind] | None = None
    head: int = 0
    tail: int = 0
    aligned: bool = False
    loose: bool = False
    labels: tuple[Order, ...] | None = None

    def permits(self, label: Order) -> bool:
        """Whether the operation can work in this order."""
        kept = label[: self.head] == identity(self.head)
        kept = kept and label[self.rank - self.tail :] == tuple(range(self.rank - self.tail, self.rank))
        return kept and (self.labels is None or label in self.labels)

    def label_for(self, axes: Axes | None, order: Order) -> Order | None:
        """A label in which a tensor of these axes is stored in `order`; None when there is none.

        Axes that the tensor does not have keep their place where that is possible.
        """
        if axes is None:
            return None
        found: list[int] = []
        for previous, dimension in zip((None, *order), order, strict=False):
            axis = axes[dimension]
            if found and found[-1] == axis:
                if previous is not None and previous > dimension:
                    return None
            elif axis in found:
                return None
            else:
                found.append(axis)
        for label in (identity(self.rank), channels_last(self.rank)):
            if [axis for axis in label if axis in found] == found and self.permits(label):
                return label
        for axis in range(self.rank):
            if axis not in found:
                found.insert(found.index(axis - 1) + 1 if axis else 0, axis)
        return tuple(found) if self.permits(tuple(found)) else None


def order_of(axes: Axes | None, label: Order, rank: int) -> Order:
    """The order in which a tensor of these axes is stored under a label. rank: that of a tensor without axes."""
    if axes is None:
        return identity(rank)
    place = {axis: position for position, axis in enumerate(label)}
    return tuple(sorted(range(len(axes)), key=lambda dimension: (place[axes[dimension]], dimension)))


def freedom_of(kind: Kind, operands: Types, results: Types) -> Freedom:
    """The freedom of an operation of these types."""
    found = _freedom(kind, operands, results)
    return found if found is not None and found.rank > 1 else fixed(len(operands), len(results))


def fixed(operands: int, results: int) -> Freedom:
    """That of an operation that has none."""
    return Freedom(0, (None,) * operands, (None,) * results)


@singledispatch
def _freedom(kind: Kind, operands: Types, results: Types) -> Freedom | None:
    return None


def _same(kind: Kind, operands: Types, results: Types, turned: Callable[[Order], Kind]) -> Freedom:
    """All operands and results have the same dimensions."""
    axes = identity(operands[0].rank)
    return Freedom(len(axes), (axes,) * len(operands), (axes,) * len(results), turned)


@_freedom.register(kinds.Unary)
@_freedom.register(kinds.Clip)
@_freedom.register(kinds.HardSigmoid)
@_freedom.register(kinds.LeakyRelu)
@_freedom.register(kinds.Cast)
@_freedom.register(kinds.Quantize)
@_freedom.register(kinds.Dequantize)
def _(kind: Kind, operands: Types, results: Types) -> Freedom | None:
    if any(item.quantization and item.quantization.axis is not None for item in (*operands, *results)):
        return None
    return _same(kind, operands, results, lambda label: kind)


@_freedom.register(kinds.Binary)
@_freedom.register(kinds.PRelu)
@_freedom.register(kinds.Select)
def _(kind: Kind, operands: Types, results: Types) -> Freedom:
    return _aligned(operands, results, lambda label: kind)


@_freedom.register
def _(kind: kinds.BroadcastTo, operands: Types, results: Types) -> Freedom:
    return _aligned(operands, results, lambda label: kinds.BroadcastTo(permuted(kind.shape, label)))


def _aligned(operands: Types, results: Types, turned: Callable[[Order], Kind]) -> Freedom:
    rank = results[0].rank
    axes = tuple(tuple(range(rank - item.rank, rank)) for item in operands)
    return Freedom(rank, axes, (identity(rank),), turned, aligned=True)


@_freedom.register(kinds.Concat)
@_freedom.register(kinds.Split)
@_freedom.register(kinds.CumSum)
def _(kind: kinds.Concat | kinds.Split | kinds.CumSum, operands: Types, results: Types) -> Freedom:
    return _same(kind, operands, results, lambda label: replace(kind, axis=label.index(kind.axis)))


@_freedom.register
def _(kind: kinds.Slice, operands: Types, results: Types) -> Freedom:
    return _same(
        kind,
        operands,
        results,
        lambda label: kinds.Slice(*(permuted(item, label) for item in (kind.begin, kind.end, kind.stride))),
    )


@_freedom.register
def _(kind: kinds.Pad, operands: Types, results: Types) -> Freedom:
    return _same(
        kind,
        operands,
        results,
        lambda label: replace(kind, before=permuted(kind.before, label), after=permuted(kind.after, label)),
    )


@_freedom.register
def _(kind: kinds.Tile, operands: Types, results: Types) -> Freedom:
    return _same(kind, operands, results, lambda label: kinds.Tile(permuted(kind.repeats, label)))


@_freedom.register
def _(kind: kinds.Reverse, operands: Types, results: Types) -> Freedom:
    return _same(kind, operands, results, lambda label: kinds.Reverse(_moved(kind.axes, label)))


def _moved(axes: Axes, label: Order) -> Axes:
    return tuple(sorted(label.index(axis) for axis in axes))


@_freedom.register
def _(kind: kinds.Reduce, operands: Types, results: Types) -> Freedom:
    axes = identity(operands[0].rank)
    left = axes if kind.keepdims else tuple(axis for axis in axes if axis not in kind.axes)
    return Freedom(len(axes), (axes,), (left,), lambda label: replace(kind, axes=_moved(kind.axes, label)))


@_freedom.register
def _(kind: kinds.ArgReduce, operands: Types, results: Types) -> Freedom:
    axes = identity(operands[0].rank)
    left = tuple(axis for axis in axes if axis != kind.axis)
    return Freedom(len(axes), (axes,), (left,), lambda label: replace(kind, axis=label.index(kind.axis)))


@_freedom.register
def _(kind: kinds.Gather, operands: Types, results: Types) -> Freedom | None:
    if kind.batch_dims:
        return None
    axes = identity(operands[0].rank)
    made = (*axes[: kind.axis], *(kind.axis,) * operands[1].rank, *axes[kind.axis + 1 :])
    return Freedom(
        len(axes), (axes, None), (made,), lambda label: kinds.Gather(label.index(kind.axis), kind.batch_dims)
    )


@_freedom.register(kinds.Softmax)
@_freedom.register(kinds.LogSoftmax)
@_freedom.register(kinds.TopK)
def _(kind: Kind, operands: Types, results: Types) -> Freedom:
    return replace(_same(kind, operands, results, lambda label: kind), tail=1)


@_freedom.register
def _(kind: kinds.FullyConnected, operands: Types, results: Types) -> Freedom:
    axes = identity(operands[0].rank)
    return Freedom(len(axes), (axes, *(None,) * (len(operands) - 1)), (axes,), lambda label: kind, tail=1)


@_freedom.register
def _(kind: kinds.LayerNorm, operands: Types, results: Types) -> Freedom:
    axes = identity(operands[0].rank)
    rest = (None,) * (len(operands) - 1)
    return Freedom(len(axes), (axes, *rest), (axes,), lambda label: kind, tail=kind.dimensions)


@_freedom.register
def _(kind: kinds.Reshape, operands: Types, results: Types) -> Freedom | None:
    before, after = operands[0].shape, results[0].shape
    groups = reshape_groups(before, after)
    if groups is None:
        return None
    old, new = groups
    return Freedom(
        max((*old, *new), default=-1) + 1,
        (old,),
        (new,),
        lambda label: kinds.Reshape(permuted(after, order_of(new, label, len(after)))),
        loose=True,
    )


def reshape_groups(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[Axes, Axes] | None:
    """The finest axes along which a reshape works: (2, 6, 5) -> (2, 2, 3, 1, 5) has (0, 1, 3) and (0, 1, 1, 2, 3).

    Dimensions of one axis are made of each other, in order; an axis of one element may be on one side only. None
    where a tensor is empty.
    """
    if 0 in before:
        return None
    old: list[int] = []
    new: list[int] = []
    axis = 0
    while len(old) < len(before) or len(new) < len(after):
        left, right = before[len(old) : len(old) + 1], after[len(new) : len(new) + 1]
        if left == (1,) or right == (1,):  # paired where both sides have one
            old += [axis] * (left == (1,))
            new += [axis] * (right == (1,))
        else:
            have, need = left[0], right[0]
            old.append(axis)
            new.append(axis)
            while have != need:
                if have < need:
                    have *= before[len(old)]
                    old.append(axis)
                else:
                    need *= after[len(new)]
                    new.append(axis)
        axis += 1
    return tuple(old), tuple(new)
