"""The recovery passes: each tries to win back accuracy in one way, and keeps what lowers the held-out loss.

A pass gets a climb, offers recipes to it, and returns why it had nothing to offer, or None. To add a technique is to
add a field of the recipe, a name, and a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgec.quantization.climb import WORTHWHILE, Climb
from edgec.quantization.fallback import float_sets
from edgec.quantization.normalization import normalizations, squares
from edgec.quantization.pass_names import PassName
from edgec.quantization.ranges import Method
from edgec.quantization.recipe import Recipe
from edgec.quantization.rules import Kind
from edgec.quantization.statistics import TensorStatistics
from edgec.quantization.tensor_errors import ranked_groups
from edgec.quantization.workshop import Workshop

METHODS: tuple[Method, ...] = ("minmax", "mse", "percentile")
"""No method of choosing ranges is the best for every model. The more a method cuts off, the later it comes: it looks
best on samples that resemble those it was calibrated on."""

ALPHAS = (0.5, 0.75)
UNEVEN = 8.0
"""The widest channel over the median one, from which a tensor is worth rescaling."""

WORTH_MULTIPLYING = 0.85
"""Where factors fold into nothing they are multiplied at run time, which a small gain is not worth."""

WELL_ENOUGH = 0.01
"""The loss of an SQNR of 20 dB."""

WORST_TENSORS = 16
WORTHWHILE_TENSOR = 0.98
"""One tensor is one of dozens: small gains add up, and both halves of the samples must have part in them."""

WIDE_SETS = (1, 2, 4, 8, 16)

When = Literal["always", "uneasy", "failing"]


@dataclass(frozen=True)
class RecoveryPass:
    """One way to win accuracy back.

    run: offers recipes; returns why there were none. without: for passes that every recipe starts with, the same recipe
    without them. idle: for those, why they change nothing. when: "always"; "uneasy", unless all gates pass with room to
    spare and the passes before have stopped paying; "failing", only where no gate would pass otherwise.
    """

    name: PassName
    when: When
    run: Callable[[Climb], str | None] | None = None
    without: Callable[[Recipe], Recipe] | None = None
    idle: Callable[[Workshop, Recipe], str | None] = lambda workshop, recipe: None


# --- what every recipe starts with ---


def _nothing_clipped(workshop: Workshop, recipe: Recipe) -> str | None:
    if workshop.scales(recipe, workshop.place(recipe)).clipped:
        return None
    return "no tensor reaches beyond what its readers tell apart"


def _nothing_corrected(workshop: Workshop, recipe: Recipe) -> str | None:
    kernels = workshop.place(recipe).kernels.values()
    if any(kernel.rule.kind is Kind.MAC for kernel in kernels):
        return None
    return "no layer multiplies by constant weights in INT8"


# --- what is proposed ---


def normalizations_in_float(climb: Climb) -> str | None:
    """The parts of a decomposed normalization: its squares alone, or all of it."""
    recipe = climb.best.recipe
    placement = climb.workshop.place(recipe)
    graph = climb.workshop.variant(recipe).graph
    sets = [names for names in dict.fromkeys([squares(placement), normalizations(graph, placement)]) if names]
    for names in sets:
        climb.offer(replace(recipe, keep_float=recipe.keep_float | names))
    return None if sets else "no part of a normalization computes in INT8"


def range_method(climb: Climb) -> str | None:
    """Ranges by another method, for the whole model."""
    if not climb.workshop.place(climb.best.recipe).slots:
        return "nothing is quantized"
    for method in METHODS:
        climb.offer(replace(climb.best.recipe, method=method))
    return None


def gptq(climb: Climb) -> str | None:
    """Weights rounded so that the errors of a layer's outputs cancel."""
    if reason := climb.workshop.no_gptq(climb.best.recipe):
        return reason
    climb.offer(replace(climb.best.recipe, rounding="gptq"))
    return None


def rescale(climb: Climb) -> str | None:
    """Per-channel factors from activations into the weights that read them."""
    recipe = climb.best.recipe
    widest = max((ratio for _, ratio in uneven_tensors(climb.workshop, recipe)), default=0.0)
    if widest <= UNEVEN and climb.best.loss <= WELL_ENOUGH and not climb.forced:
        return f"no tensor's widest channel exceeds the median one by more than a factor of {UNEVEN:g}"
    offered = 0
    for alpha in ALPHAS:
        offer = replace(climb.best.recipe, rescale=alpha)
        if climb.workshop.can_rescale(offer):
            climb.offer(offer, WORTH_MULTIPLYING if climb.workshop.multiplies(offer) else WORTHWHILE)
            offered += 1
    return None if offered else "no tensor has per-channel factors that could move into the weights behind it"


def uneven_tensors(workshop: Workshop, recipe: Recipe) -> Iterator[tuple[str, float]]:
    """Quantized tensors with channels, and how much wider the widest channel is than the median one."""
    variant = workshop.variant(recipe)
    for tensor in dict.fromkeys(workshop.place(recipe).slots.values()):
        known = variant.statistics.get(tensor)
        if known is not None and (ratio := _unevenness(known)) is not None:
            yield tensor, ratio


def _unevenness(statistics: TensorStatistics) -> float | None:
    if statistics.channel_min is None or statistics.channel_max is None or len(statistics.channel_max) < 4:
        return None
    widths = np.maximum(np.abs(statistics.channel_min), np.abs(statistics.channel_max))
    median = float(np.median(widths))
    return float(widths.max()) / median if median > 0 else None


def tensor_ranges(climb: Climb) -> str | None:
    """The tensors that cause the largest errors alone: other methods, one tensor at a time."""
    workshop, start = climb.workshop, climb.best.recipe
    offered = 0
    for group in ranked_groups(workshop, start, climb.budget)[:WORST_TENSORS]:
        recipe = climb.best.recipe
        known = dict(recipe.ranges)
        used = known.get(group.tensor, recipe.method)
        tried = {group.limits(workshop, recipe)}
        for method in (method for method in METHODS if method != used):
            changed = replace(recipe, ranges=tuple(sorted({**known, group.tensor: method}.items())))
            limits = group.limits(workshop, changed)
            if limits not in tried:
                tried.add(limits)
                offered += 1
                climb.offer(changed, WORTHWHILE_TENSOR)
    return None if offered else "no other method gives any of the tensors another range"


def sixteen_bits(climb: Climb) -> str | None:
    """The tensors that cause the largest errors alone: 16 bits, for more and more of them."""
    recipe = climb.best.recipe
    tensors = [group.tensor for group in ranked_groups(climb.workshop, recipe, climb.budget) if not group.prescribed]
    if not tensors:
        return "no tensor has a scale that could be chosen"
    for count in (count for count in WIDE_SETS if count <= len(tensors)):
        climb.offer(replace(climb.best.recipe, int16=recipe.int16 | frozenset(tensors[:count])))
        if climb.best.verdict.passed and climb.taken:
            break
    return None


def float_layers(climb: Climb) -> str | None:
    """Layers in float, the last resort: the cheapest sets first, then what helped, together."""
    recipe, loss = climb.best.recipe, climb.best.loss
    helped: list[tuple[float, frozenset[str]]] = []
    sets = float_sets(climb.workshop, recipe, climb.max_float_macs, climb.budget)
    for names in sets.proposed:
        trial = climb.offer(replace(recipe, keep_float=recipe.keep_float | names))
        if climb.best.verdict.passed and climb.taken:
            return None
        if trial is not None and trial.loss < loss:
            helped.append((trial.loss, names))
    union = recipe.keep_float
    for _, names in sorted(helped, key=lambda item: item[0]):
        if not names <= union and sets.share(union | names) <= climb.max_float_macs:
            union = union | names
            climb.offer(replace(recipe, keep_float=union))
            if climb.best.verdict.passed:
                break
    return None if sets.proposed else f"no layer has at most {climb.max_float_macs:.0%} of the multiplications"


PASSES: tuple[RecoveryPass, ...] = (
    RecoveryPass("normalizations-in-float", "always", normalizations_in_float),
    RecoveryPass("range-method", "always", range_method),
    RecoveryPass("useful-range", "always", without=lambda recipe: replace(recipe, clip=False), idle=_nothing_clipped),
    RecoveryPass(
        "bias-correction",
        "always",
        without=lambda recipe: replace(recipe, bias_correction=False),
        idle=_nothing_corrected,
    ),
    RecoveryPass("gptq", "always", gptq),
    RecoveryPass("rescale", "always", rescale),
    RecoveryPass("tensor-ranges", "uneasy", tensor_ranges),
    RecoveryPass("16-bit", "uneasy", sixteen_bits),
    RecoveryPass("float-layers", "failing", float_layers),
)

AGAIN: frozenset[PassName] = frozenset({"range-method", "gptq"})
"""What may pay after a rescale although it did not before."""
