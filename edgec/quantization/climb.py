"""Climbing: from the best candidate so far to a better one, and what counts as better."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edgec.parity.gates import judge
from edgec.parity.thresholds import Gate
from edgec.quantization.loss import loss_of
from edgec.quantization.recipe import Recipe
from edgec.quantization.workshop import Trial, Workshop

WORTHWHILE = 0.95
"""A proposal is kept when it brings the loss below this multiple of the best. Smaller gains are within the noise of a
few dozen samples, and passes propose the safer choices first."""

HARMLESS = 1.05
"""... and when neither half of the samples loses more than this multiple of what it lost before: what helps one half
and harms the other fits the samples, not the model."""

TELLING_HALF = 4
"""Samples that a half must have to be asked."""

WORK = 1.5e12
"""What a search may cost, in multiplications: about a minute of a core that does 25 billion in a second."""

FEWEST_TRIALS = 12
"""However large the model is: the passes that help most models take as many."""


def better(trial: Trial, best: Trial, worthwhile: float = WORTHWHILE) -> bool:
    """Whether a trial is to take the place of the best one. To pass the gate counts more than any loss."""
    if trial.verdict.passed != best.verdict.passed:
        return trial.verdict.passed
    if not trial.loss < best.loss * worthwhile:
        return False
    halves = zip(_halves(trial.samples), _halves(best.samples), strict=True)
    return all(after <= before * HARMLESS for after, before in halves)


def _halves(samples: Sequence[float]) -> tuple[float, ...]:
    """The loss of every other sample, and of the rest; () where there are too few to ask."""
    halves = samples[::2], samples[1::2]
    return tuple(loss_of((), half) for half in halves) if len(halves[1]) >= TELLING_HALF else ()


def comfortable(trial: Trial, gate: Gate) -> bool:
    """Whether a trial passes a gate that is a little narrower: there is room for what the samples did not show."""
    narrower = replace(
        gate,
        confident_flips=min(gate.confident_flips, gate.confident_flips_warn),
        changed_sequences=gate.changed_sequences / 2,
        cosine_p01=gate.cosine_p01 + 0.1 * (1 - gate.cosine_p01),
        channel_sqnr_p05=gate.channel_sqnr_p05 + 1,
        dice_mean=gate.dice_mean + 0.1 * (1 - gate.dice_mean),
        probability_error=0.9 * gate.probability_error,
    )
    return trial.verdict.passed and judge(trial.comparisons, narrower).passed


@dataclass
class Budget:
    """What a search may still spend: multiplications by default, so that equal inputs give equal results on every
    machine; CPU seconds of this process where the user names them.
    """

    work: float
    seconds: float | None = None
    started: float = field(default_factory=time.process_time)

    @classmethod
    def of(cls, workshop: Workshop, seconds: float | None = None) -> Budget:
        """The default budget of a model, or the user's."""
        return cls(max(WORK, FEWEST_TRIALS * workshop.work_of_trial), seconds)

    @property
    def late(self) -> bool:
        """Whether the user's seconds are over; never where none were named."""
        return self.seconds is not None and time.process_time() - self.started >= self.seconds

    def exhausted(self, spent: float) -> bool:
        return self.late if self.seconds is not None else spent >= self.work


@dataclass
class Climb:
    """One pass at work: it offers recipes, and what is better stays.

    forced: the first offer is taken whatever it costs. max_float_macs: the most that may end up in float.
    closest: the best offer that was not taken.
    """

    workshop: Workshop
    best: Trial
    budget: Budget
    max_float_macs: float
    forced: bool = False
    offers: int = 0
    taken: int = 0
    untried: int = 0
    closest: Trial | None = None

    @property
    def exhausted(self) -> bool:
        """Whether nothing new may be tried; a forced pass may still make its one offer."""
        return self.budget.exhausted(self.workshop.spent) and not (self.forced and not self.taken)

    def offer(self, recipe: Recipe, worthwhile: float = WORTHWHILE) -> Trial | None:
        """Try a recipe, and keep it if it is better; None when the budget has run out."""
        if recipe == self.best.recipe:
            return self.best
        if self.exhausted:
            self.untried += 1
            return None
        trial = self.workshop.attempt(recipe)
        self.offers += 1
        if better(trial, self.best, worthwhile) or (self.forced and not self.taken):
            self.best = trial
            self.taken += 1
        elif self.closest is None or (not trial.verdict.passed, trial.loss) < (
            not self.closest.verdict.passed,
            self.closest.loss,
        ):
            self.closest = trial
        return trial
