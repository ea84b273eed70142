"""One candidate: what it is, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.comparison.accuracy import Accuracy, accuracy_of
from edgec.errors import EdgecError


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
