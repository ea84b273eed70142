"""Which backend for a target, where the user left it open: each is tried, and the fastest artifact that passes is kept.

Time is compared as a ratio to the original model in ONNX Runtime, measured in turns with it: candidates are measured
one after the other, and a machine that is slower for a moment slows both sides down. Artifacts for another processor
can't be timed here: of those, the instructions are compared that they execute on its emulated core. Where neither is
known of all, the target's order of backends decides.
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
    latency, instructions: the documents latency.json and instructions.json; None where the build did not come so far,
    or nothing was counted. error: why there is no artifact.
    """

    backend: str
    precision: str
    artifact_bytes: int | None
    latency: Mapping[str, Any] | None
    error: EdgecError | None
    instructions: Mapping[str, Any] | None = None

    @property
    def ratio(self) -> float | None:
        """Its time over that of the original in ONNX Runtime, medians; None where it was not measured."""
        return None if self.error or not self.latency else self.latency["ratio_of_medians"]

    @property
    def executed(self) -> int | None:
        """Instructions of its engine's machine code in one inference; None where they were not counted."""
        return None if self.error or not self.instructions else self.instructions["engine"]


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
            "instructions": candidate.executed,
            "error": error and {"what": error.what, "why": error.why},
        }


def keep(candidates: Sequence[Candidate]) -> Choice:
    """Which one is kept. There is at least one; where none has an artifact, it is the first one, for its error."""
    made = [number for number, candidate in enumerate(candidates) if candidate.error is None]
    if not made:
        return Choice(tuple(candidates), 0, "No backend made an artifact.")
    if len(made) == 1:
        return Choice(tuple(candidates), made[0], "It is the only one that came to an artifact.")
    for figures, word in (
        (
            {number: candidates[number].ratio for number in made},
            "It is the fastest: {:.2f} times as fast as the next one.",
        ),
        (
            {number: candidates[number].executed for number in made},
            "It executes the fewest instructions on the emulated core, the next {:.2f} times as many: work, not time.",
        ),
    ):
        known = {number: figure for number, figure in figures.items() if figure is not None}
        if len(known) == len(made):
            kept = min(known, key=lambda number: known[number])
            second = min(figure for number, figure in known.items() if number != kept)
            return Choice(tuple(candidates), kept, word.format(second / known[kept]))
    why = "It is the target's first: not all could be measured here, and so none is called faster."
    return Choice(tuple(candidates), made[0], why)
