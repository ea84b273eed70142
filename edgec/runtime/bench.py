"""Timing a model on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .model import Model

_LEAST_RUNS = 10


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference, and inferences per second of one after the other."""

    first: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float
    per_second: float
    runs: int

    def to_json(self) -> dict[str, Any]:
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


def latency(model: Model, feeds: Mapping[str, np.ndarray], seconds: float) -> Latency:
    """Time `model` on `feeds` for about `seconds`, after a warm-up of a fifth of that (at least three runs)."""
    first = _milliseconds(model, feeds)
    _repeat(model, feeds, seconds / 5, 3)
    started = time.perf_counter()
    times = np.array(_repeat(model, feeds, seconds, _LEAST_RUNS))
    elapsed = time.perf_counter() - started
    p50, p90, p95, p99 = (float(value) for value in np.percentile(times, [50, 90, 95, 99]))
    return Latency(first, p50, p90, p95, p99, float(times.max()), len(times) / elapsed, len(times))


def _repeat(model: Model, feeds: Mapping[str, np.ndarray], seconds: float, least: int) -> list[float]:
    """Run for `seconds`, and at least `least` times; milliseconds of each run."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        times.append(_milliseconds(model, feeds))
    return times


def _milliseconds(model: Model, feeds: Mapping[str, np.ndarray]) -> float:
    started = time.perf_counter()
    model.run(feeds)
    return (time.perf_counter() - started) * 1e3
