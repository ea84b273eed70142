"""Which quantized tensors cost the most: the error of the model's outputs when one of them alone is rounded to INT8.

Weights and everything else stay in float, so what is measured is the range of that tensor, and nothing else. Cheap
estimates (the noise of the tensor itself) were measured not to predict it.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from edgec.quantization.climb import Budget
from edgec.quantization.placement import Placement, Slot
from edgec.quantization.qparams import QParams
from edgec.quantization.recipe import Recipe
from edgec.quantization.rounded_tensors import with_rounded
from edgec.quantization.scales import Scales, sources_of
from edgec.quantization.workshop import WORK_OF_MAKING, Workshop

SAMPLES = 4
SHARE = 0.25
"""Of the search's budget, at most, goes into finding out which tensors are worth a trial."""


@dataclass(frozen=True)
class Group:
    """Quantized tensors that share one scale, known by the first of them that brings values in.

    loss: mean noise over signal of the outputs, when only these are rounded.
    """

    tensor: str
    slots: tuple[Slot, ...]
    prescribed: bool
    loss: float

    def limits(self, workshop: Workshop, recipe: Recipe) -> QParams:
        """The scale that a recipe gives to the group."""
        return workshop.scales(recipe, workshop.place(recipe)).slots[self.slots[0]]


def ranked_groups(workshop: Workshop, recipe: Recipe, budget: Budget) -> list[Group]:
    """All groups whose range is a choice, by the error that each causes alone, the worst first.

    Where the budget does not reach for all of them, the first are measured, whose error all others inherit; one at
    least.
    """
    placement = workshop.place(recipe)
    scales = workshop.scales(recipe, placement)
    cost = WORK_OF_MAKING / 4 + workshop.held_out.work(workshop.macs, SAMPLES)
    affordable = max(8, int(SHARE * budget.work // cost))
    groups = list(placement.groups().items())[:affordable]
    found: list[Group] = []
    for root, slots in groups:
        if found and budget.late:
            break
        found.append(_measured(workshop, recipe, placement, scales, root, slots))
    return sorted(found, key=lambda group: -group.loss)  # stable: equal errors stay in the graph's order


def _measured(
    workshop: Workshop, recipe: Recipe, placement: Placement, scales: Scales, root: Slot, slots: list[Slot]
) -> Group:
    graph = workshop.variant(recipe).graph
    sources = sources_of(graph, placement, slots) or slots

    def candidate() -> onnx.ModelProto:
        return with_rounded(graph, {placement.slots[slot]: scales.slots[slot] for slot in slots})

    question = {"rounded": sorted(slots), "recipe": recipe.to_json()}
    loss = workshop.measured(question, candidate, SAMPLES).loss
    return Group(placement.slots[sources[0]], tuple(slots), root in placement.fixed, loss)
