"""Watching a model's inputs and outputs for drift, run by run, at a bounded price."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np

from ..model import Model
from .drift import Finding, Window, count_tests
from .profile import read_profile
from .reservoir import Reservoir


@dataclass(frozen=True)
class Alert:
    """A tensor that drifts. finding: of the last window.

    since, first_run: when the first window in which it did began, in seconds since 1970 by this machine's clock, and
    with which run. windows: how many it has been since then.
    """

    finding: Finding
    since: float
    first_run: int
    windows: int
    samples: str = ""

    @property
    def text(self) -> str:
        """What drifts, how, since when, and what to do, in a few lines."""
        found = self.finding
        when = datetime.fromtimestamp(self.since, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        lines = [f"{found.role} {found.tensor!r} drifts since {when} (run {self.first_run}):"]
        lines += [f"  {reason}" for reason in found.reasons]
        if found.role == "input":
            lines.append(f"  check first: {', '.join(found.check) or 'where the input comes from'}")
            kept = f"are in {self.samples}" if self.samples else "can be kept with Monitor(..., samples=FOLDER)"
            lines.append(
                "  if that is how inputs look from now on: add such ones to the calibration data, and build again"
            )
            lines.append(f"  (edgec build --calib FOLDER); some {kept}")
        else:
            lines.append("  check first: whether an input drifts too; then what the model is shown these days")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        facts = {"since": round(self.since, 3), "first_run": self.first_run, "windows": self.windows, "text": self.text}
        return {**self.finding.to_json(), **facts}


class DriftWatch:
    """Collects windows of runs, and judges each when it is full.

    window: runs that are looked at. share: of the time, how much looking may take at most. reservoir: where inputs are
    kept while one drifts.

    Raises InputError where the artifact's profile does not allow it.
    """

    def __init__(self, model: Model, window: int, share: float, reservoir: Reservoir | None) -> None:
        self._tensors = read_profile(model)
        self._windows = [Window(known, window) for known in self._tensors]
        self._free = [spec.name for spec in model.free_inputs]
        self._size = window
        self._share = share
        self._reservoir = reservoir
        self._seen = self._new = 0
        self._began = (0.0, 0)
        self._due = 0.0
        self.alerts: dict[tuple[str, str], Alert] = {}
        self.findings: list[Finding] = []
        self.windows = 0
        self.looked_at = 0
        self.seconds = 0.0
        """What looking has taken so far."""

    def is_due(self, now: float) -> bool:
        """Whether it is time to look at a run. now: time.perf_counter()."""
        return now >= self._due

    def look(
        self, feeds: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], run: int
    ) -> tuple[list[Alert], bool]:
        """Look at one run; returns the alerts that this raised, and whether a window was judged."""
        began = time.perf_counter()
        if self._seen == 0:
            self._began = (time.time(), run)
        fresh = False
        for known, window in zip(self._tensors, self._windows):
            is_input = known.view.role == "input"
            differs = window.add((feeds if is_input else outputs)[known.view.name])
            fresh = fresh or (is_input and differs)
        self._new += fresh
        self._seen += 1
        self.looked_at += 1
        if self._reservoir is not None and self.alerts:
            self._reservoir.offer({name: feeds[name] for name in self._free})
        judged = self._seen == self._size
        raised = self._judge() if judged else []
        now = time.perf_counter()
        self.seconds += now - began
        self._due = now + (now - began) * (1 / self._share - 1)
        return raised, judged

    def _judge(self) -> list[Alert]:
        tests = count_tests(self._tensors)
        self.findings = [window.judge(self._new, tests) for window in self._windows]
        self._seen = self._new = 0
        self.windows += 1
        raised = []
        still: dict[tuple[str, str], Alert] = {}
        for finding in self.findings:
            if not finding.reasons:
                continue
            key = finding.role, finding.tensor
            if known := self.alerts.get(key):
                still[key] = replace(known, finding=finding, windows=known.windows + 1)
            else:
                folder = "" if self._reservoir is None else str(self._reservoir.folder)
                still[key] = Alert(finding, *self._began, 1, folder)
                raised.append(still[key])
        self.alerts = still
        return raised

    def to_json(self) -> dict[str, Any]:
        return {
            "window": self._size,
            "windows": self.windows,
            "looked_at": self.looked_at,
            "seconds": round(self.seconds, 6),
            "tensors": [finding.to_json() for finding in self.findings],
            "alerts": [alert.to_json() for alert in self.alerts.values()],
            "samples": None if self._reservoir is None else self._reservoir.kept,
        }
