"""Minimum cuts, against trying all of them."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.ir.passes.layout.cut import INFINITE, FlowNetwork

NODES = 6
EDGES = st.lists(st.tuples(st.integers(0, NODES - 1), st.integers(0, NODES - 1), st.integers(0, 9)), max_size=20)


def paid(edges: list[tuple[int, int, int]], side: set[int]) -> int:
    return sum(capacity for start, end, capacity in edges if start in side and end not in side)


@settings(max_examples=200, deadline=None)
@given(EDGES)
def test_the_cut_is_the_cheapest_and_the_smallest_of_those(edges: list[tuple[int, int, int]]) -> None:
    network = FlowNetwork()
    for _ in range(NODES - 2):
        network.node()
    for start, end, capacity in edges:
        network.edge(start, end, capacity)
    found = network.source_side()
    inner = range(2, NODES)
    sides = [{0, *chosen} for count in range(NODES - 1) for chosen in itertools.combinations(inner, count)]
    lowest = min(paid(edges, side) for side in sides)
    assert paid(edges, found) == lowest
    assert len(found) == min(len(side) for side in sides if paid(edges, side) == lowest)


def test_what_must_stay_together_does() -> None:
    network = FlowNetwork()
    a, b = network.node(), network.node()
    network.edge(network.SOURCE, a, 3)
    network.edge(a, b, INFINITE)
    network.edge(b, network.SINK, 2)
    assert network.source_side() == {network.SOURCE, a, b}
