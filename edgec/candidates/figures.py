"""By what candidates are compared: figures that are the better the smaller, and the Pareto front of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from edgec.candidates.candidate import Candidate
from edgec.comparison.accuracy import SQNR
from edgec.comparison.pareto import front

_SAME_DB = 0.1  # SQNR that differs by less is called the same
_SAME_BYTES = 1024  # names of threads and passes are part of an artifact, and say nothing about its size


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
        "size": {number: rough_size(candidates[number]) for number in made},
        "accuracy": {number: error_of(candidates[number]) for number in made},
        "energy": {number: energy_of(candidates[number], times[number]) for number in made},
    }
    return {name: column for name, column in columns.items() if None not in column.values()}


def _baseline(candidate: Candidate) -> float:
    """The original's median, in the same turns."""
    assert candidate.latency is not None
    return float(candidate.latency["baseline"]["p50"])


def rough_size(candidate: Candidate) -> float | None:
    return None if candidate.artifact_bytes is None else float(round(candidate.artifact_bytes / _SAME_BYTES))


def error_of(candidate: Candidate) -> float | None:
    """Accuracy as a figure that is the better the smaller, of a coarseness at which differences mean something."""
    accuracy = candidate.accuracy
    if accuracy is None:
        return None
    return -round(accuracy.value / _SAME_DB) if accuracy.measure == SQNR else -round(accuracy.value, 6)


def energy_of(candidate: Candidate, time: float | None) -> float | None:
    """Proportional to joules of an inference."""
    return None if candidate.watts is None or time is None else candidate.watts * time
