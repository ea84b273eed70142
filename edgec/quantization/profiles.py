"""The ways to place quantization. Pure data: backends and the command line name them without heavy imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Profile = Literal["strict", "islands", "closed-islands"]
"""strict: every op that has a rule computes in INT8. islands: only what multiplies and accumulates does, and what lies
between stays in float. closed-islands: the same for engines whose INT8 kernels write INT8 only: their sums are rounded
once more before float arithmetic reads them."""


def of_family(profiles: Sequence[Profile], family: str) -> tuple[Profile, ...]:
    """Those that a user means by "strict" or "islands"; all of them by "auto"."""
    return tuple(profile for profile in profiles if family in ("auto", profile.removeprefix("closed-")))
