"""The words of a refusal where no candidate keeps to the limits: the closest ones, and what limits they would keep."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgec.candidates.candidate import Candidate
from edgec.candidates.objectives import Limits
from edgec.errors import LimitNotMet

_NAMED = 3  # candidates that a refusal names


def not_met(closest: Sequence[Candidate], limits: Limits, *, alone: bool) -> LimitNotMet:
    """closest: all that passed, those nearest to the limits first. alone: nothing else was to be tried."""
    asked = [f"{limits.milliseconds:g} ms" if limits.milliseconds else "", _size(limits.bytes) if limits.bytes else ""]
    wanted = " and ".join(filter(None, asked))
    lines = [_figures(candidate) for candidate in closest[:_NAMED]]
    one = len(closest) == 1
    return LimitNotMet(
        f"Nothing that was built keeps to {wanted}" if not one else f"The artifact does not keep to {wanted}",
        "\n".join(["It is right, and it has:" if one else "The closest, all of them right, have:", *lines]),
        _way_out(closest[0], limits, alone),
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
