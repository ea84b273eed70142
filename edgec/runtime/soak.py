"""A soak: hours of inferences, watched for latency that drifts and memory that leaks.

The time is divided into windows. Of each, the median latency, the resident memory at its end, and, where the system
tells, temperature and clock. What is said of them:

latency drifts  when its trend over the windows is significant (see `drift.trend`) and makes more than 5 % of the first
                windows' median over the whole soak.
memory leaks    when its trend is significant, and still is in the second half, and makes more than 1 MiB and 1 % of the
                memory at the start. A cache that fills stops growing: its second half is flat.

The first tenth of the windows is warm-up, and not part of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from . import machine
from .drift import LEAST_VALUES, SIGNIFICANCE, trend
from .turns import Turn

WINDOWS = 60
"""That a soak is divided into."""

DRIFT = 0.05
LEAK_SHARE, LEAK_BYTES = 0.01, 1 << 20

_WARM_UP = 0.1
_KEPT = 200  # quantiles of a turn: a soak may have a billion queries


@dataclass(frozen=True)
class Window:
    """seconds: from the start of the soak to the end of the window. queries: that it counted.

    celsius, megahertz: None where the system does not tell.
    """

    seconds: float
    queries: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    resident_bytes: int | None
    celsius: float | None
    megahertz: float | None


class Watch:
    """Collects turns into windows of `seconds` each."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._turns: list[Turn] = []
        self._queries = 0
        self.windows: list[Window] = []

    def add(self, turn: Turn, elapsed: float) -> None:
        """Take a turn that ended `elapsed` seconds after the start."""
        self._turns.append(condensed(turn))
        self._queries += len(turn.milliseconds)
        if elapsed < self._seconds * (len(self.windows) + 1):
            return
        times = np.concatenate([each.milliseconds for each in self._turns])
        p50, p99 = (round(float(value), 4) for value in np.percentile(times, [50, 99]))
        self.windows.append(
            Window(
                round(elapsed, 3),
                self._queries,
                p50,
                p99,
                round(float(times.max()), 4),
                turn.resident,
                machine.celsius(),
                machine.megahertz(),
            )
        )
        self._turns, self._queries = [], 0


def condensed(turn: Turn) -> Turn:
    """A turn whose many times are represented by their quantiles, the least and the largest among them."""
    times = turn.milliseconds
    if len(times) <= _KEPT:
        return turn
    return replace(turn, milliseconds=np.quantile(times, np.linspace(0, 1, _KEPT)), condensed_from=turn.queries)


def findings(windows: Sequence[Window]) -> dict[str, Any]:
    """What the windows show: {"windows", "latency": {"verdict", "trend", "share"}, "memory": {"verdict", "trend"},
    "celsius", "megahertz": {"first", "last", "most"} | null, "criterion"}.

    Verdicts of latency: "steady", "slower", "faster", "too short"; of memory: "steady", "leak", "too short", "unknown".
    """
    seen = windows[int(len(windows) * _WARM_UP) :]
    return {
        "windows": [asdict(window) for window in windows],
        "latency": _latency(seen),
        "memory": _memory(seen),
        "celsius": _course([window.celsius for window in windows]),
        "megahertz": _course([window.megahertz for window in windows]),
        "criterion": f"a trend (Mann-Kendall) that chance explains with less than {SIGNIFICANCE:.0%}; for latency, of "
        f"more than {DRIFT:.0%} over the soak; for memory, of more than 1 MiB and {LEAK_SHARE:.0%}, still growing in "
        "the second half",
    }


def _latency(windows: Sequence[Window]) -> dict[str, Any]:
    found = trend(*_series(windows, [window.p50_ms for window in windows]))
    if found is None:
        return {"verdict": "too short", "trend": None, "share": None}
    share = found.change / float(np.median([window.p50_ms for window in windows[:LEAST_VALUES]]))
    drifts = found.significant and abs(share) > DRIFT
    verdict = ("slower" if share > 0 else "faster") if drifts else "steady"
    return {"verdict": verdict, "trend": found.to_json(), "share": round(share, 4)}


def _memory(windows: Sequence[Window]) -> dict[str, Any]:
    sizes = [float(window.resident_bytes) for window in windows if window.resident_bytes is not None]
    if len(sizes) < len(windows):
        return {"verdict": "unknown", "trend": None}
    half = len(windows) // 2
    whole = trend(*_series(windows, sizes))
    later = trend(*_series(windows[half:], sizes[half:]))
    if whole is None or later is None:
        return {"verdict": "too short", "trend": None}
    grows = whole.significant and whole.change > max(LEAK_BYTES, LEAK_SHARE * sizes[0])
    goes_on = later.significant and later.change > 0
    return {"verdict": "leak" if grows and goes_on else "steady", "trend": whole.to_json()}


def _series(windows: Sequence[Window], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([window.seconds for window in windows]), np.array(values)


def _course(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    return {"first": known[0], "last": known[-1], "most": max(known)} if known else None
