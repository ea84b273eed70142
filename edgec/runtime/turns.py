"""Timing one model, or several in turns, so that a busy moment hits all alike.

A turn is a block of queries, and its first one does not count: it finds the caches full of the other models' weights,
which is not how a device runs one model again and again. Who begins a round alternates. A query is one inference, or
several in a row, which is what a batch is to an artifact: its shapes are fixed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .latencies import LEAST_TURNS
from .machine import resident_bytes, waited_seconds

_WARM_UP = 0.1  # of the time
_LONGEST_WARM_UP = 2.0  # seconds
_LEAST_WARM_UPS = 3
_TURNS = 50  # that the time should have; each takes 10 to 200 ms then, where queries are not longer than that
_LEAST_TURN, _LONGEST_TURN = 0.01, 0.2
_LEAST_QUERIES, _MOST_QUERIES = 2, 2000  # of a turn

MLPERF_QUERIES = 1024
MLPERF_SECONDS = 60.0
"""The least of a single-stream run; see `single_stream`."""


@dataclass(frozen=True)
class Turn:
    """milliseconds: of each query, float64[n], or a sample of them. cpu_milliseconds: of all queries, over all threads.

    seconds: wall time from the first that counts to the last. resident: bytes of memory after it, where it is known.
    waited_milliseconds: for a processor that was busy with others, over all threads; None where it is not known.
    condensed_from: how many queries `milliseconds` are a sample of; None where it has each.
    """

    milliseconds: np.ndarray
    cpu_milliseconds: float
    seconds: float
    resident: int | None
    waited_milliseconds: float | None = None
    condensed_from: int | None = None

    @property
    def queries(self) -> int:
        """How many there were."""
        return len(self.milliseconds) if self.condensed_from is None else self.condensed_from


class _Clocks:
    """What a turn began with."""

    def __init__(self) -> None:
        self._waited = waited_seconds()
        self._cpu = time.process_time()
        self._began = time.perf_counter()

    def turn(self, times: np.ndarray) -> Turn:
        """The turn that ends now; times in seconds."""
        seconds = time.perf_counter() - self._began
        cpu = time.process_time() - self._cpu
        waited = waited_seconds()
        lost = None if waited is None or self._waited is None else max(waited - self._waited, 0.0) * 1e3
        return Turn(times * 1e3, cpu * 1e3, seconds, resident_bytes(), lost)


class Query:
    """What is timed: `batch` inferences, one after the other, on `feeds` in rotation."""

    def __init__(self, run: Callable[[Any], Any], feeds: Sequence[Mapping[str, np.ndarray]], batch: int = 1) -> None:
        self._run = run
        self._feeds = feeds
        self._batch = batch
        self._next = 0

    def __call__(self) -> None:
        if self._batch == len(self._feeds) == 1:
            self._run(self._feeds[0])
            return
        for _ in range(self._batch):
            self._run(self._feeds[self._next])
            self._next = (self._next + 1) % len(self._feeds)

    def turn(self, queries: int) -> Turn:
        """Time so many queries, after one that does not count."""
        self()
        clock = time.perf_counter
        times = np.empty(queries)
        clocks = _Clocks()
        for index in range(queries):
            started = clock()
            self()
            times[index] = clock() - started
        return clocks.turn(times)

    def stream(self, seconds: float, queries: int, heard: Callable[[int, float], None] | None = None) -> Turn:
        """Time queries one right after the other for at least `seconds`, and at least so many: MLPerf's single stream.

        heard: is told now and then how many are done, and after how many seconds.
        Ctrl-C ends it; what was measured up to then is returned.
        """
        clock = time.perf_counter
        times = np.empty(4096)
        count = 0
        clocks = _Clocks()
        began = now = told = clock()
        try:
            while count < queries or now - began < seconds:
                self()
                done = clock()
                if count == len(times):
                    times = np.concatenate([times, np.empty(len(times))])
                times[count] = done - now
                count += 1
                now = done
                if heard is not None and now - told > 1:
                    heard(count, now - began)
                    now = told = clock()
        except KeyboardInterrupt:
            pass
        return clocks.turn(times[:count])


def in_turns(sides: Sequence[Callable[[int], Turn | None]], seconds: float) -> Iterator[tuple[int, Turn]]:
    """Give turns to all sides for about `seconds` each, at least LEAST_TURNS each; yields (index of the side, turn).

    sides: each times so many queries (`Query.turn`), or returns None when it can't any more; it is left out then.

    A warm-up of a tenth of the time, at most two seconds each, does not count. Turns of all sides take about as long.
    """
    sizes = {}
    for index, side in enumerate(sides):
        size = _warm_up(side, seconds)
        if size is not None:
            sizes[index] = size
    started = time.perf_counter()
    rounds = 0
    while sizes and (rounds < LEAST_TURNS or time.perf_counter() - started < seconds * len(sizes)):
        order = list(sizes)
        for index in reversed(order) if rounds % 2 else order:
            turn = sides[index](sizes[index])
            if turn is None:
                del sizes[index]
            else:
                yield index, turn
        rounds += 1


def _warm_up(side: Callable[[int], Turn | None], seconds: float) -> int | None:
    """Run a side until it is warm; returns how many queries make a turn, None when it can't run."""
    end = time.perf_counter() + min(seconds * _WARM_UP, _LONGEST_WARM_UP)
    wanted = min(max(seconds / _TURNS, _LEAST_TURN), _LONGEST_TURN)
    queries = _LEAST_WARM_UPS
    while True:
        turn = side(queries)
        if turn is None:
            return None
        each = max(float(np.median(turn.milliseconds)) / 1e3, 1e-7)
        queries = max(_LEAST_QUERIES, min(_MOST_QUERIES, int(wanted / each)))
        if time.perf_counter() >= end:
            return queries
