"""Which layers cost the most: the error of the model's outputs when one kernel alone computes in INT8.

Errors of layers do not add up, and cheap estimates (the error of a tensor on its own, the error accumulated at a layer)
were found not to predict it. So each kernel is really tried, on few samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgec.parity.gates import loss
from edgec.quantization.emit import emit
from edgec.quantization.placement import Kernel, Placement
from edgec.quantization.qparams import weight_scales
from edgec.quantization.rules import Kind
from edgec.quantization.scales import Scales
from edgec.quantization.search import Recipe, Trial, Workshop
from edgec.quantization.weights import channel_axis, weight_operand

MOST_KERNELS = 64
SAMPLES = 4


@dataclass(frozen=True)
class Sensitivity:
    """The isolated error of one kernel: SQNR of the model's worst output in dB, and the loss."""

    kernel: Kernel
    sqnr_db: float
    loss: float


def isolated_errors(workshop: Workshop, recipe: Recipe, most: int = MOST_KERNELS) -> list[Sensitivity]:
    """Kernels by the error that each of them causes alone, the worst first.

    Scales are those of `recipe`, so that what a tensor suffers from a tie counts. Of more than `most` kernels those are
    tried whose own arithmetic is the roughest. Nodes that only pass integers on cause no error of their own.
    """
    placement = workshop.place(recipe)
    scales = workshop.scales(recipe, placement)
    computing = [kernel for kernel in placement.kernels.values() if kernel.rule.kind is not Kind.TIED]
    if len(computing) > most:
        rough = {kernel.name: _roughness(workshop, placement, scales, kernel) for kernel in computing}
        chosen = set(sorted(rough, key=lambda name: -rough[name])[:most])
        computing = [kernel for kernel in computing if kernel.name in chosen]
    found = [_isolated(workshop, recipe, scales, kernel) for kernel in computing]
    return sorted(found, key=lambda item: item.sqnr_db)


def _isolated(workshop: Workshop, recipe: Recipe, scales: Scales, kernel: Kernel) -> Sensitivity:
    others = frozenset(node.name for node in workshop.graph.nodes) - {node.name for node in kernel.nodes}
    alone = replace(recipe, keep_float=others)
    placement = workshop.place(alone)
    own = {**workshop.scales(alone, placement).slots}
    own.update((slot, params) for slot, params in scales.slots.items() if slot in own)
    correction = workshop.statistics if recipe.bias_correction else None
    model = emit(workshop.graph, placement, own, correction, limit=workshop.limit).model
    comparisons = tuple(workshop.held_out.compare(model, SAMPLES))
    trial = Trial(alone, comparisons, workshop.trials[0].verdict, loss(comparisons))
    workshop.on_trial()
    return Sensitivity(kernel, trial.sqnr_db, trial.loss)


def _roughness(workshop: Workshop, placement: Placement, scales: Scales, kernel: Kernel) -> float:
    """Noise over signal of a kernel's operands and result, taken by themselves."""
    noise = 0.0
    slots = [slot for (name, _), slot in placement.reads.items() if name == kernel.name]
    for slot in [*slots, *(name for name in kernel.outputs if name in placement.slots)]:
        statistics = workshop.statistics.get(placement.slots[slot])
        if statistics is not None and (total := statistics.histogram.sum()):
            power = float((statistics.histogram * statistics.bin_centers() ** 2).sum() / total)
            noise += scales.slots[slot].scale ** 2 / 12 / max(power, 1e-30)
    if kernel.rule.kind is Kind.MAC and (operand := weight_operand(workshop.graph, kernel)) is not None:
        weights = workshop.graph.constant(kernel.anchor.input[operand])
        assert weights is not None
        steps = weight_scales(weights, channel_axis(workshop.graph, kernel), workshop.limit).astype(np.float64)
        noise += float((steps**2).mean() / 12 / max(float((weights.astype(np.float64) ** 2).mean()), 1e-30))
    return noise
