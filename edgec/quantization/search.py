"""The search for a quantization that passes the gate.

A recipe says how a model is quantized; a trial is a recipe, carried out and judged on held-out samples. A pass proposes
recipes that differ from the best one so far in one respect, and whatever lowers the loss is kept. The ladder is the
list of passes: to add a recovery technique is to add a pass and a field of the recipe.

Nothing here depends on time: the number of trials is limited, and equal inputs take the same path.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx

from edgec.onnx_graph.graph import Graph
from edgec.parity.channels import decibels
from edgec.parity.gates import Verdict, judge, loss
from edgec.parity.metrics import OutputComparison
from edgec.parity.thresholds import Gate
from edgec.quantization.canonical import canonical
from edgec.quantization.emit import Emitted, emit
from edgec.quantization.held_out import HeldOut
from edgec.quantization.normalization import normalizations, squares
from edgec.quantization.placement import Placement, Profile, place
from edgec.quantization.ranges import Method
from edgec.quantization.scales import Scales, choose_scales
from edgec.quantization.statistics import TensorStatistics

ON_REQUEST = "kept in float on request"
TOO_COSTLY = "kept in float: on held-out samples, INT8 cost too much here"

WORTHWHILE = 0.95
"""A proposal is kept when it brings the loss below this multiple of the best. Smaller gains are within the noise of a
few dozen samples, and passes propose the safer choices first."""


@dataclass(frozen=True)
class Recipe:
    """How a model is quantized.

    method: how ranges are taken from histograms. clip: cut ranges where every reader saturates.
    bias_correction: let biases make up for the mean shift of rounded weights. keep_float: nodes to leave alone.
    """

    profile: Profile
    method: Method = "minmax"
    clip: bool = True
    bias_correction: bool = True
    keep_float: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Trial:
    """A recipe and what came of it."""

    recipe: Recipe
    comparisons: tuple[OutputComparison, ...]
    verdict: Verdict
    loss: float

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


@dataclass
class Workshop:
    """A model, its statistics and its judges: makes quantized models from recipes, and tries them."""

    graph: Graph
    statistics: Mapping[str, TensorStatistics]
    held_out: HeldOut
    gate: Gate
    limit: int = 127
    asked: frozenset[str] = frozenset()
    trials: list[Trial] = field(default_factory=list)
    on_trial: Callable[[], None] = lambda: None

    @classmethod
    def open(
        cls,
        model: onnx.ModelProto,
        statistics: Mapping[str, TensorStatistics],
        held_out: HeldOut,
        gate: Gate,
        limit: int = 127,
        keep_float: Collection[str] = (),
    ) -> Workshop:
        """limit: largest weight in steps (127, or 63 where products must not saturate 16 bits).

        keep_float: nodes that must stay in float, whatever the recipe.
        """
        graph = Graph(canonical(model, keep_float))
        return cls(graph, statistics, held_out, gate, limit, frozenset(keep_float))

    def place(self, recipe: Recipe, alone: str | None = None) -> Placement:
        """Where a recipe quantizes; `alone` leaves only the kernel of that anchor in INT8."""
        reasons = {name: ON_REQUEST if name in self.asked else TOO_COSTLY for name in sorted(recipe.keep_float)}
        return place(self.graph, recipe.profile, reasons, self.statistics, alone)

    def scales(self, recipe: Recipe, placement: Placement) -> Scales:
        """The scales that a recipe chooses for a placement."""
        return choose_scales(self.graph, placement, self.statistics, recipe.method, clip=recipe.clip)

    def make(self, recipe: Recipe) -> tuple[Placement, Scales, Emitted]:
        """Carry out a recipe."""
        placement = self.place(recipe)
        scales = self.scales(recipe, placement)
        correction = self.statistics if recipe.bias_correction else None
        return placement, scales, emit(self.graph, placement, scales.slots, correction, limit=self.limit)

    def attempt(self, recipe: Recipe) -> Trial:
        """Carry out a recipe and judge it; what was tried before is not tried again."""
        for trial in self.trials:
            if trial.recipe == recipe:
                return trial
        comparisons = self.held_out.compare(self.make(recipe)[2].model)
        trial = Trial(recipe, tuple(comparisons), judge(comparisons, self.gate), loss(comparisons))
        self.trials.append(trial)
        self.on_trial()
        return trial


Pass = Callable[[Workshop, Trial], Iterable[Recipe]]
"""Proposes recipes, given the best trial so far."""


def other_methods(_: Workshop, best: Trial) -> Iterable[Recipe]:
    """No method of choosing ranges is the best for every model. The more a method cuts off, the later it comes: it
    looks best on samples that resemble those it was calibrated on."""
    methods: tuple[Method, ...] = ("minmax", "mse", "percentile")
    return [replace(best.recipe, method=method) for method in methods if method != best.recipe.method]


def without_clipping(_: Workshop, best: Trial) -> Iterable[Recipe]:
    """Clipping where readers saturate is free in theory; a tied tensor may see it otherwise."""
    return [replace(best.recipe, clip=False)]


def without_bias_correction(_: Workshop, best: Trial) -> Iterable[Recipe]:
    """Means measured on few samples may be wrong."""
    return [replace(best.recipe, bias_correction=False)]


def normalizations_in_float(workshop: Workshop, best: Trial) -> Iterable[Recipe]:
    """The parts of a decomposed normalization: its squares alone, or all of it."""
    placement = workshop.place(best.recipe)
    sets = [squares(placement), normalizations(workshop.graph, placement)]
    kept = best.recipe.keep_float
    return [replace(best.recipe, keep_float=kept | names) for names in dict.fromkeys(sets) if names]


LADDER: tuple[Pass, ...] = (normalizations_in_float, other_methods, without_clipping, without_bias_correction)

ROUNDS = 3
"""How often the ladder is climbed at most: what did not pay at first may pay after another step did."""


def search(workshop: Workshop, profiles: Sequence[Profile], fallback: Sequence[Pass] = ()) -> Trial:
    """The first profile whose best recipe passes the gate with room to spare; or else the best that passes; or else the
    best of all recipes, after the fallback passes.

    profiles: in the order of preference. fallback: passes that cost integer arithmetic, climbed only when nothing else
        passes, and only until something does.
    """
    gate = workshop.gate
    comfortable = replace(gate, confident_flips=min(gate.confident_flips, gate.confident_flips_warn))
    bests: list[Trial] = []
    for profile in profiles:
        best = workshop.attempt(Recipe(profile, keep_float=workshop.asked))
        for _ in range(ROUNDS):
            before = best
            for climb in LADDER:
                best = _climb(workshop, best, climb(workshop, best))
            if best is before:
                break
        if judge(best.comparisons, comfortable).passed:
            return best
        bests.append(best)
    best = min(bests, key=lambda trial: (not trial.verdict.passed, trial.loss))
    if best.verdict.passed:
        return best
    for climb in fallback:
        best = _climb(workshop, best, climb(workshop, best), until_passed=True)
        if best.verdict.passed:
            break
    return best


def _climb(workshop: Workshop, best: Trial, proposals: Iterable[Recipe], *, until_passed: bool = False) -> Trial:
    for recipe in proposals:
        trial = workshop.attempt(recipe)
        better = trial.loss < best.loss * WORTHWHILE
        if (trial.verdict.passed, better) > (best.verdict.passed, False):
            best = trial
        if until_passed and best.verdict.passed:
            break
    return best
