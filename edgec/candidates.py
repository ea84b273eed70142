"""Which backend for a target, where the user left it open: each is tried, and the fastest artifact that passes is kept.

Time is compared as a ratio to the original model in ONNX Runtime, measured in turns with it: candidates are measured
one after the other, and a machine that is slower for a moment slows both sides down. Artifacts for another processor
can't be timed here; for them the target's order of backends decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgec.errors import EdgecError, ParityGateError

Status = Literal["kept", "ok", "refused", "failed"]


@dataclass(frozen=True)
class Candidate:
    """What became of one backend.

    artifact_bytes: of its artifact; None where there is none. precision: of that.
    latency: the document latency.json; None where the build did not come so far. error: why there is no artifact.
    """

    backend: str
    precision: str
    artifact_bytes: int | None
    latency: Mapping[str, Any] | None
    error: EdgecError | None

    @property
    def ratio(self) -> float | None:
        """Its time over that of the original in ONNX Runtime, medians; None where it was not measured."""
        return None if self.error or not self.latency else self.latency["ratio_of_medians"]


@dataclass(frozen=True)
class Choice:
    """candidates: in the target's order. kept: the number of the one that is shipped. why: a sentence."""

    candidates: tuple[Candidate, ...]
    kept: int
    why: str

    def to_json(self) -> dict[str, Any]:
        return {"why": self.why, "candidates": [self._line(number) for number in range(len(self.candidates))]}

    def _line(self, number: int) -> dict[str, Any]:
        candidate = self.candidates[number]
        error = candidate.error
        status: Status = "kept" if number == self.kept else "ok"
        if error is not None:
            status = "refused" if isinstance(error, ParityGateError) else "failed"
        times = candidate.latency and candidate.latency["artifact"]
        return {
            "backend": candidate.backend,
            "status": status,
            "precision": candidate.precision if error is None else None,
            "bytes": candidate.artifact_bytes,
            "latency_ms": times and times["p50"],
            "ratio_of_medians": candidate.ratio,
            "error": error and {"what": error.what, "why": error.why},
        }


def keep(candidates: Sequence[Candidate]) -> Choice:
    """Which one is kept. There is at least one; where none has an artifact, it is the first one, for its error."""
    made = [number for number, candidate in enumerate(candidates) if candidate.error is None]
    if not made:
        return Choice(tuple(candidates), 0, "No backend made an artifact.")
    timed = {number: ratio for number in made if (ratio := candidates[number].ratio) is not None}
    if len(made) == 1:
        return Choice(tuple(candidates), made[0], "It is the only one that came to an artifact.")
    if len(timed) < len(made):
        kept = made[0]
        return Choice(
            tuple(candidates),
            kept,
            "It is the target's first: not all could be timed here, and so none is called faster.",
        )
    kept = min(timed, key=lambda number: timed[number])
    second = min(ratio for number, ratio in timed.items() if number != kept)
    margin = second / timed[kept]
    return Choice(tuple(candidates), kept, f"It is the fastest: {margin:.2f} times as fast as the next one.")
