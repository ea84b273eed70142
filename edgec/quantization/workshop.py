"""The workshop: makes quantized models from recipes, and tries them on held-out samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import onnx

from edgec.metric.measure import Measure
from edgec.onnx_graph.cost import macs
from edgec.onnx_graph.graph import Graph
from edgec.parity.channels import decibels
from edgec.parity.gates import Verdict, judge, together
from edgec.parity.metrics import OutputComparison
from edgec.parity.thresholds import Gate
from edgec.quantization.calibration_runs import CalibrationRuns
from edgec.quantization.emit import Emitted, emit
from edgec.quantization.held_out import HeldOut, serialized
from edgec.quantization.journal import Journal
from edgec.quantization.loss import loss_of
from edgec.quantization.opset import OPSET_OF_INT16, raised
from edgec.quantization.placement import Kernel, Placement, place
from edgec.quantization.profiles import Profile
from edgec.quantization.recipe import Recipe
from edgec.quantization.rescale import Rescaled, Rescaling
from edgec.quantization.rules import Kind
from edgec.quantization.scales import Scales, choose_scales
from edgec.quantization.second_moments import objection
from edgec.quantization.statistics import TensorStatistics
from edgec.quantization.weight_rounding import GptqRounding
from edgec.quantization.weights import ANY_GRID, WeightGrid, WeightRounding, nearest, weight_operand
from edgec.reference import Reference

ON_REQUEST = "kept in float on request"
TOO_COSTLY = "kept in float: on held-out samples, INT8 cost too much here"

MOST_OF_OTHERS = 256 * 2**20
"""Bytes of second moments that are kept of float models other than the one whose weights are rounded."""

WORK_OF_MAKING = 1e9
"""What it takes to write a candidate down and to open it, in multiplications."""


@dataclass(frozen=True)
class Trial:
    """A recipe and what came of it.

    samples: the loss of each held-out sample, 0 to 1. int8_macs: share of multiply-accumulates in INT8.
    """

    recipe: Recipe
    comparisons: tuple[OutputComparison, ...]
    verdict: Verdict
    loss: float
    samples: tuple[float, ...]
    int8_macs: float

    @property
    def sqnr_db(self) -> float:
        """SQNR of the worst output that proves anything, in dB."""
        return worst_sqnr_db(self.comparisons)


def worst_sqnr_db(comparisons: Sequence[OutputComparison]) -> float:
    """The lowest SQNR of all outputs that prove something, in dB; states count only when there is nothing else.

    Integers have no SQNR (class 7 is no closer to 8 than to 1). Where there is nothing else, the share of those that
    change stands in for noise over signal.
    """
    values = [item for item in comparisons if item.kind != "integer"]
    if not values:
        return min((decibels(1.0, 1.0 - (item.exact_share or 0.0)) for item in comparisons), default=0.0)
    proving = [item for item in values if item.degenerate is None] or values
    telling = [item for item in proving if item.kind != "state"] or proving
    return min(item.sqnr_db for item in telling)


@dataclass(frozen=True)
class Measured:
    """What a model that is no candidate has lost: its mean loss, and the SQNR of its worst output in dB."""

    loss: float
    sqnr_db: float


@dataclass(frozen=True)
class Variant:
    """A float model that computes the same as the original, the statistics of its tensors, and who rounds its weights
    (None without calibration data at hand)."""

    graph: Graph
    statistics: Mapping[str, TensorStatistics]
    gptq: GptqRounding | None = None


@dataclass
class Workshop:
    """A model, its statistics and its judges.

    in_float: nodes that stay in float whatever a recipe says, and why. fresh: samples that no decision of the search
        saw.
    measure: the user's own metric, where it has a limit; taken of every candidate that passes the gate.
    runs: of the float model on calibration samples, for methods that need more than statistics.
    spent: what all trials have cost, in multiplications, whether they were made or found in the journal.
    """

    graph: Graph
    statistics: Mapping[str, TensorStatistics]
    held_out: HeldOut
    gate: Gate
    grid: WeightGrid = ANY_GRID
    in_float: Mapping[str, str] = field(default_factory=dict)
    fresh: HeldOut | None = None
    runs: CalibrationRuns | None = None
    measure: Measure | None = None
    journal: Journal = field(default_factory=Journal)
    trials: list[Trial] = field(default_factory=list)
    on_trial: Callable[[], None] = lambda: None
    spent: float = 0.0
    _variants: dict[tuple[Any, ...], Variant] = field(default_factory=dict)
    _rescalings: dict[Profile, Rescaling] = field(default_factory=dict)
    _rescaled: dict[tuple[Profile, float], Rescaled | None] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        model: onnx.ModelProto,
        statistics: Mapping[str, TensorStatistics],
        held_out: HeldOut,
        gate: Gate,
        grid: WeightGrid = ANY_GRID,
        in_float: Mapping[str, str] | None = None,
    ) -> Workshop:
        """grid: what the engine takes for weights.

        in_float: nodes that must stay in float, whatever the recipe, and why.
        """
        return cls(Graph(model), statistics, held_out, gate, grid, in_float or {})

    @cached_property
    def cost(self) -> dict[str, int]:
        """Multiply-accumulates by node name."""
        return macs(self.graph)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(self.cost.values())

    def int8_share(self, placement: Placement) -> float:
        """The share of multiply-accumulates that a placement has in INT8."""
        inside = placement.int8_nodes()
        return sum(self.cost.get(name, 0) for name in inside) / self.macs if self.macs else float(bool(inside))

    def variant(self, recipe: Recipe) -> Variant:
        """The float model that a recipe quantizes."""
        key = (recipe.profile if recipe.rescale is not None else None, recipe.rescale, bool(recipe.int16))
        if key not in self._variants:
            self._variants[key] = self._made_variant(recipe)
        return self._variants[key]

    def _made_variant(self, recipe: Recipe) -> Variant:
        graph, statistics, runs = self.graph, self.statistics, self.runs
        if recipe.rescale is not None and (rescaled := self._rescaling(recipe.profile, recipe.rescale)) is not None:
            graph, statistics = Graph(rescaled.model), rescaled.statistics
        if recipe.int16:
            graph = Graph(raised(graph.model, OPSET_OF_INT16))
        gptq = None
        if runs is not None:
            kernels = [k for k in place(graph, recipe.profile).kernels.values() if k.rule.kind is Kind.MAC]
            gptq = GptqRounding(graph, kernels, runs if graph is self.graph else runs.with_model(graph.model))
        return Variant(graph, statistics, gptq)

    def no_gptq(self, recipe: Recipe) -> str | None:
        """Why a recipe's weights can't be rounded by GPTQ; None when they can."""
        if self.runs is None:
            return "there is no calibration data at hand"
        kernels, left_out = self._with_weights(recipe), self.rounded_to_nearest(recipe)
        if not kernels:
            return "no layer multiplies by constant weights in INT8"
        if len(left_out) < len(kernels):
            return None
        return f"it can round no layer: of {kernels[0].name!r}, {left_out[kernels[0].name]}"

    def rounded_to_nearest(self, recipe: Recipe) -> dict[str, str]:
        """Kernels whose weights GPTQ leaves to the nearest step each, and why, in words for the user."""
        graph = self.variant(recipe).graph
        found = {kernel.name: objection(graph, kernel) for kernel in self._with_weights(recipe)}
        return {name: reason for name, reason in found.items() if reason is not None}

    def _with_weights(self, recipe: Recipe) -> list[Kernel]:
        """The kernels that multiply by constant weights in INT8."""
        graph, kernels = self.variant(recipe).graph, self.place(recipe).kernels.values()
        return [k for k in kernels if k.rule.kind is Kind.MAC and weight_operand(graph, k) is not None]

    def can_rescale(self, recipe: Recipe) -> bool:
        """Whether the factors of a recipe change anything."""
        return recipe.rescale is not None and self._rescaling(recipe.profile, recipe.rescale) is not None

    def multiplies(self, recipe: Recipe) -> bool:
        """Whether some factor of a recipe could not be folded into constants, and a Mul has to apply it on each run."""
        made = None if recipe.rescale is None else self._rescaling(recipe.profile, recipe.rescale)
        return made is not None and any(tensor.multiplied for tensor in made.tensors)

    def _rescaling(self, profile: Profile, alpha: float) -> Rescaled | None:
        """The rescaled form of the model; None where there is nothing to rescale, or no calibration data at hand."""
        if self.runs is None:
            return None
        if profile not in self._rescalings:
            placement = self.place(Recipe(profile, keep_float=frozenset(self.in_float)))
            self._rescalings[profile] = Rescaling(self.graph, placement, self.statistics, self.runs)
        if (profile, alpha) not in self._rescaled:
            self._rescaled[profile, alpha] = self._rescalings[profile].rescaled(alpha)
        return self._rescaled[profile, alpha]

    def place(self, recipe: Recipe, alone: str | None = None) -> Placement:
        """Where a recipe quantizes; `alone` leaves only the kernel of that anchor in INT8."""
        reasons = {name: self.in_float.get(name, TOO_COSTLY) for name in sorted(recipe.keep_float)}
        variant = self.variant(recipe)
        return place(variant.graph, recipe.profile, reasons, variant.statistics, alone)

    def scales(self, recipe: Recipe, placement: Placement) -> Scales:
        """The scales that a recipe chooses for a placement."""
        variant = self.variant(recipe)
        return choose_scales(
            variant.graph,
            placement,
            variant.statistics,
            recipe.method,
            clip=recipe.clip,
            methods=dict(recipe.ranges),
            int16=recipe.int16,
        )

    def make(self, recipe: Recipe) -> tuple[Placement, Scales, Emitted]:
        """Carry out a recipe."""
        placement = self.place(recipe)
        scales = self.scales(recipe, placement)
        return placement, scales, self.emitted(recipe, placement, scales)

    def emitted(self, recipe: Recipe, placement: Placement, scales: Scales) -> Emitted:
        """The quantized model of a recipe with a placement and scales that may be others than its own."""
        variant = self.variant(recipe)
        correction = variant.statistics if recipe.bias_correction else {}
        rounding: WeightRounding = nearest
        if recipe.rounding == "gptq" and variant.gptq is not None:
            self._make_room(variant.gptq)
            rounding = variant.gptq.rounding(correction)
        return emit(variant.graph, placement, scales.slots, correction, grid=self.grid, rounding=rounding)

    def _make_room(self, wanted: GptqRounding) -> None:
        """Drop what other variants remember for GPTQ where it is much: it can be gathered again."""
        others = [item.gptq for item in self._variants.values() if item.gptq is not None and item.gptq is not wanted]
        if sum(item.bytes for item in others) > MOST_OF_OTHERS:
            for item in others:
                item.forget()

    def attempt(self, recipe: Recipe) -> Trial:
        """Carry out a recipe and judge it; what was tried before is not tried again."""
        for trial in self.trials:
            if trial.recipe == recipe:
                return trial
        trial = self._tried(recipe, self.held_out, "search")
        self.trials.append(trial)
        self.on_trial()
        return trial

    def on_fresh_samples(self, recipe: Recipe) -> Trial | None:
        """Judge a recipe on samples that the search did not see; None where there are none to spare."""
        return None if self.fresh is None else self._tried(recipe, self.fresh, "fresh")

    def measured(self, question: Mapping[str, Any], candidate: Callable[[], onnx.ModelProto], count: int) -> Measured:
        """What any model loses on the first `count` samples; kept in the journal under `question`."""

        def measure() -> dict[str, Any]:
            comparisons, samples = self.held_out.judged(candidate(), count)
            return {"loss": loss_of(comparisons, samples), "sqnr_db": worst_sqnr_db(comparisons)}

        answer, _ = self.journal.recall({"count": count, **question}, measure)
        self.spent += WORK_OF_MAKING / 4 + self.held_out.work(self.macs, count)
        self.on_trial()
        return Measured(answer["loss"], answer["sqnr_db"])

    @property
    def work_of_trial(self) -> float:
        """What a trial costs, in multiplications."""
        return WORK_OF_MAKING + self.held_out.work(self.macs)

    def _tried(self, recipe: Recipe, judges: HeldOut, name: str) -> Trial:
        def measure() -> dict[str, Any]:
            placement, _, emitted = self.make(recipe)
            comparisons, samples = judges.judged(emitted.model)
            value = None
            if self.measure is not None and judge(comparisons, self.gate).passed:
                value = self.measure.of(Reference(serialized(emitted.model), "none").run)
            return {
                "metric": value,
                "comparisons": [item.to_json() for item in comparisons],
                "loss": loss_of(comparisons, samples),
                "samples": samples,
                "int8_macs": self.int8_share(placement),
            }

        answer, _ = self.journal.recall({"samples": name, "recipe": recipe.to_json()}, measure)
        self.spent += WORK_OF_MAKING + judges.work(self.macs)
        comparisons = tuple(OutputComparison.from_json(item) for item in answer["comparisons"])
        verdict = judge(comparisons, self.gate)
        if self.measure is not None and answer["metric"] is not None:
            complaints = self.measure.complaints(answer["metric"])
            verdict = together(verdict, Verdict(not complaints, complaints, ()))
            self.spent += len(self.measure) * self.macs
        return Trial(recipe, comparisons, verdict, answer["loss"], tuple(answer["samples"]), answer["int8_macs"])
