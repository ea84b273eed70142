"""Float layers, the last resort: sets of nodes that are worth trying in float32, within a budget of multiplications.

Which layers to leave in float can't be told from any one ranking, so several kinds of sets are proposed, the cheapest
first, and each is kept only if the held-out loss falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from edgec.onnx_graph.cost import macs
from edgec.quantization.placement import Kernel, Placement
from edgec.quantization.rules import Kind
from edgec.quantization.search import Recipe, Trial, Workshop
from edgec.quantization.sensitivity import isolated_errors

BUDGET = 0.10
"""At most this share of the model's multiplications may end up in float: beyond it, it is no INT8 model any more."""

FIRST = 3
TOP = (1, 2, 4, 8, 16)
SINGLES = 8


def float_layers(workshop: Workshop, best: Trial) -> Iterable[Recipe]:
    """Recipes that keep more in float than `best`: named sets and the most sensitive kernels, the cheapest set first,
    then what helped, together."""
    cost = macs(workshop.graph)
    total = sum(cost.values())
    base = best.recipe.keep_float

    def share(names: frozenset[str]) -> float:
        return sum(cost.get(name, 0) for name in names) / max(total, 1)

    placement = workshop.place(best.recipe)
    ranking = [item.kernel for item in isolated_errors(workshop, best.recipe)]
    singles = [_names(_with_neighbours(workshop, placement, kernel)) for kernel in ranking[:SINGLES]]
    sets = [_names(ranking[:count]) for count in TOP]
    sets += [squeezed(workshop, best.recipe), tail(workshop, best.recipe), first_convolutions(workshop, best.recipe)]
    wanted = list(dict.fromkeys(names for names in [*singles, *sets] if names and share(base | names) <= BUDGET))
    wanted.sort(key=share)  # stable: equal shares stay in the order above
    helped: list[tuple[float, frozenset[str]]] = []
    for names in wanted:
        recipe = replace(best.recipe, keep_float=base | names)
        yield recipe
        trial = workshop.attempt(recipe)  # what the caller has just tried
        if trial.loss < best.loss:
            helped.append((trial.loss, names))
    yield from _together(best.recipe, helped, share)


def _together(
    recipe: Recipe, helped: list[tuple[float, frozenset[str]]], share: Callable[[frozenset[str]], float]
) -> Iterator[Recipe]:
    """Unions of the sets that helped most, as far as the budget goes."""
    union = recipe.keep_float
    for _, names in sorted(helped, key=lambda item: item[0]):
        if not names <= union and share(union | names) <= BUDGET:
            union = union | names
            yield replace(recipe, keep_float=union)


def _with_neighbours(workshop: Workshop, placement: Placement, kernel: Kernel) -> list[Kernel]:
    """A kernel and the arithmetic right before and behind it, which costs no multiplications: a node in float between
    two in INT8 would have its operands and its result rounded all the same."""
    owner = {node.name: other for other in placement.kernels.values() for node in other.nodes}
    made_by = [workshop.graph.producer.get(kernel.anchor.input[i]) for i in kernel.rule.inputs(kernel.anchor)]
    near = [node for node in made_by if node is not None]
    near += [node for name in kernel.outputs for node in workshop.graph.consumers.get(name, [])]
    found = [owner[node.name] for node in near if node.name in owner]
    return [kernel, *(other for other in found if other.rule.kind is Kind.ARITHMETIC)]


def _names(kernels: Iterable[Kernel]) -> frozenset[str]:
    return frozenset(node.name for kernel in kernels for node in kernel.nodes)


def squeezed(workshop: Workshop, recipe: Recipe) -> frozenset[str]:
    """Convolutions on a single position, as in squeeze-and-excitation: next to no work, and one value a channel and
    image to calibrate on."""

    def single(kernel: Kernel) -> bool:
        shape = workshop.graph.shape(kernel.anchor.output[0])
        return kernel.anchor.op_type == "Conv" and shape is not None and math.prod(shape[2:]) == 1

    return _names(kernel for kernel in workshop.place(recipe).kernels.values() if single(kernel))


def tail(workshop: Workshop, recipe: Recipe) -> frozenset[str]:
    """What lies between the last layers that multiply and accumulate and the outputs: decoders of boxes and scores."""
    kernels = {node.name: kernel for kernel in workshop.place(recipe).kernels.values() for node in kernel.nodes}
    found: list[Kernel] = []
    pending = list(workshop.graph.outputs)
    seen: set[str] = set()
    while pending:
        node = workshop.graph.producer.get(pending.pop())
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
