"""The two ways to place quantization. Pure data: backends and the command line name them without heavy imports."""

from __future__ import annotations

from typing import Literal

Profile = Literal["strict", "islands"]
"""strict: every op that has a rule computes in INT8. islands: only what multiplies and accumulates does, and what lies
between stays in float."""
