"""Candidates of a search that need not be built, each with the reason.

Only what is certain is left out: what can't keep to a limit, and what can't be on the Pareto front, whatever a
measurement would say. Nothing is left out because it usually loses.

- Size: an artifact holds its weights, so it is no smaller than they are (one byte a weight in INT8, two in float16).
- Time: no kernel multiplies faster than the processor's peak, so a layer takes at least its MACs over that (the
  compute roof of the roofline model: Williams, Waterman, Patterson, CACM 52(4), 2009). Its memory roof is not used:
  what a model moves may stay in caches. Float convolutions may be computed with fewer MACs, 2.25 times fewer by
  Winograd's F(2x2, 3x3) (Lavin and Gray, CVPR 2016).
- Threads: n of them are at most n times as fast as one, and what they compute is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgec.candidates.candidate import Candidate
from edgec.candidates.objectives import Limits
from edgec.spec import BuildSpec

_WINOGRAD = 2.25
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_DOUBT = 1.25
"""Peaks are measured, and may be measured too low: a bound is believed with so much room."""

_LEAST_GAIN = 1.05
"""Twice the threads that are not even so much faster have nothing to gain from more of them."""

_WEIGHT_SHARE = {"float": 1.0, "fp16": 0.5, "int8-weights": 0.25, "int8": 0.25}
"""Least bytes of weights, as a share of those in float32."""


def reason_before(spec: BuildSpec, analysis: Mapping[str, Any] | None, limits: Limits) -> str:
    """Why a candidate can't keep to the limits, as far as the model alone tells; "" where it may.

    analysis: the document analysis.json; None where there is none, and nothing is certain.
    """
    if analysis is None:
        return ""
    least = analysis["totals"]["weight_bytes"]["float32"] * _WEIGHT_SHARE[spec.precision]
    if limits.bytes is not None and least > limits.bytes:
        return f"its weights alone take {least / 1e6:.3g} MB"
    bound = least_milliseconds(analysis, spec.precision, spec.threads or 1)
    if limits.milliseconds is not None and bound is not None and bound > limits.milliseconds * _DOUBT:
        return f"the processor's peak alone allows no less than {bound:.3g} ms"
    return ""


def least_milliseconds(analysis: Mapping[str, Any], precision: str, threads: int) -> float | None:
    """What the model takes where every multiplication runs at the processor's peak; None without a roofline."""
    roofline = analysis["roofline"]
    if roofline is None:
        return None
    integer = precision == "int8"
    peak = roofline["int8_gmacs" if integer else "float32_gmacs"] * max(1.0, threads / max(1, roofline["threads"]))
    macs = 0.0
    for layer in analysis["layers"]:
        fewer = _WINOGRAD if not integer and layer["operator"] in _CONVOLUTIONS else 1.0
        macs += (layer["macs"] or 0) / fewer
    return float(macs / (peak * 1e6))


def reason_among(threads: int, single: Sequence[Candidate], others: Sequence[Candidate], limits: Limits) -> str:
    """Why as many threads can't be worth measuring; "" where they may.

    single: the same artifact with fewer threads, as far as it was measured, the fewest first. others: all the rest.
    """
    timed = [each for each in single if each.milliseconds is not None and each.threads is not None]
    if not timed:
        return "with fewer threads it came to no figures" if single else ""
    if len(timed) > 1 and _time(timed[-1]) * _LEAST_GAIN > _time(timed[-2]):
        return f"{timed[-1].threads} threads are no faster than {timed[-2].threads}"
    first = timed[0]
    bound = _time(first) * (first.threads or 1) / threads
    if limits.milliseconds is not None and bound > limits.milliseconds * _DOUBT:
        return f"{threads} threads are at most {threads} times as fast, and {bound:.3g} ms is too slow"
    for other in others:
        if _beats(other, first, bound):
            return f"{other.name} is faster, smaller and no less accurate than it could be"
    return ""


def _beats(other: Candidate, candidate: Candidate, bound: float) -> bool:
    """Whether `other` is better than `candidate` could be in `bound` milliseconds, in everything."""
    theirs, ours = other.accuracy, candidate.accuracy
    if other.milliseconds is None or theirs is None or ours is None or theirs.measure != ours.measure:
        return False
    if other.artifact_bytes is None or candidate.artifact_bytes is None or other.watts is not None:
        return False  # fewer threads may take less energy
    return (
        other.milliseconds * _DOUBT <= bound
        and other.artifact_bytes <= candidate.artifact_bytes
        and theirs.value >= ours.value
    )


def _time(candidate: Candidate) -> float:
    assert candidate.milliseconds is not None
    return candidate.milliseconds
