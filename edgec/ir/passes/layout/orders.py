"""Orders of dimensions.

A tensor stored in the order (0, 2, 3, 1) has as its dimension i what is dimension order[i] of the tensor as written:
it is `tensor.transpose(order)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Order = tuple[int, ...]

_NAMES = {(0, 2, 3, 1): "nhwc", (0, 3, 1, 2): "nchw", (0, 2, 1): "nlc", (0, 2, 3, 4, 1): "ndhwc"}


def identity(rank: int) -> Order:
    """The order in which dimensions are written."""
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """Dimension 1 goes to the end."""
    return (0, *range(2, rank), 1) if rank > 2 else identity(rank)


def compose(first: Order, second: Order) -> Order:
    """What transposing by `first` and then by `second` does."""
    return tuple(first[axis] for axis in second)


def inverse(order: Order) -> Order:
    """What undoes the order."""
    return tuple(order.index(axis) for axis in range(len(order)))


def between(stored: Order, wanted: Order) -> Order:
    """The permutation that brings what is stored in one order into another."""
    return compose(inverse(stored), wanted)


def permuted(items: Sequence[int], order: Order) -> tuple[int, ...]:
    """A shape (or anything with one item for each dimension) in an order."""
    return tuple(items[axis] for axis in order)


def significant(shape: Sequence[int], order: Order) -> Order:
    """The order without dimensions of one element: where these are the same, elements lie in the same order."""
    return tuple(axis for axis in order if shape[axis] != 1)


def order_name(order: Iterable[int]) -> str:
    """What a value in this order is called after its name and a slash: `nhwc`, or the digits of the order."""
    digits = tuple(order)
    return _NAMES.get(digits) or "".join(map(str, digits))
