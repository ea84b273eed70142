"""Tensors that must share one scale: disjoint sets with path halving."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Ties(Generic[T]):
    """A partition. An item that was never tied is alone."""

    def __init__(self) -> None:
        self._parent: dict[T, T] = {}

    def root(self, item: T) -> T:
        """The representative of the item's set: the same for all its members."""
        parent = self._parent
        while (above := parent.get(item, item)) != item:
            parent[item] = parent.get(above, above)
            item = parent[item]
        return item

    def tie(self, items: Iterable[T]) -> None:
        """Put all items into one set; the first one's representative stays."""
        first: T | None = None
        for item in items:
            root = self.root(item)
            if first is None:
                first = root
            elif root != first:
                self._parent[root] = first
