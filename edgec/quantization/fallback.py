"""Float layers, the last resort: sets of nodes that are worth trying in float32, within a budget of multiplications.

Which layers to leave in float can't be told from any one ranking, so several kinds of sets are proposed, the cheapest
first, and each is kept only if the held-out loss falls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgec.quantization.climb import Budget
from edgec.quantization.placement import Kernel, Placement
from edgec.quantization.recipe import Recipe
from edgec.quantization.rules import Kind
from edgec.quantization.sensitivity import isolated_errors
from edgec.quantization.workshop import Workshop

FIRST = 3
TOP = (1, 2, 4, 8, 16)
SINGLES = 8

CURVE = (0.25, 0.5, 0.75)
"""Shares of multiplications in float at which the price of accuracy is shown, when no allowed share buys enough."""


@dataclass(frozen=True)
class FloatSets:
    """Sets of nodes that may go to float on top of a recipe, the cheapest first."""

    proposed: tuple[frozenset[str], ...]
    cost: Mapping[str, int]
    total: int

    def share(self, names: frozenset[str]) -> float:
        """The share of multiplications that is in float when these nodes are."""
        return sum(self.cost.get(name, 0) for name in names) / max(self.total, 1)


def float_sets(workshop: Workshop, recipe: Recipe, most: float, budget: Budget | None = None) -> FloatSets:
    """Named sets and the most sensitive kernels, as far as at most a share `most` of multiplications is in float."""
    sets = FloatSets((), workshop.cost, workshop.macs)
    base = recipe.keep_float
    placement = workshop.place(recipe)
    ranking = [item.kernel for item in isolated_errors(workshop, recipe, budget=budget)]
    wanted = [_names(_with_neighbours(workshop, recipe, placement, kernel)) for kernel in ranking[:SINGLES]]
    wanted += [_names(ranking[:count]) for count in TOP]
    wanted += [squeezed(workshop, recipe), tail(workshop, recipe), first_convolutions(workshop, recipe)]
    found = [names for names in dict.fromkeys(wanted) if names and sets.share(base | names) <= most]
    found.sort(key=sets.share)  # stable: equal shares stay in the order above
    return FloatSets(tuple(found), sets.cost, sets.total)


def priced_sets(workshop: Workshop, recipe: Recipe, budget: Budget | None = None) -> list[frozenset[str]]:
    """The most sensitive kernels that make up about the shares of CURVE: what accuracy would cost."""
    sets = FloatSets((), workshop.cost, workshop.macs)
    found: list[frozenset[str]] = []
    names: frozenset[str] = frozenset()
    for item in isolated_errors(workshop, recipe, budget=budget):
        names = names | _names([item.kernel])
        if len(found) < len(CURVE) and sets.share(names) >= CURVE[len(found)]:
            found.append(names)
    return list(dict.fromkeys(found))


def _with_neighbours(workshop: Workshop, recipe: Recipe, placement: Placement, kernel: Kernel) -> list[Kernel]:
    """A kernel and the arithmetic right before and behind it, which costs no multiplications: a node in float between
    two in INT8 would have its operands and its result rounded all the same."""
    graph = workshop.variant(recipe).graph
    owner = {node.name: other for other in placement.kernels.values() for node in other.nodes}
    made_by = [graph.producer.get(kernel.anchor.input[i]) for i in kernel.rule.inputs(kernel.anchor)]
    near = [node for node in made_by if node is not None]
    near += [node for name in kernel.outputs for node in graph.consumers.get(name, [])]
    found = [owner[node.name] for node in near if node.name in owner]
    return [kernel, *(other for other in found if other.rule.kind is Kind.ARITHMETIC)]


def _names(kernels: Iterable[Kernel]) -> frozenset[str]:
    return frozenset(node.name for kernel in kernels for node in kernel.nodes)


def squeezed(workshop: Workshop, recipe: Recipe) -> frozenset[str]:
    """Convolutions on a single position, as in squeeze-and-excitation: next to no work, and one value a channel and
    image to calibrate on."""
    graph = workshop.variant(recipe).graph

    def single(kernel: Kernel) -> bool:
        shape = graph.shape(kernel.anchor.output[0])
        return kernel.anchor.op_type == "Conv" and shape is not None and math.prod(shape[2:]) == 1

    return _names(kernel for kernel in workshop.place(recipe).kernels.values() if single(kernel))


def tail(workshop: Workshop, recipe: Recipe) -> frozenset[str]:
    """What lies between the last layers that multiply and accumulate and the outputs: decoders of boxes and scores."""
    graph = workshop.variant(recipe).graph
    kernels = {node.name: kernel for kernel in workshop.place(recipe).kernels.values() for node in kernel.nodes}
    found: list[Kernel] = []
    pending = list(graph.outputs)
    seen: set[str] = set()
    while pending:
        node = graph.producer.get(pending.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        kernel = kernels.get(node.name)
        if kernel is not None and kernel.rule.kind is Kind.MAC:
            continue
        if kernel is not None:
            found.append(kernel)
        pending += [name for name in node.input if name]
    return _names(found)


def first_convolutions(workshop: Workshop, recipe: Recipe) -> frozenset[str]:
    """The first layers, which see the input at its full resolution and pass their error on to all others."""
    convolutions = [k for k in workshop.place(recipe).kernels.values() if k.anchor.op_type == "Conv"]
    return _names(convolutions[:FIRST])
