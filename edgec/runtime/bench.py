"""How fast a model is on this machine, and what it needs: the figures of one subject, as one document.

The document ("measurement"), of an artifact's own `bench` and of `edgec bench` alike; latencies are those of a query:

    engine, engine_version, threads, machine, batch
    load_ms         from the file to a model that can run, verification and the engine's own start included
    first_ms        the first inference after that
    latency_ms      {"p50", "p90", "p95", "p99", "max", "mean", "least"}
    per_second      inferences, one after the other
    cpu_ms          processor time of a query, over all threads
    peak_bytes      most memory that the process had at once, before any profile; null where the system does not tell
    start_bytes     what it had before it loaded anything: Python and numpy
    runs            queries that count
    turns           blocks that they came in; of a soak, at most 256, of several turns each
    histogram       {"edges_ms", "counts"}; of a soak, each block is in it with 200 times at most
    waiting         share of the time in which its threads could have run that they waited for a processor that was
                    busy with others; null where the system does not tell
    noisy           quartiles further apart than a quarter of the median, or more than a tenth of the time waiting
    profile         [{"name", "operator", "milliseconds", "share"}] in order of execution, or null
    profile_note    why there is none, or what to know of it
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .bundle import Bundle
from .engines import no_profile, open_for_profile
from .latencies import MOST_WAITING, histogram, noisy, percentiles
from .model import Model
from .profiles import profile_of
from .turns import MLPERF_QUERIES, MLPERF_SECONDS, Query, Turn

PROFILED_SECONDS = 1.0
"""How long a profile takes, about, where nobody says."""

_LEAST_PROFILED, _MOST_PROFILED = 3, 200  # runs


@dataclass(frozen=True)
class Start:
    """What came before the first query that counts: milliseconds, and the process's memory before loading."""

    load_ms: float
    first_ms: float
    bytes: int | None


def first_run(query: Query) -> float:
    """Milliseconds of a query; meant for the very first."""
    started = time.perf_counter()
    query()
    return (time.perf_counter() - started) * 1e3


def figures(turns: Sequence[Turn], start: Start, batch: int, peak: int | None) -> dict[str, Any]:
    """The measured part of the document, of at least one turn."""
    times = np.concatenate([turn.milliseconds for turn in turns])
    spent = sum(turn.seconds for turn in turns)
    queries = sum(turn.queries for turn in turns)
    waiting = _waiting(turns)
    least, mean, most = (round(float(value), 4) for value in (times.min(), times.mean(), times.max()))
    return {
        "batch": batch,
        "load_ms": round(start.load_ms, 2),
        "first_ms": round(start.first_ms, 4),
        "latency_ms": {**percentiles(times), "max": most, "mean": mean, "least": least},
        "per_second": round(queries * batch / spent, 2),
        "cpu_ms": round(sum(turn.cpu_milliseconds for turn in turns) / queries, 4),
        "peak_bytes": peak,
        "start_bytes": start.bytes,
        "runs": queries,
        "turns": len(turns),
        "histogram": histogram(times),
        "waiting": None if waiting is None else round(waiting, 4),
        "noisy": noisy(times) or (waiting or 0.0) > MOST_WAITING,
    }


def _waiting(turns: Sequence[Turn]) -> float | None:
    waits = [turn.waited_milliseconds for turn in turns if turn.waited_milliseconds is not None]
    if len(waits) < len(turns):
        return None
    runnable = sum(waits) + sum(turn.cpu_milliseconds for turn in turns)
    return sum(waits) / runnable if runnable else 0.0


def identity(model: Model, threads: int | None) -> dict[str, Any]:
    """What was measured. threads: as asked for; None means the artifact's own number."""
    manifest = model.manifest
    return {
        **{key: manifest[key] for key in ("name", "target", "backend", "precision")},
        "engine": manifest["engine"]["name"],
        "engine_version": model.engine.version,
        "threads": manifest["threads"] if threads is None else threads,
        "machine": platform.machine(),
    }


def single_stream(turn: Turn, seconds: float = MLPERF_SECONDS, queries: int = MLPERF_QUERIES) -> dict[str, Any]:
    """What MLPerf's single-stream scenario makes of a stream: its headline is the 90th percentile.

    A run is valid with at least 1024 queries and 60 s, as in MLPerf Mobile. The percentile is LoadGen's: the value at
    index floor(0.9 n) of the sorted ones, with no interpolation. It follows the protocol; it is no result that
    MLCommons has seen.
    """
    times = np.sort(turn.milliseconds)
    short = []
    if len(times) < queries:
        short.append(f"{len(times)} of {queries} queries")
    if turn.seconds < seconds:
        short.append(f"{turn.seconds:.1f} of {seconds:g} s")
    return {
        "scenario": "SingleStream",
        "queries": len(times),
        "seconds": round(turn.seconds, 3),
        "p90_ms": round(float(times[int(len(times) * 0.9)]), 4),
        "valid": not short,
        "invalid_because": ", ".join(short),
    }


def profiled(
    bundle: Bundle,
    threads: int | None,
    feeds: Mapping[str, np.ndarray],
    median_ms: float,
    seconds: float = PROFILED_SECONDS,
) -> tuple[list[dict[str, Any]] | None, str]:
    """The steps of the engine with their times, and a note: why there are none, or what to know of them.

    The artifact is loaded once more for it. median_ms: of one inference; seconds: about how long to go on.
    """
    engine = bundle.manifest["engine"]
    if note := no_profile(engine["name"]):
        return None, note
    chosen = bundle.manifest["threads"] if threads is None else threads
    loaded = open_for_profile(engine["name"], bundle.payload(), engine["options"], chosen)
    runs = profiled_runs(median_ms, seconds)
    loaded.run(feeds)
    steps = loaded.profile(feeds, runs)
    if not steps:
        return None, f"{engine['name']} {loaded.version} gave no times"
    return profile_of(steps), profile_note(runs)


def profiled_runs(median_ms: float, seconds: float = PROFILED_SECONDS) -> int:
    """How many runs a profile of about `seconds` takes."""
    return max(_LEAST_PROFILED, min(_MOST_PROFILED, int(seconds * 1e3 / max(median_ms, 1e-3))))


def profile_note(runs: int) -> str:
    """What to know of a profile."""
    return f"over {runs} runs, which taking the times slows down: shares are what to read"
