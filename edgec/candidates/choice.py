"""Which of several candidates for a target is kept: each is built and judged, and the best that passes and keeps to the
limits is shipped.

Candidates are measured one after the other, each in turns with the original in ONNX Runtime on as many threads, and a
machine that is slower for a moment slows both sides down. So they are compared by the ratio to the original. Where
numbers of threads differ, a candidate's time is that ratio times the original's median on as many threads, over all
candidates measured so. Artifacts for another processor can't be timed here: of those, the instructions are compared
that they execute on its emulated core. Where neither is known of all, the order in which they were tried decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgec.candidates.candidate import Candidate
from edgec.candidates.figures import energy_of, error_of, pareto, rough_size, times_of
from edgec.candidates.objectives import NO_LIMITS, Limits, Objective
from edgec.candidates.unmet import not_met
from edgec.comparison.accuracy import SQNR
from edgec.errors import LimitNotMet, ParityGateError

Status = Literal["kept", "ok", "over", "refused", "failed", "not tried"]

_CHANCE = " Their confidence intervals overlap: it may be chance."
_FEWEST = (
    "It takes the fewest threads of those that are equally fast, as far as can be told: confidence intervals overlap."
)


@dataclass(frozen=True)
class Choice:
    """candidates: in the order in which they were tried. kept: the number of the one that is shipped. why: a sentence.

    front: numbers of those on the Pareto front of time, size, accuracy and, where it is known, energy.
    error: why none is shipped, although some passed.
    """

    candidates: tuple[Candidate, ...]
    kept: int
    why: str
    objective: Objective = "latency"
    limits: Limits = NO_LIMITS
    front: tuple[int, ...] = ()
    error: LimitNotMet | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "why": self.why,
            "optimize": self.objective,
            "limits": {"latency_ms": self.limits.milliseconds, "bytes": self.limits.bytes},
            "candidates": [self._line(number) for number in range(len(self.candidates))],
        }

    def _line(self, number: int) -> dict[str, Any]:
        candidate = self.candidates[number]
        error, accuracy = candidate.error, candidate.accuracy
        milliseconds = candidate.milliseconds
        return {
            "name": candidate.name,
            "backend": candidate.backend,
            "status": self._status(number),
            "precision": candidate.precision if error is None else None,
            "asked": candidate.precision.replace("mixed", "int8"),
            "profile": candidate.profile or None,
            "threads": candidate.threads,
            "tuned": candidate.tuned,
            "front": number in self.front,
            "bytes": candidate.artifact_bytes,
            "latency_ms": milliseconds,
            "ratio_of_medians": candidate.ratio,
            "instructions": candidate.executed,
            "accuracy": accuracy and {"measure": accuracy.measure, "value": accuracy.value},
            "joules": None if candidate.watts is None or not milliseconds else candidate.watts * milliseconds / 1000,
            "not_tried": candidate.not_tried or None,
            "error": error and {"what": error.what, "why": error.why},
        }

    def _status(self, number: int) -> Status:
        candidate = self.candidates[number]
        if candidate.not_tried:
            return "not tried"
        if candidate.error is not None:
            return "refused" if isinstance(candidate.error, ParityGateError) else "failed"
        if self.limits.excess(candidate.milliseconds, candidate.artifact_bytes) > 1:
            return "over"
        return "kept" if number == self.kept and self.error is None else "ok"


def keep(candidates: Sequence[Candidate], objective: Objective = "latency", limits: Limits = NO_LIMITS) -> Choice:
    """Which one is kept. There is at least one; where none has an artifact, it is the first one, for its error.

    Where none keeps to the limits, it is the one that comes closest, and the choice has an error that names it.
    """
    known = tuple(candidates)
    made = [number for number, candidate in enumerate(known) if candidate.made]
    if not made:
        first = next((number for number, candidate in enumerate(known) if candidate.error is not None), 0)
        return Choice(known, first, "No candidate came to an artifact.", objective, limits)
    on_front = pareto(known, made)
    excess = {number: limits.excess(known[number].milliseconds, known[number].artifact_bytes) for number in made}
    fitting = [number for number in made if excess[number] <= 1]
    if not fitting:
        closest = sorted(made, key=lambda number: excess[number])
        error = not_met([known[number] for number in closest], limits, alone=len(known) == 1)
        return Choice(known, closest[0], error.what, objective, limits, on_front, error)
    kept, why = _best(known, fitting, objective)
    if len(fitting) == 1:
        others = len(made) > 1
        why = (
            "It is the only one that keeps to the limits." if others else "It is the only one that came to an artifact."
        )
    return Choice(known, kept, why, objective, limits, on_front)


def _best(candidates: Sequence[Candidate], fitting: Sequence[int], objective: Objective) -> tuple[int, str]:
    """The best of those that may be kept, and why, in a sentence."""
    times = times_of(candidates, fitting)
    if objective == "latency":
        return _fastest(candidates, fitting, times)
    columns = {
        "size": {number: rough_size(candidates[number]) for number in fitting},
        "accuracy": {number: error_of(candidates[number]) for number in fitting},
        "energy": {number: energy_of(candidates[number], times[number]) for number in fitting},
    }
    figures = {number: value for number, value in columns[objective].items() if value is not None}
    if not figures:
        return fitting[0], f"It was the first: nothing could be measured here that {objective} could be told from."
    least = min(figures.values())
    equal = [number for number, value in figures.items() if value == least]
    kept, _ = _fastest(candidates, equal, {number: times[number] for number in equal})
    also = " and the fastest of those that are" if len(equal) > 1 else ""
    worse = [value for value in figures.values() if value > least]
    words = {"size": "the smallest", "accuracy": "the most accurate", "energy": "what takes the least energy"}
    why = f"It is {words[objective]}{also}"
    if worse and objective != "accuracy" and least > 0:
        why += f": the next one {'is' if objective == 'size' else 'takes'} {min(worse) / least:.2f} times as " + (
            "large" if objective == "size" else "much"
        )
    if objective == "accuracy" and (accuracy := candidates[kept].accuracy) is not None:
        unit = " dB" if accuracy.measure == SQNR else ""
        why += f": {accuracy.measure} {accuracy.value:.4g}{unit}"
    return kept, f"{why}."


def _fastest(
    candidates: Sequence[Candidate], fitting: Sequence[int], times: Mapping[int, float | None]
) -> tuple[int, str]:
    for figures, word in (
        (times, "It is the fastest: {:.2f} times as fast as the next one."),
        (
            {number: candidates[number].executed for number in fitting},
            "It executes the fewest instructions on the emulated core, the next {:.2f} times as many: work, not time.",
        ),
    ):
        known = {number: figure for number, figure in figures.items() if figure is not None}
        if len(known) == len(fitting):
            order = sorted(known, key=lambda number: known[number])
            kept, second = order[0], order[min(1, len(order) - 1)]
            equal = [number for number in order if figures is times and _overlap(candidates, times, kept, number)]
            fewest = min([kept, *equal], key=lambda number: candidates[number].threads or 1)
            if fewest != kept and (candidates[fewest].threads or 1) < (candidates[kept].threads or 1):
                return fewest, _FEWEST
            return kept, word.format(known[second] / known[kept]) + (_CHANCE if second in equal else "")
    return fitting[
        0
    ], "It is the first in the target's order: not all could be measured here, and none is called faster."


def _overlap(candidates: Sequence[Candidate], times: Mapping[int, float | None], kept: int, second: int) -> bool:
    """Whether the confidence intervals of two times have anything in common; no where one has none."""
    intervals = []
    for number in (kept, second):
        latency, ratio, time = candidates[number].latency, candidates[number].ratio, times[number]
        interval = (latency or {}).get("ratio_interval")
        if interval is None or not ratio or time is None or kept == second:
            return False
        intervals.append([bound * time / ratio for bound in interval])
    return bool(intervals[1][0] <= intervals[0][1])
