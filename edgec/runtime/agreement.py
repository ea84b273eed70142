"""How far two models agree, output by output, on the same inputs; and what that proves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .model import TensorSpec

_Z = 1.959964
CONFIDENCE = 0.95


def wilson(agreed: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `agreed` of `of` independent trials were seen (Wilson, JASA 22, 1927)."""
    if not of:
        return 0.0, 1.0
    share, square = agreed / of, _Z * _Z / of
    middle, half = share + square / 2, _Z * math.sqrt(share * (1 - share) / of + square / (4 * of))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def runs_to_show(share: float, least: float) -> int | None:
    """About how many runs show that the share is at least so much, if it stays as seen; None if none do."""
    if share <= least:
        return None
    low, high = 1, 1 << 40
    while low < high:
        middle = (low + high) // 2
        if wilson(round(share * middle), middle)[0] >= least:
            high = middle
        else:
            low = middle + 1
    return low


def decisions(spec: TensorSpec, values: np.ndarray) -> np.ndarray | None:
    """What one would decide by an output; None where its numbers are no decision that is known here.

    The largest of each row of two and more (classes); a single number from 0 to 1 against one half (a probability);
    whole numbers as they are.
    """
    if values.dtype.kind in "iub":
        return values
    if len(spec.shape) == 2 and spec.shape[1] >= 2:
        return np.asarray(values.argmax(axis=1))
    if values.size == 1 and 0 <= float(values.reshape(-1)[0]) <= 1:
        return np.asarray(values > 0.5)
    return None


@dataclass
class OutputAgreement:
    """One output over all runs that were compared.

    runs: all that were compared. agreed: those whose decisions were all the same, of `judged`.
    largest: absolute difference. signal, noise: energies.
    """

    spec: TensorSpec
    runs: int = 0
    judged: int = 0
    agreed: int = 0
    largest: float = 0.0
    signal: float = 0.0
    noise: float = 0.0
    not_finite: int = 0

    def add(self, current: np.ndarray, candidate: np.ndarray) -> None:
        """One run. Elements that are not finite in either count where they are not the same in both."""
        self.runs += 1
        first, second = decisions(self.spec, current), decisions(self.spec, candidate)
        if first is not None and second is not None:
            self.judged += 1
            self.agreed += bool(np.array_equal(first, second))
        a, b = current.astype(np.float64).reshape(-1), candidate.astype(np.float64).reshape(-1)
        finite = np.isfinite(a) & np.isfinite(b)
        if not finite.all():
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            self.not_finite += int(np.count_nonzero(~finite & ~same))
            a, b = a[finite], b[finite]
        error = a - b
        self.largest = max(self.largest, float(np.abs(error).max(initial=0.0)))
        self.signal += float(a @ a)
        self.noise += float(error @ error)

    @property
    def sqnr_db(self) -> float | None:
        """Energy of the current model's output over that of the difference; None where there is no difference."""
        if not self.noise:
            return None
        return 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf

    def to_json(self) -> dict[str, Any]:
        low, high = wilson(self.agreed, self.judged)
        decided = {"runs": self.judged, "agreed": self.agreed, "low": round(low, 5), "high": round(high, 5)}
        sqnr = self.sqnr_db
        return {
            "name": self.spec.name,
            "decisions": decided if self.judged else None,
            "max_abs": self.largest,
            "sqnr_db": None if sqnr is None or math.isinf(sqnr) else round(sqnr, 2),
            "identical": bool(self.runs) and not self.noise and not self.not_finite,
            "not_finite": self.not_finite,
        }


def verdict(outputs: Sequence[OutputAgreement], least: float | None) -> tuple[str, str]:
    """("shown" | "refuted" | "open" | "none", in words): whether decisions agree in at least `least` of all runs.

    The output that agrees least decides. Without decisions there is nothing to say: "none".
    """
    if not any(output.runs for output in outputs):
        return "none", "Nothing was compared."
    judged = [output for output in outputs if output.judged]
    if not judged:
        return "none", "No output is a decision: look at the differences."
    worst = min(judged, key=lambda output: output.agreed / output.judged)
    low, high = wilson(worst.agreed, worst.judged)
    share = worst.agreed / worst.judged
    seen = (
        f"The candidate decides like the current model in {worst.agreed} of {worst.judged} runs "
        f"({_percent(share)}; with 95 % confidence in {_percent(low)} to {_percent(high)} of all such runs)"
    )
    if least is None:
        return "open", f"{seen}."
    if low >= least:
        return "shown", f"{seen}: that it agrees in {_percent(least)} is shown."
    if high < least:
        return "refuted", f"{seen}: it does not agree in {_percent(least)}."
    needed = runs_to_show(share, least)
    more = f"about {needed - worst.judged} more would show it" if needed else "more of the same would never show it"
    return "open", f"{seen}: that it agrees in {_percent(least)} is neither shown nor refuted; {more}."


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def check_alike(current: Mapping[str, Any], candidate: Mapping[str, Any]) -> str:
    """Why the same inputs can't be given to both, by their manifests; "" where they can."""
    for key in ("inputs", "outputs"):
        ours, theirs = ({item["name"]: tuple(item["shape"]) for item in each[key]} for each in (current, candidate))
        if ours != theirs:
            return f"Their {key} differ: {ours} and {theirs}."
    if (current.get("preprocess") or {}).get("normalize") != (candidate.get("preprocess") or {}).get("normalize"):
        return "Their recipes normalize inputs differently."
    return ""
