"""Which layers cost the most: the error of the model's outputs when one kernel alone computes in INT8.

Errors of layers do not add up, and cheap estimates (the noise of a tensor on its own, the error accumulated at a layer)
were measured not to predict it. So each kernel is really tried, on few samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from edgec.quantization.climb import Budget
from edgec.quantization.held_out import MACS_PER_TRIAL
from edgec.quantization.placement import Kernel
from edgec.quantization.recipe import Recipe
from edgec.quantization.rules import Kind
from edgec.quantization.scales import Scales
from edgec.quantization.workshop import Workshop

MOST_KERNELS, FEWEST_KERNELS = 64, 8
SAMPLES = 4
BUDGET = 8 * MACS_PER_TRIAL


@dataclass(frozen=True)
class Sensitivity:
    """The isolated error of one kernel: SQNR of the model's worst output in dB."""

    kernel: Kernel
    sqnr_db: float


def isolated_errors(
    workshop: Workshop, recipe: Recipe, most: int = MOST_KERNELS, budget: Budget | None = None
) -> list[Sensitivity]:
    """Kernels by the error that each of them causes alone, the worst first.

    Scales are those of `recipe`, so that what a tensor suffers from a tie counts. Nodes that only pass integers on
    cause no error of their own. At most `most` kernels are tried, fewer of a large model: the first ones, whose error
    all others inherit, and some of the last; once the budget's seconds are over, no more than one.
    """
    placement = workshop.place(recipe)
    scales = workshop.scales(recipe, placement)
    computing = [kernel for kernel in placement.kernels.values() if kernel.rule.kind is not Kind.TIED]
    cost = workshop.macs * workshop.held_out.steps_per_sample * SAMPLES
    count = max(FEWEST_KERNELS, min(most, int(BUDGET // max(1, cost))))
    if len(computing) > count:
        last = count // 4
        computing = computing[: count - last] + computing[-last:]
    found: list[Sensitivity] = []
    for kernel in computing:
        if found and budget is not None and budget.late:
            break
        found.append(_isolated(workshop, recipe, scales, kernel))
    return sorted(found, key=lambda item: item.sqnr_db)


def _isolated(workshop: Workshop, recipe: Recipe, scales: Scales, kernel: Kernel) -> Sensitivity:
    def candidate() -> onnx.ModelProto:
        placement = workshop.place(recipe, alone=kernel.name)
        own = dict(workshop.scales(recipe, placement).slots)
        own.update((slot, params) for slot, params in scales.slots.items() if slot in own)
        return workshop.emitted(recipe, placement, Scales(own, ())).model

    question = {"alone": kernel.name, "recipe": recipe.to_json()}
    return Sensitivity(kernel, workshop.measured(question, candidate, SAMPLES).sqnr_db)
