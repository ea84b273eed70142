"""How the time of an inference is spread over the engine's steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engines import Step


def middle_mean(times: Sequence[float]) -> float:
    """The mean of the middle half: a stall is none of a step's business, and a median would be of whole microseconds
    only, which is how engines count."""
    ordered = sorted(times)
    quarter = len(ordered) // 4
    middle = ordered[quarter : len(ordered) - quarter]
    return sum(middle) / len(middle)


def profile_of(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps as the document has them, with their share of all."""
    whole = sum(step.milliseconds for step in steps) or 1.0
    return [
        {
            "name": step.name,
            "operator": step.operator,
            "milliseconds": round(step.milliseconds, 5),
            "share": round(step.milliseconds / whole, 5),
        }
        for step in steps
    ]


def by_operator(profile: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Kinds of operators to their share of a profile, the most expensive first."""
    kinds: dict[str, float] = {}
    for step in profile:
        kinds[step["operator"]] = kinds.get(step["operator"], 0.0) + float(step["share"])
    return dict(sorted(kinds.items(), key=lambda item: -item[1]))
