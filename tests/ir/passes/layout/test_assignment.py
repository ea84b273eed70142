"""The labels that are chosen, against trying all of them."""

from __future__ import annotations

import itertools
import math

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgec.ir.graph import Graph
from edgec.ir.passes.layout.assignment import best_labels, proposals, total_cost
from edgec.ir.passes.layout.orders import identity
from edgec.ir.passes.layout.problem import layout_problem
from tests.ir.passes.test_transposes import graphs


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graphs(), st.booleans())
def test_no_other_choice_of_the_proposed_labels_is_cheaper(graph: Graph, free: bool) -> None:
    """Not so of every graph: a cut can't express all costs. Of these it holds."""
    problem = layout_problem(graph, free)
    choices = [{identity(freedom.rank)} for freedom in problem.freedoms]
    for proposal in proposals(problem):
        for node, label in proposal.items():
            choices[node].add(label)
    assume(math.prod(map(len, choices)) <= 2000)
    cheapest = min(total_cost(problem, list(labels)) for labels in itertools.product(*choices))
    assert total_cost(problem, best_labels(problem)) // 4096 == cheapest // 4096
