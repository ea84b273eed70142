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

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from . import machine
from .trends import LEAST_VALUES, SIGNIFICANCE, trend
from .turns import Turn

WINDOWS = 60
"""That a soak is divided into."""

DRIFT = 0.05
LEAK_SHARE, LEAK_BYTES = 0.01, 1 << 20

_WARM_UP = 0.1
_KEPT = 200  # times of a turn, or of several: a soak may have a billion queries
_MOST_BLOCKS = 256
"""With _KEPT floats each, less than half of what counts as a leak: a soak watches the process that it runs in."""


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


def condensed(turn: Turn, start: float = 0.5) -> Turn:
    """A turn whose many times are represented by some of them, each of which stands for as many.

    They are every n-th in their order, from the n * `start`-th on (0 to 1): a systematic sample, whose quantiles are
    those of all. Extremes are kept no more often than others, as they would count for more than they are.
    """
    times = turn.milliseconds
    if len(times) <= _KEPT:
        return turn
    places = ((np.arange(_KEPT) + start) * len(times) / _KEPT).astype(int)
    return replace(turn, milliseconds=np.sort(times)[places], condensed_from=turn.queries)


class Blocks:
    """Turns of a soak in blocks of equally many, so few that hours take no more memory than minutes.

    Blocks become twice as long whenever there are too many of them. The fastest and the slowest query of all stay in.
    """

    def __init__(self) -> None:
        self._blocks: list[Turn] = []
        self._level = 0  # a block is of 2 ** level turns
        self._begun: dict[int, Turn] = {}  # by level: what has to meet another of as many turns
        self._least, self._most = math.inf, 0.0
        self._random = np.random.default_rng(0)  # where samples of samples start, lest their errors add up

    def add(self, turn: Turn) -> None:
        """Take the next turn."""
        self._least = min(self._least, float(turn.milliseconds.min()))
        self._most = max(self._most, float(turn.milliseconds.max()))
        each, level = condensed(turn), 0
        while level < self._level:
            other = self._begun.pop(level, None)
            if other is None:
                self._begun[level] = each
                return
            each, level = self._together(other, each), level + 1
        self._blocks.append(each)
        if len(self._blocks) == _MOST_BLOCKS:
            self._blocks = [self._together(*self._blocks[i : i + 2]) for i in range(0, _MOST_BLOCKS, 2)]
            self._level += 1

    def turns(self) -> list[Turn]:
        """All blocks; what is left over is the last one."""
        rest: Turn | None = None
        for level in sorted(self._begun):
            rest = self._begun[level] if rest is None else self._together(self._begun[level], rest)
        blocks = self._blocks if rest is None else [*self._blocks, rest]
        for index, each in enumerate(blocks):
            if each.condensed_from is not None and len(each.milliseconds) == _KEPT:
                times = np.concatenate([[self._least], each.milliseconds[1:-1], [self._most]])
                return [*blocks[:index], replace(each, milliseconds=times), *blocks[index + 1 :]]
        return list(blocks)

    def _together(self, one: Turn, next_one: Turn) -> Turn:
        """Two turns, which followed each other, as one."""
        waits = (one.waited_milliseconds, next_one.waited_milliseconds)
        both = Turn(
            np.concatenate([one.milliseconds, next_one.milliseconds]),
            one.cpu_milliseconds + next_one.cpu_milliseconds,
            one.seconds + next_one.seconds,
            next_one.resident,
            None if waits[0] is None or waits[1] is None else waits[0] + waits[1],
            one.queries + next_one.queries,
        )
        return condensed(both, float(self._random.random()))


class Watch:
    """Collects turns into windows of `seconds` each."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._blocks = Blocks()
        self._queries = 0
        self.windows: list[Window] = []

    def add(self, turn: Turn, elapsed: float) -> None:
        """Take a turn that ended `elapsed` seconds after the start."""
        self._blocks.add(turn)
        self._queries += turn.queries
        if elapsed < self._seconds * (len(self.windows) + 1):
            return
        times = np.concatenate([each.milliseconds for each in self._blocks.turns()])
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
        self._blocks, self._queries = Blocks(), 0


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
