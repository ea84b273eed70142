"""Reading profile.json: what a model's inputs and outputs looked like when it was built."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BundleError, InputError
from ..model import Model
from .views import BINS, Spread, View, views_of

MEMBER = "profile.json"
SCHEMA = 1
LEAST_RUNS = 20
"""A profile of fewer runs says too little: each of its bins of a sixteenth would be about one run."""


@dataclass(frozen=True)
class Known:
    """What the profile says of a tensor.

    elements: their distribution; None of ids. counts: of all bins, int64[bins]. design: the sum of the eigenvalues of
    the histograms' covariance, and of their squares (edgec's profile). worth: independent runs behind it.
    statistics: for each of the view's, the distribution over runs; deviations: of these. not_finite: share of elements.
    """

    view: View
    elements: Spread | None
    counts: np.ndarray
    design: tuple[float, float]
    worth: float
    statistics: tuple[Spread, ...]
    deviations: tuple[float, ...]
    not_finite: float = 0.0


def read_profile(model: Model) -> Sequence[Known]:
    """The tensors that the artifact of a model can be watched by.

    Raises InputError where it has no profile, or one that says too little; BundleError for one that makes no sense.
    """
    if MEMBER not in model.manifest["files"]:
        raise InputError(
            "This artifact can't be watched for drift",
            f"It has no {MEMBER}: it was built before there was one.",
            "Build it again with this edgec.",
        )
    try:
        document = json.loads(model.bundle.read(MEMBER).decode(), parse_constant=_no_number)
        if document["schema"] != SCHEMA:
            raise ValueError(f"it has the schema {document['schema']}, and this runtime knows {SCHEMA}")
        views = {(view.role, view.name): view for view in views_of(model.manifest)}
        tensors = [_known(views[item["role"], item["name"]], item) for item in document["tensors"]]
        why_none = str(document["why_none"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BundleError(
            f"The profile of {model.bundle.path} can't be understood",
            f"{MEMBER}: {type(error).__name__}: {error}",
            "Build the artifact again, or run it with the runtime that it carries.",
        ) from error
    least = min((tensor.worth for tensor in tensors), default=0)
    if least < LEAST_RUNS:
        raise InputError(
            "This artifact can't be watched for drift",
            why_none or f"Its profile was taken from {least:g} independent runs, and {LEAST_RUNS} are the least.",
            f"Build it with more calibration samples: --calib FOLDER with at least {2 * LEAST_RUNS}, better 200.",
        )
    return tensors


def _known(view: View, item: Mapping[str, Any]) -> Known:
    elements = Spread.from_json(item["elements"]) if view.kind == "numbers" else None
    counts = np.asarray(item["elements"]["counts"] if elements is None else elements.counts, np.int64)
    if elements is None and (counts.shape != (BINS,) or counts.sum() <= 0):
        raise ValueError("the bins of ids are not sixteen")
    statistics = [item["statistics"][name] for name in view.statistics]
    trace, square = map(_positive, item["elements"]["design"])
    return Known(
        view,
        elements,
        counts,
        (trace, square),
        _positive(item["effective_runs"]),
        tuple(map(Spread.from_json, statistics)),
        tuple(_positive(each["deviation"]) for each in statistics),
        _positive(item["elements"].get("not_finite", 0.0)),
    )


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{value} is no finite positive number")
    return number


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")
