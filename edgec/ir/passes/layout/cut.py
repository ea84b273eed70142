"""Minimum cuts."""

from __future__ import annotations

from collections import deque

INFINITE = 1 << 60


class FlowNetwork:
    """A directed network with integer capacities. Nodes 0 and 1 are the source and the sink."""

    SOURCE = 0
    SINK = 1

    def __init__(self) -> None:
        self._edges: list[list[int]] = [[], []]
        self._ends: list[int] = []
        self._capacities: list[int] = []

    def node(self) -> int:
        """Add a node."""
        self._edges.append([])
        return len(self._edges) - 1

    def edge(self, start: int, end: int, capacity: int) -> None:
        """Add an edge. It is paid for when `start` is on the source's side of the cut and `end` on the sink's."""
        for origin, target, room in ((start, end, capacity), (end, start, 0)):
            self._edges[origin].append(len(self._ends))
            self._ends.append(target)
            self._capacities.append(room)

    def source_side(self) -> set[int]:
        """The nodes on the source's side of the minimum cut; of several minimum cuts, the one with the fewest there.

        Dinic's algorithm: augment along shortest paths, level graph by level graph.
        """
        while True:
            levels = self._levels()
            if levels[self.SINK] < 0:
                return {node for node, level in enumerate(levels) if level >= 0}
            position = [0] * len(self._edges)
            while self._augment(levels, position):
                pass

    def _levels(self) -> list[int]:
        levels = [-1] * len(self._edges)
        levels[self.SOURCE] = 0
        waiting = deque([self.SOURCE])
        while waiting:
            node = waiting.popleft()
            for edge in self._edges[node]:
                end = self._ends[edge]
                if self._capacities[edge] and levels[end] < 0:
                    levels[end] = levels[node] + 1
                    waiting.append(end)
        return levels

    def _augment(self, levels: list[int], position: list[int]) -> bool:
        """Send flow along one path of the level graph. `position`: edges of each node that lead nowhere any more."""
        path: list[int] = []
        node = self.SOURCE
        while node != self.SINK:
            if position[node] < len(self._edges[node]):
                edge = self._edges[node][position[node]]
                end = self._ends[edge]
                if self._capacities[edge] and levels[end] == levels[node] + 1:
                    path.append(edge)
                    node = end
                else:
                    position[node] += 1
            elif path:
                node = self._ends[path.pop() ^ 1]
                position[node] += 1
            else:
                return False
        room = min(self._capacities[edge] for edge in path)
        for edge in path:
            self._capacities[edge] -= room
            self._capacities[edge ^ 1] += room
        return True
