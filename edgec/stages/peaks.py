"""Peaks: what this machine's processor can do at best, measured once and kept.

out: peaks.json {"float32_gmacs", "int8_gmacs", "memory_gb_per_s", "noisy"}
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.stage import Stage, StageContext


@dataclass(frozen=True)
class PeaksParams:
    """processor: its name: a store may be shared by machines."""

    processor: str


def run(params: PeaksParams, context: StageContext) -> None:
    """Write peaks.json."""
    from edgec.inspection import peaks

    context.write_json("peaks.json", peaks.measure())


STAGE = Stage("peaks", ("onnxruntime", "numpy"), run)
