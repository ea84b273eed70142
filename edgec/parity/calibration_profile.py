"""profile.json: what the inputs and outputs of a model look like on the user's data, for a device to compare with.

The format is described in docs/artifact.md; `edgec.runtime.monitoring` reads it. Equal samples give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgec.contract import Contract
from edgec.runtime.monitoring.effective import effective_runs
from edgec.runtime.monitoring.views import BINS, View, binned, spread_of, views_of

SCHEMA = 1
MOST_SAMPLES = 128
"""What more samples would add is small: a share is known to four points then."""

MOST_TENSORS = 8
_MOST_RUNS = 1024
_RUNS_OF_A_SAMPLE = 64  # of a recurrent model: at even distances
_DIGITS, _FLOAT32_DIGITS = 6, 9  # nine digits tell any two float32 values apart


class Profiler:
    """Gathers the profile, run by run.

    state: output to input of a recurrent model: what it hands to itself is not looked at.
    """

    def __init__(self, contract: Contract, state: Mapping[str, str]) -> None:
        known = {**contract.to_json(), "state": dict(state)}
        views = views_of(known)
        inputs = [view for view in views if view.role == "input"]
        self._views = [*inputs, *(view for view in views if view.role == "output")][:MOST_TENSORS]
        self._left_out = [view.name for view in views if view not in self._views]
        self._recurrent = bool(state)
        self._samples = 0
        self._elements: dict[View, list[np.ndarray]] = {view: [] for view in self._views}
        self._summaries: dict[View, list[np.ndarray]] = {view: [] for view in self._views}

    def add(self, steps: Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]) -> None:
        """One sample: feeds and outputs of each of its steps."""
        self._samples += 1
        every = -(-len(steps) // _RUNS_OF_A_SAMPLE)
        for feeds, outputs in steps[::every]:
            for view in self._views:
                if len(self._summaries[view]) < _MOST_RUNS:
                    values, summary = view.look((feeds if view.role == "input" else outputs)[view.name])
                    self._elements[view].append(values.copy())
                    self._summaries[view].append(summary)

    def document(self, outputs_of: str, why_none: str = "") -> dict[str, Any]:
        """outputs_of: "payload" or "reference". why_none: why there is nothing to compare with; "" where there is."""
        usable = [] if why_none else [view for view in self._views if _has_numbers(self._elements[view])]
        return {
            "schema": SCHEMA,
            "samples": 0 if why_none else self._samples,
            "outputs_of": outputs_of,
            "why_none": why_none,
            "tensors": [self._tensor(view) for view in usable],
            "left_out": self._left_out,
        }

    def _tensor(self, view: View) -> dict[str, Any]:
        summaries = np.array(self._summaries[view])
        kept = summaries[np.isfinite(summaries).all(axis=1)]
        runs = len(kept)
        return {
            "name": view.name,
            "role": view.role,
            "kind": view.kind,
            "runs": runs,
            "effective_runs": round(_effective(kept), 1) if self._recurrent else runs,
            "elements": _elements(view, self._elements[view]),
            "statistics": {
                name: {**spread_of(column, _DIGITS).to_json(), "deviation": _short(float(column.std()))}
                for name, column in zip(view.statistics, kept.T, strict=True)
            },
        }


def _effective(summaries: np.ndarray) -> float:
    """Of the most sluggish statistic that changes at all."""
    changing = np.ptp(summaries, axis=0) > 0
    return float(effective_runs(summaries)[changing].min(initial=len(summaries)))


def _has_numbers(runs: Iterable[np.ndarray]) -> bool:
    return any(bool(np.isfinite(values).any()) for values in runs)


def _elements(view: View, runs: Sequence[np.ndarray]) -> dict[str, Any]:
    """The elements of all runs, and how much their histograms differ from run to run (`design`)."""
    if view.kind == "ids":
        histograms = np.array([np.bincount(bins, minlength=BINS) for bins in runs])
        return {"counts": histograms.sum(axis=0).tolist(), "design": _design(histograms)}
    finite = [values[np.isfinite(values)] for values in runs]
    pooled = np.concatenate(finite)
    spread = spread_of(pooled, _FLOAT32_DIGITS)
    histograms = np.array([binned(values, spread.edges) for values in finite if values.size])
    total = sum(values.size for values in runs)
    at_minimum, at_maximum, zero = (float((pooled == value).mean()) for value in (pooled.min(), pooled.max(), 0))
    return {
        **spread.to_json(),
        "design": _design(histograms),
        "not_finite": _short(1 - pooled.size / total),
        "zero": _short(zero),
        "at_minimum": _short(at_minimum),
        "at_maximum": _short(at_maximum),
    }


def _design(histograms: np.ndarray) -> list[float]:
    """[sum of the eigenvalues, sum of their squares] of P^-1/2 V P^-1/2; P: shares of the bins, V: the covariance of
    the shares of one run.

    Elements of one run are a cluster: n times the chi-square-like distance of n runs' histogram from the truth is
    distributed like the sum of these eigenvalues, each times a chi-square of one degree of freedom (Rao and Scott, The
    Analysis of Categorical Data from Complex Sample Surveys, JASA 76, 1981). Two moments are what their second-order
    correction takes. histograms: int64[runs, bins].
    """
    shares = histograms / histograms.sum(axis=1, keepdims=True)
    expected = shares.mean(axis=0)
    held = expected > 0
    if len(shares) < 2 or held.sum() < 2:
        return [0.0, 0.0]
    centred = (shares - expected)[:, held] / np.sqrt(expected[held])
    matrix = centred.T @ centred / (len(shares) - 1)
    return [_short(float(np.trace(matrix))), _short(float((matrix**2).sum()))]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
