"""Which of several candidates for a target is kept: each is built and judged, and the best that passes and keeps to the
limits is shipped.

Candidates are measured one after the other, each in turns with the original in ONNX Runtime on as many threads, and a
machine that is slower for a moment slows both sides down. So they are compared by the ratio to the original. Where
numbers of threads differ, a candidate's time is that ratio times the original's median on as many threads, over all
candidates measured so. Artifacts for another processor can't be timed here: of those, the instructions are compared
that they execute on its emulated core. Where neither is known of all, the order in which they were tried decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from edgec.comparison.accuracy import SQNR, Accuracy, accuracy_of
from edgec.comparison.pareto import front
from edgec.errors import EdgecError, LimitNotMet, ParityGateError
from edgec.objectives import NO_LIMITS, Limits, Objective

Status = Literal["kept", "ok", "over", "refused", "failed", "not tried"]

_NAMED = 3  # candidates that a refusal names
_CHANCE = " Their confidence intervals overlap: it may be chance."
_SAME_DB = 0.1  # SQNR that differs by less is called the same
_SAME_BYTES = 1024  # names of threads and passes are part of an artifact, and say nothing about its size


@dataclass(frozen=True)
class Candidate:
    """What became of one.

    backend, precision (that of its artifact), profile ("" where all were open), tuned, threads (None: as the target
    says): what it is. artifact_bytes: None where there is none. latency, instructions, parity: the documents
    latency.json, instructions.json and parity.json; None where the build did not come so far, or nothing was counted.
    watts: while it computes; None where nobody said. error: why there is no artifact. not_tried: why it was not built.
    """

    backend: str
    precision: str
    artifact_bytes: int | None
    latency: Mapping[str, Any] | None
    error: EdgecError | None
    instructions: Mapping[str, Any] | None = None
    parity: Mapping[str, Any] | None = None
    profile: str = ""
    tuned: bool = False
    threads: int | None = None
    watts: float | None = None
    not_tried: str = ""

    @property
    def made(self) -> bool:
        return self.error is None and not self.not_tried

    @property
    def ratio(self) -> float | None:
        """Its time over that of the original in ONNX Runtime, medians; None where it was not measured."""
        return None if not self.made or not self.latency else self.latency["ratio_of_medians"]

    @property
    def milliseconds(self) -> float | None:
        """Its median latency, as it was measured."""
        times = self.latency["artifact"] if self.made and self.latency else None
        return times and times["p50"]

    @property
    def executed(self) -> int | None:
        """Instructions of its engine's machine code in one inference; None where they were not counted."""
        return None if not self.made or not self.instructions else self.instructions["engine"]

    @property
    def accuracy(self) -> Accuracy | None:
        return accuracy_of(self.parity) if self.made else None

    @property
    def name(self) -> str:
        """How people tell it from the others."""
        return label(self.backend, self.precision, self.profile, self.threads, self.tuned)


def label(backend: str, precision: str, profile: str, threads: int | None, tuned: bool) -> str:
    """ "tvm int8 strict, 2 threads, searched tiles" """
    kind = " ".join(filter(None, (backend, precision, profile)))
    count = "" if threads is None else f"{threads} thread{'s' * (threads > 1)}"
    return ", ".join(filter(None, (kind, count, "searched tiles" * tuned)))


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
        error = _not_met([known[number] for number in closest], limits)
        return Choice(known, closest[0], error.what, objective, limits, on_front, error)
    kept, why = _best(known, fitting, objective)
    if len(fitting) == 1:
        others = len(made) > 1
        why = (
            "It is the only one that keeps to the limits." if others else "It is the only one that came to an artifact."
        )
    return Choice(known, kept, why, objective, limits, on_front)


def times_of(candidates: Sequence[Candidate], numbers: Sequence[int]) -> dict[int, float | None]:
    """What is compared as time: ratios where all compute on as many threads, else milliseconds made comparable."""
    if len({candidates[number].threads for number in numbers}) <= 1:
        return {number: candidates[number].ratio for number in numbers}
    originals: dict[int | None, list[float]] = {}
    for number in numbers:
        if candidates[number].ratio is not None:
            originals.setdefault(candidates[number].threads, []).append(_baseline(candidates[number]))
    found = {}
    for number in numbers:
        ratio = candidates[number].ratio
        found[number] = None if ratio is None else ratio * median(originals[candidates[number].threads])
    return found


def pareto(candidates: Sequence[Candidate], made: Sequence[int]) -> tuple[int, ...]:
    """Which of `made` no other beats in time (or instructions), size, accuracy and energy at once.

    A figure that is not known of all is left out: nobody is beaten by what is not known.
    """
    columns = _known(candidates, made).values()
    points = [tuple(column[number] or 0.0 for column in columns) for number in made]
    return tuple(made[place] for place in front(points))


def known_columns(candidates: Sequence[Candidate], made: Sequence[int]) -> list[str]:
    """By which figures the front of `made` is judged."""
    return list(_known(candidates, made))


def _known(candidates: Sequence[Candidate], made: Sequence[int]) -> dict[str, dict[int, float | None]]:
    """Figures that are known of all, each the better the smaller, by what they are."""
    times = times_of(candidates, made)
    columns: dict[str, dict[int, float | None]] = {
        "latency": times,
        "instructions": {number: candidates[number].executed for number in made},
        "size": {number: _rough_size(candidates[number]) for number in made},
        "accuracy": {number: _error(candidates[number]) for number in made},
        "energy": {number: _energy(candidates[number], times[number]) for number in made},
    }
    return {name: column for name, column in columns.items() if None not in column.values()}


def _best(candidates: Sequence[Candidate], fitting: Sequence[int], objective: Objective) -> tuple[int, str]:
    """The best of those that may be kept, and why, in a sentence."""
    times = times_of(candidates, fitting)
    if objective == "latency":
        return _fastest(candidates, fitting, times)
    columns = {
        "size": {number: _rough_size(candidates[number]) for number in fitting},
        "accuracy": {number: _error(candidates[number]) for number in fitting},
        "energy": {number: _energy(candidates[number], times[number]) for number in fitting},
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
            doubt = _CHANCE if figures is times and _overlap(candidates, times, kept, second) else ""
            return kept, word.format(known[second] / known[kept]) + doubt
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


def _not_met(closest: Sequence[Candidate], limits: Limits) -> LimitNotMet:
    """closest: all that passed, those nearest to the limits first."""
    asked = [f"{limits.milliseconds:g} ms" if limits.milliseconds else "", _size(limits.bytes) if limits.bytes else ""]
    wanted = " and ".join(filter(None, asked))
    lines = [_figures(candidate) for candidate in closest[:_NAMED]]
    one = len(closest) == 1
    return LimitNotMet(
        f"Nothing that was built keeps to {wanted}" if not one else f"The artifact does not keep to {wanted}",
        "\n".join(["It is right, and it has:" if one else "The closest, all of them right, have:", *lines]),
        _way_out(closest[0], limits, one),
        {
            "limits": {"latency_ms": limits.milliseconds, "bytes": limits.bytes},
            "closest": [
                {"name": each.name, "latency_ms": each.milliseconds, "bytes": each.artifact_bytes} for each in closest
            ],
        },
    )


def _way_out(closest: Candidate, limits: Limits, alone: bool) -> str:
    """The limit that would do, and what else may be tried."""
    flags = []
    if limits.milliseconds and closest.milliseconds and closest.milliseconds > limits.milliseconds:
        flags.append(f"--max-latency {closest.milliseconds * 1.05:.3g}ms")
    if limits.bytes and closest.artifact_bytes and closest.artifact_bytes > limits.bytes:
        flags.append(f"--max-size {math.ceil(closest.artifact_bytes / 1000)}KB")
    more = " --search tries other precisions, backends and numbers of threads." if alone else ""
    return f"The closest would pass with {' '.join(flags)}.{more} A smaller --shape or a smaller model needs less."


def _figures(candidate: Candidate) -> str:
    time = "not measured" if candidate.milliseconds is None else f"{candidate.milliseconds:.3g} ms"
    return f"  {time}, {_size(candidate.artifact_bytes or 0)}: {candidate.name}"


def _size(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} KB"


def _baseline(candidate: Candidate) -> float:
    """The original's median, in the same turns."""
    assert candidate.latency is not None
    return float(candidate.latency["baseline"]["p50"])


def _rough_size(candidate: Candidate) -> float | None:
    return None if candidate.artifact_bytes is None else float(round(candidate.artifact_bytes / _SAME_BYTES))


def _error(candidate: Candidate) -> float | None:
    """Accuracy as a figure that is the better the smaller, of a coarseness at which differences mean something."""
    accuracy = candidate.accuracy
    if accuracy is None:
        return None
    return -round(accuracy.value / _SAME_DB) if accuracy.measure == SQNR else -round(accuracy.value, 6)


def _energy(candidate: Candidate, time: float | None) -> float | None:
    """Proportional to joules of an inference."""
    return None if candidate.watts is None or time is None else candidate.watts * time
