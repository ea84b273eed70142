"""The self-test: replay the golden samples on this machine, and say how far its outputs are from those of the build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .errors import BundleError
from .golden import Golden
from .model import Model


@dataclass(frozen=True)
class OutputDifference:
    """How far one output is from the golden one, over all samples.

    max_abs: largest absolute difference; infinite where exactly one of two values is not finite.
    max_lsb: the same in quantization steps, where the output has one.
    max_relative: the same relative to the largest golden value.
    tolerance: the largest absolute difference that is accepted.
    """

    name: str
    max_abs: float
    max_lsb: float | None
    max_relative: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.max_abs <= self.tolerance

    def __str__(self) -> str:
        size = f"{self.max_lsb:.2f} LSB" if self.max_lsb is not None else f"{self.max_relative:.1e} of its range"
        return f"{self.name}: at most {size} ({self.max_abs:.3g}, allowed {self.tolerance:.3g})"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def replay(model: Model, golden: Golden, tolerances: Mapping[str, float]) -> list[OutputDifference]:
    """Run every golden step; one result for each output. An output without a tolerance has to be equal.

    Raises BundleError for golden samples of another model.
    """
    feeds, expected = golden.samples[0][0]
    if set(feeds) != {spec.name for spec in model.inputs} or set(expected) != {spec.name for spec in model.outputs}:
        raise BundleError(
            "The golden samples are of another model",
            f"They are for {', '.join(map(repr, feeds))} to {', '.join(map(repr, expected))}.",
            "Build the artifact again, or fetch it again.",
        )
    worst = {spec.name: 0.0 for spec in model.outputs}
    peak = dict(worst)
    for sample in golden.samples:
        for feeds, expected in sample:
            outputs = model.run(feeds)
            for name in worst:
                worst[name] = max(worst[name], largest_difference(expected[name], outputs[name]))
                peak[name] = max(peak[name], largest(expected[name]))
    return [_difference(name, worst[name], peak[name], golden.steps.get(name), tolerances) for name in worst]


def _difference(
    name: str, worst: float, peak: float, step: float | None, tolerances: Mapping[str, float]
) -> OutputDifference:
    return OutputDifference(
        name=name,
        max_abs=worst,
        max_lsb=worst / step if step else None,
        max_relative=worst / peak if peak else float(worst > 0),
        tolerance=float(tolerances.get(name, 0.0)),
    )


def largest_difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """The largest absolute difference; infinite for other shapes, or where not the same values are NaN or infinite."""
    if expected.shape != actual.shape:
        return float("inf")
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(a - b))
    return float(np.where(np.isnan(distance), np.inf, distance).max(initial=0.0))


def largest(array: np.ndarray) -> float:
    """The largest finite magnitude."""
    values = np.abs(array.astype(np.float64))
    return float(values[np.isfinite(values)].max(initial=0.0))
