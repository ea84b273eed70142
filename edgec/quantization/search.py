"""The search for a quantization that keeps the model's results.

It begins with the recipe that is safest on unseen data (every value that calibration saw fits, ranges are cut only
where readers saturate, biases are corrected) and lets the recovery passes climb from there, on one profile after the
other. Whatever lowers the held-out loss is kept. Nothing here depends on time, unless the user limits it: the budget
counts multiplications, and equal inputs take the same path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from edgec.errors import UsageError
from edgec.quantization.climb import WORTHWHILE, Budget, Climb, better, comfortable
from edgec.quantization.pass_names import PassName
from edgec.quantization.profiles import Profile
from edgec.quantization.recipe import Recipe
from edgec.quantization.recovery import AGAIN, PASSES, RecoveryPass
from edgec.quantization.workshop import Trial, Workshop

SMALL_GAIN_DB = 0.3
"""When the last step that was kept won less than this, and all gates pass with room to spare, enough is enough."""

GOOD_LOSS = 1e-3
"""The loss of an SQNR of 30 dB: beyond it, no gain is worth its trials."""

FINALISTS = 4
"""Steps of the climb, the start among them, that are judged again on samples that the search did not see."""

Status = Literal["accepted", "rejected", "forced", "forbidden", "not needed", "not available"]


@dataclass(frozen=True)
class Rules:
    """What the user asks of the search.

    force, forbid: passes that the result has in any case, or never. against_int16: why there are no 16-bit activations,
    "" where there are. max_float_macs: share of multiplications that may move to float. min_int8_macs: share that must
    be in INT8. seconds: of CPU time, instead of the default budget.
    """

    force: frozenset[str] = frozenset()
    forbid: frozenset[str] = frozenset()
    against_int16: str = ""
    max_float_macs: float = 0.10
    min_int8_macs: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True)
class Step:
    """What became of one pass; `before` and `after` are the best trials without and with it."""

    name: PassName
    status: Status
    before: Trial | None = None
    after: Trial | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        def loss(trial: Trial | None) -> float | None:
            return None if trial is None else float(f"{trial.loss:.6g}")

        def sqnr(trial: Trial | None) -> float | None:
            return None if trial is None else round(trial.sqnr_db, 3)

        return {
            "pass": self.name,
            "status": self.status,
            "loss_before": loss(self.before),
            "loss_after": loss(self.after),
            "sqnr_before_db": sqnr(self.before),
            "sqnr_after_db": sqnr(self.after),
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Outcome:
    """The best trial, what each pass did for it, and how the finalists did on samples that the search did not see.

    untried: what the budget left undone, in words.
    """

    best: Trial
    steps: tuple[Step, ...]
    fresh: tuple[tuple[Trial, Trial], ...] = ()
    untried: tuple[str, ...] = ()


@dataclass
class Ascent:
    """The climb on one profile. trail: the trials that were the best one after another, since the last forced pass."""

    best: Trial
    trail: list[Trial] = field(default_factory=list)
    steps: dict[PassName, Step] = field(default_factory=dict)


def search(
    workshop: Workshop,
    profiles: Sequence[Profile],
    rules: Rules | None = None,
    on_pass: Callable[[str, Trial], None] = lambda name, best: None,
) -> Outcome:
    """The first profile whose best recipe passes the gate with room to spare; or else the best that passes; or else the
    best of all recipes.

    profiles: in the order of preference. on_pass: hears which pass begins, and what is the best so far.

    Raises UsageError when a pass was forced that can't be had.
    """
    return _Search(workshop, rules or Rules(), on_pass).run(profiles)


class _Search:
    def __init__(self, workshop: Workshop, rules: Rules, on_pass: Callable[[str, Trial], None]) -> None:
        self.workshop = workshop
        self.rules = rules
        self.on_pass = on_pass
        self.budget = Budget.of(workshop, rules.seconds)
        self.untried: list[str] = []
        if "16-bit" in rules.force and rules.against_int16:
            raise _not_to_be_had("16-bit", rules.against_int16)

    def run(self, profiles: Sequence[Profile]) -> Outcome:
        ascents: list[Ascent] = []
        for profile in profiles:
            ascents.append(self._ascend(profile))
            if self._nothing_to_judge_by(ascents[-1].best) or comfortable(ascents[-1].best, self.workshop.gate):
                break
            if self.budget.exhausted(self.workshop.spent):
                self.untried += [f"profile {name}" for name in profiles[len(ascents) :]]
                break
        chosen = ascents[0]
        for ascent in ascents[1:]:
            if better(ascent.best, chosen.best):
                chosen = ascent
        if comfortable(ascents[-1].best, self.workshop.gate):
            chosen = ascents[-1]
        for recovery in PASSES:
            if recovery.when != "always":
                self._consider(chosen, recovery)
        fresh = self._judge_again(chosen)
        steps = tuple(chosen.steps[recovery.name] for recovery in PASSES)
        for step in steps:
            if step.name in self.rules.force and step.status != "forced":
                raise _not_to_be_had(step.name, step.reason)
        return Outcome(chosen.best, steps, fresh, tuple(self.untried))

    def _ascend(self, profile: Profile) -> Ascent:
        """All passes that cost no integer arithmetic worth the name."""
        recipe = Recipe(profile, keep_float=frozenset(self.workshop.in_float))
        for recovery in PASSES:
            if recovery.without is not None and recovery.name in self.rules.forbid:
                recipe = recovery.without(recipe)
        best = self.workshop.attempt(recipe)
        ascent = Ascent(best, [best])
        always = [recovery for recovery in PASSES if recovery.when == "always"]
        for recovery in always:
            self._consider(ascent, recovery)
        if ascent.steps["rescale"].status in ("accepted", "forced"):
            for recovery in always:
                if recovery.name in AGAIN and ascent.steps[recovery.name].status in ("accepted", "rejected"):
                    self._again(ascent, recovery)
        return ascent

    def _consider(self, ascent: Ascent, recovery: RecoveryPass) -> None:
        """One pass on one ascent; leaves its step there."""
        name, before = recovery.name, ascent.best
        self.on_pass(name, before)
        if name in self.rules.forbid:
            step = Step(name, "forbidden", before, before)
        elif reason := self._needless(ascent, recovery):
            step = Step(name, "not needed", before, before, reason)
        elif name == "16-bit" and self.rules.against_int16:
            step = Step(name, "not available", before, before, self.rules.against_int16)
        elif recovery.without is not None:
            step = self._doubted(ascent, recovery)
        else:
            step = self._proposed(ascent, recovery)
        ascent.steps[name] = step

    def _needless(self, ascent: Ascent, recovery: RecoveryPass) -> str | None:
        if recovery.name in self.rules.force:
            return None
        best = ascent.best
        if self._nothing_to_judge_by(best):
            return "nothing can be judged on this data"
        if recovery.when == "failing" and best.verdict.passed:
            return "the gates pass without"
        if recovery.when == "uneasy" and comfortable(best, self.workshop.gate):
            if best.loss <= GOOD_LOSS:
                return "all gates pass with room to spare"
            if recovery.name == "16-bit" or _last_gain_db(ascent) < SMALL_GAIN_DB:
                return "all gates pass with room to spare, and the last steps won little"
        return None

    def _doubted(self, ascent: Ascent, recovery: RecoveryPass) -> Step:
        """A pass that is part of the start: does the model do better without?"""
        assert recovery.without is not None
        best = ascent.best
        if (reason := recovery.idle(self.workshop, best.recipe)) is not None:
            return Step(recovery.name, "not needed", best, best, reason)
        if self.budget.exhausted(self.workshop.spent):
            self.untried.append(f"{recovery.name}: what the result is without it")
            return Step(recovery.name, "accepted", None, best, "part of the start; the budget ended before a trial")
        trial = self.workshop.attempt(recovery.without(best.recipe))
        if recovery.name in self.rules.force:
            return Step(recovery.name, "forced", trial, best)
        if better(trial, best):
            ascent.best = trial
            ascent.trail.append(trial)
            return Step(recovery.name, "rejected", best, trial, "the loss is lower without it")
        reason = "" if best.loss <= trial.loss else "without it the loss is lower, but by less than chance may explain"
        return Step(recovery.name, "accepted", trial, best, reason)

    def _proposed(self, ascent: Ascent, recovery: RecoveryPass) -> Step:
        assert recovery.run is not None
        name, before = recovery.name, ascent.best
        climb = Climb(self.workshop, before, self.budget, self._float_budget(before), forced=name in self.rules.force)
        reason = recovery.run(climb)
        if climb.untried:
            self.untried.append(f"{name}: {climb.untried} of {climb.untried + climb.offers} proposals")
        if reason is not None and not climb.taken:
            return Step(name, "not needed", before, before, reason)
        if climb.taken:
            ascent.best = climb.best
            if climb.forced:
                ascent.trail = [climb.best]
                return Step(name, "forced", before, climb.best)
            ascent.trail.append(climb.best)
            return Step(name, "accepted", before, climb.best)
        if not climb.offers:
            return Step(name, "rejected", before, before, "the budget ended before a trial")
        return Step(name, "rejected", before, climb.closest or before, "no proposal lowered the loss enough")

    def _again(self, ascent: Ascent, recovery: RecoveryPass) -> None:
        """A pass once more; its step shows the gain of both times together, as far as there was one."""
        first = ascent.steps[recovery.name]
        step = self._proposed(ascent, recovery)
        if step.status == "accepted":
            ascent.steps[recovery.name] = step if first.status == "rejected" else replace(first, after=step.after)

    def _float_budget(self, best: Trial) -> float:
        """The share of multiplications that nodes named in a recipe may have in float."""
        kept = sum(self.workshop.cost.get(name, 0) for name in best.recipe.keep_float) / max(1, self.workshop.macs)
        return min(self.rules.max_float_macs, kept + max(0.0, best.int8_macs - self.rules.min_int8_macs))

    def _nothing_to_judge_by(self, trial: Trial) -> bool:
        failures = trial.verdict.failures
        return bool(failures) and all("calibration-domain" in text for text in failures)

    def _judge_again(self, ascent: Ascent) -> tuple[tuple[Trial, Trial], ...]:
        """Judge the last steps on fresh samples; go back to an earlier one where all samples together say so.

        Returns pairs of trials, on the samples of the search and on fresh ones.
        """
        trail = [trial for trial in ascent.trail if trial.verdict.passed or not ascent.best.verdict.passed]
        finalists = [*trail[:1], *trail[1:][-(FINALISTS - 1) :]]
        if ascent.best not in finalists:
            finalists.append(ascent.best)
        pairs = []
        for trial in finalists:
            if self.workshop.fresh is not None and self.budget.late:
                self.untried.append("the last steps on samples that the search had not seen")
                return ()
            fresh = self.workshop.on_fresh_samples(trial.recipe)
            if fresh is None:
                return ()
            pairs.append((trial, fresh))

        def together(pair: tuple[Trial, Trial]) -> float:
            return sum(trial.loss * len(trial.samples) for trial in pair) / sum(len(trial.samples) for trial in pair)

        last = pairs[-1]
        winner = min(reversed(pairs), key=together)
        if together(winner) < WORTHWHILE * together(last):
            self._go_back(ascent, winner[0])
        return tuple(pairs)

    def _go_back(self, ascent: Ascent, trial: Trial) -> None:
        """Take back every step after `trial`."""
        later = ascent.trail[ascent.trail.index(trial) + 1 :]
        ascent.best = trial
        for name, step in ascent.steps.items():
            if step.status == "accepted" and step.after in later and step.before is not None:
                reason = "on samples that the search had not seen, it made the loss larger"
                ascent.steps[name] = replace(step, status="rejected", reason=reason)


def _last_gain_db(ascent: Ascent) -> float:
    """What the last step that was kept has won, in dB."""
    if len(ascent.trail) < 2:
        return 0.0
    return ascent.trail[-1].sqnr_db - ascent.trail[-2].sqnr_db


def _not_to_be_had(name: str, reason: str) -> UsageError:
    return UsageError(
        f"The recovery pass {name!r} was forced, and can't be had here",
        f"{reason[:1].upper()}{reason[1:]}.",
        f"Leave out --force {name}.",
    )
