"""The Pareto front: of several figures, each the better the smaller, who is not beaten in all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

Point = Sequence[float]
"""Figures of one candidate, each the better the smaller; all points of a front have the same, in one order."""


def dominates(one: Point, other: Point) -> bool:
    """Whether `one` is nowhere worse than `other` and somewhere better."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front(points: Sequence[Point]) -> tuple[int, ...]:
    """The numbers of the points that no other dominates, in the order given. Equal points are on it together."""
    return tuple(number for number, point in enumerate(points) if not any(dominates(other, point) for other in points))
