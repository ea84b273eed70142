"""What an output is, as far as its values tell, and whether it says anything on the data at hand.

- integer: an integer or boolean dtype. Judged by the share of equal elements.
- state: named with --state. Reported, and judged leniently: the other outputs show what a state is good for.
- classes: rank 2 or 3 with rows that are probabilities (they sum to 1), rank 4 with channels that are; a rank-2 output
  that is not an embedding; or the name says logits. Judged by confident argmax flips and dead channels.
- probability: all values within 0..1, rank up to 3, one column or some confident yes. Judged by confident flips at one
  half, mean absolute error and dead channels.
- map: all values within 0..1, rank 4 and up. Judged by confident flips at one half, Dice of masks and dead channels.
- features: all else: embeddings, boxes, regressions, feature maps. Judged by the cosine of rows, channel
  SQNR and dead channels.

A rank-2 output with several columns is an embedding rather than class scores when its rows have unit length, when its
name says so, or when the largest column is the same for all samples.
"""

from __future__ import annotations

import math
import re
from typing import Literal

import numpy as np

from edgec.parity.decisions import Choices, Thresholds

Kind = Literal["integer", "state", "classes", "probability", "map", "features"]

_SCORES = re.compile(r"logit|prob|softmax|class|(^|[^a-z])cls", re.IGNORECASE)
_VECTORS = re.compile(
    r"embed|feature|hidden|pool|repr|vector|box|landmark|keypoint|coord|regress|offset", re.IGNORECASE
)

SUM_TOLERANCE = 1e-2
"""How far from 1 the sum of class probabilities may be (softmax in half precision, rounded tables)."""

_UNIT = 1e-4  # how far from 0..1, from a sum of 1, or from unit length values may stray and still count
_SURE = 0.999  # a probability that can't grow
_MAP_COVERAGE = 1e-3  # a map with fewer yeses has found nothing
_FINDS = 0.25  # of the samples; where a detector finds something in fewer, the data is hardly what it is made for
_HARDLY = 1e-3  # of the energy; where less is different from sample to sample, all inputs look alike to the model
_ENOUGH_STEPS = 8
_LOOKED_AT = 64  # samples after which it is known whether they differ


_DOUBT = "is it the kind of data that the model was trained on, preprocessed the same way?"


class Evidence:
    """What the reference's values showed so far."""

    def __init__(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.name = name
        self.shape = shape
        self.rank = len(shape)
        self.integer = dtype.kind in "iub"
        self.minimum = math.inf
        self.maximum = -math.inf
        self.steps = 0
        self.unit_rows = self.rank in (2, 3) and shape[-1] >= 2
        self.non_finite: str | None = None
        self._first: np.ndarray | None = None
        self._sums: np.ndarray | None = None
        self._looked_at = 0
        self._energy = 0.0
        self.varies = False

    def saw_non_finite(self, values: np.ndarray) -> None:
        if np.isnan(values).any():
            self.non_finite = "the original gives NaN on this data"
        elif self.non_finite is None and not np.isfinite(values).any():
            self.non_finite = "the original gives nothing but infinity on this data"

    def add(self, values: np.ndarray) -> None:
        """One step of the reference, float64, finite."""
        self.steps += 1
        if values.size == 0:
            return
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))
        if self.unit_rows:
            self.unit_rows = bool(np.abs(np.linalg.norm(values, axis=-1) - 1).max() < _UNIT)
        if self._looked_at < _LOOKED_AT:
            self._looked_at += 1
            self._sums = values.copy() if self._sums is None else self._sums + values
            self._energy += float((values * values).sum())
        if self._first is None:
            self._first = values.astype(np.float32)
        elif not self.varies:
            scale = max(abs(self.minimum), abs(self.maximum))
            self.varies = bool(np.abs(values - self._first).max() > 1e-6 * scale)

    @property
    def within_unit(self) -> bool:
        return not self.integer and self.minimum >= -_UNIT and self.maximum <= 1 + _UNIT

    def variation(self) -> float | None:
        """The share of the energy that differs from sample to sample, 0 to 1; None with too few samples."""
        if self._sums is None or self._looked_at < _ENOUGH_STEPS or self._energy <= 0:
            return None
        common = float((self._sums * self._sums).sum()) / self._looked_at
        return max(0.0, 1 - common / self._energy)

    @property
    def has_rows(self) -> bool:
        """Whether a step consists of rows to compare one by one (a batch, a sequence)."""
        return self.rank in (2, 3)

    def channel_axes(self) -> tuple[int, ...]:
        """The axes that may be the channels; where there are two, the values decide (the one with unlike channels).

        Rank 1 and 2: the last. Rank 4: axis 1, or the last when axes 1 and 2 are equal and axis 2 and 3 are not (NHWC).
        Rank 3, 5 and up: axis 1 (a detector's 84 x 8400) or the last (a sequence's 40 x 6625), whichever is not of
        length one.
        """
        if self.rank <= 2:
            return (self.rank - 1,) if self.rank else ()
        if self.rank == 4:
            _, a, b, c = self.shape
            return (3,) if a == b != c else (1,)
        last = self.rank - 1
        longer = tuple(axis for axis in (1, last) if self.shape[axis] > 1)
        return longer or (last,)

    def choice_axis(self) -> int | None:
        """Along which axis an argmax could be a decision."""
        if self.integer or self.rank not in (2, 3, 4):
            return None
        axis = self.channel_axes()[0] if self.rank == 4 else self.rank - 1
        return axis if self.shape[axis] >= 2 else None

    def notes(self, kind: Kind, choices: Choices | None, thresholds: Thresholds | None = None) -> tuple[str, ...]:
        """What the user should know about how the output was read, and about the data, in words."""
        found = []
        variation = self.variation()
        if variation is not None and variation < _HARDLY and kind not in ("integer", "state") and self.varies:
            found.append(
                f"the original hardly tells samples apart ({100 * variation:.2g} % of its values' energy differs): "
                f"{_DOUBT}"
            )
        if kind == "map" and thresholds is not None and len(thresholds.coverage) >= _ENOUGH_STEPS:
            finds = sum(share > _MAP_COVERAGE for share in thresholds.coverage)
            if finds < _FINDS * len(thresholds.coverage):
                found.append(
                    f"the original finds something in only {finds} of {len(thresholds.coverage)} samples: {_DOUBT}"
                )
        if kind == "classes" and choices is not None:
            if len(choices.chosen) == 1 and choices.decisions > 1:
                found.append("the original chooses the same class for every sample")
            elif self.within_unit and choices.largest_sum_error <= SUM_TOLERANCE and choices.median_top() < 0.3:
                found.append(
                    f"the original is rarely sure on this data (median top probability {choices.median_top():.2f}): "
                    f"{_DOUBT}"
                )
        return tuple(found)


def detect_kind(
    evidence: Evidence, choices: Choices | None, thresholds: Thresholds | None, state: bool = False
) -> Kind:
    """What the output is; see the table above."""
    if state:
        return "state"
    if evidence.integer:
        return "integer"
    if (
        evidence.within_unit
        and choices is not None
        and choices.decisions
        and choices.largest_sum_error <= SUM_TOLERANCE
    ):
        return "classes"
    if evidence.within_unit and not evidence.unit_rows and not _VECTORS.search(evidence.name):
        if evidence.rank >= 4:
            return "map"
        if evidence.shape[-1:] in ((), (1,)) or (thresholds is not None and thresholds.clear_yes):
            return "probability"
    if evidence.rank in (2, 3) and choices is not None and choices.decisions:
        if _VECTORS.search(evidence.name) or evidence.unit_rows:
            return "features"
        if _SCORES.search(evidence.name):
            return "classes"
        if evidence.rank == 2 and (len(choices.chosen) > 1 or choices.decisions == 1):
            return "classes"
    return "features"


def degenerate_reason(
    evidence: Evidence, kind: Kind, choices: Choices | None, thresholds: Thresholds | None
) -> str | None:
    """Why agreement on this output would prove nothing, in words; None when it would."""
    if evidence.non_finite is not None:
        return evidence.non_finite
    if evidence.maximum < evidence.minimum:
        return "the output is empty"
    if evidence.minimum == evidence.maximum:
        what = "zero" if evidence.maximum == 0 else f"the constant {evidence.maximum:.4g}"
        return f"the original gives nothing but {what} on this data"
    if evidence.steps == 1 and evidence.rank <= 2 and math.prod(evidence.shape[:-1]) <= 1:
        return "there is a single sample"
    if evidence.steps > 1 and not evidence.varies:
        return "the original gives the same for every sample"
    saturated = choices is not None and choices.smallest_top > _SURE and evidence.within_unit
    if kind == "classes" and saturated and choices is not None and len(choices.chosen) == 1:
        return f"the original is certain of class {next(iter(choices.chosen))} for every sample"
    if kind == "map" and thresholds is not None and thresholds.yes < _MAP_COVERAGE * thresholds.values:
        return "the original's map is empty on this data: it finds nothing"
    if kind == "probability" and thresholds is not None and not thresholds.clear_yes:
        return "the original never says yes with confidence on this data"
    return None
