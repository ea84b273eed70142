"""`python3 FILE.edgec bench`: time the artifact on this machine, alone."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import machine
from .bench import Start, figures, first_run, identity, profiled, single_stream
from .bench_text import profile_lines, rows, single_stream_rows, soak_rows
from .bundle import Bundle
from .durations import shown
from .errors import InputError
from .given import feeds_of
from .golden import read_golden
from .model import Model, specs
from .soak import WINDOWS, Blocks, Watch, findings
from .turns import MLPERF_QUERIES, MLPERF_SECONDS, Query, Turn, in_turns


class Progress:
    """How far a measurement is: one line that is written over on a terminal, a line now and then elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._every = 0.5 if self._terminal else 10.0
        self._last = time.monotonic()
        self._wide = 0

    def say(self, text: str) -> None:
        """Say it, unless something was said a moment ago."""
        now = time.monotonic()
        if self._quiet or now - self._last < self._every:
            return
        self._last = now
        if self._terminal:
            print(f"\r{text:<{self._wide}}", end="", file=sys.stderr, flush=True)
            self._wide = len(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave an empty line behind on a terminal."""
        if self._wide:
            print(f"\r{'':<{self._wide}}\r", end="", file=sys.stderr, flush=True)
            self._wide = 0


def feeds_for(bundle: Bundle, inputs: Sequence[str], notes: list[str]) -> list[Mapping[str, np.ndarray]]:
    """What is fed: the files that were given, else the first golden sample, step by step. A state starts as zeros.

    Raises InputError for files that do not fit.
    """
    if not inputs:
        return [feeds for feeds, _ in read_golden(bundle.read("golden.npz")).samples[0]]
    manifest = bundle.manifest
    state = set(manifest["state"].values())
    takes = specs(manifest["inputs"])
    free = [spec for spec in takes if spec.name not in state]
    zeros = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in takes if spec.name in state}
    given = feeds_of(inputs, free, manifest.get("preprocess"), notes, sequence=bool(state))
    return [{**zeros, **feeds} for feeds in given]


def run(bundle: Bundle, model: Model, load_ms: float, start_bytes: int | None, options: argparse.Namespace) -> Any:
    """Measure, print unless JSON is asked for, and return the document."""
    if options.csv is not None:
        check_csv(options.csv)
    notes: list[str] = []
    feeds = feeds_for(bundle, options.input, notes)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    query = Query(model.run, feeds, options.batch)
    progress = Progress(options.json)
    turns: list[Turn] = []
    more: dict[str, Any] = {}
    interrupted = False
    begin = Start(load_ms, first_run(Query(model.run, feeds[:1])), start_bytes)
    try:
        if options.mlperf:
            turns, more = _mlperf(query, progress)
            interrupted = not more["mlperf"]["valid"]
        elif options.soak is not None:
            _soak(query, options.soak, progress, turns, more)
        else:
            for _, turn in in_turns([query.turn], options.duration):
                turns.append(turn)
                progress.say(f"{sum(len(each.milliseconds) for each in turns)} runs")
    except KeyboardInterrupt:
        interrupted = True
        if not turns:
            raise
    progress.end()
    document = {
        "status": "interrupted" if interrupted else "ok",
        **identity(model, options.threads),
        **figures(turns, begin, options.batch, machine.peak_bytes()),
        "profile": None,
        "profile_note": "not asked for",
        **more,
    }
    if options.profile and not interrupted:
        median = document["latency_ms"]["p50"] / options.batch
        document["profile"], document["profile_note"] = profiled(bundle, options.threads, feeds[0], median)
    if not options.json:
        _print(document, options)
    if options.csv is not None:
        write_csv(options.csv, [(bundle.manifest["name"], turns)])
    return document


def _mlperf(query: Query, progress: Progress) -> tuple[list[Turn], dict[str, Any]]:
    query.turn(3)
    turn = query.stream(
        MLPERF_SECONDS,
        MLPERF_QUERIES,
        lambda done, seconds: progress.say(f"{done} queries in {seconds:.0f} s"),
    )
    if not len(turn.milliseconds):
        raise KeyboardInterrupt
    return [turn], {"mlperf": single_stream(turn)}


def _soak(query: Query, seconds: float, progress: Progress, turns: list[Turn], more: dict[str, Any]) -> None:
    """Fill `turns`, and `more` with what is found, also when it is interrupted."""
    watch, blocks = Watch(seconds / WINDOWS), Blocks()
    began = time.perf_counter()
    try:
        for _, turn in in_turns([query.turn], seconds):
            elapsed = time.perf_counter() - began
            watch.add(turn, elapsed)
            blocks.add(turn)
            progress.say(f"{shown(elapsed)} of {shown(seconds)}")
    finally:
        turns += blocks.turns()
        more["soak"] = findings(watch.windows)


def write_csv(place: Path, turns: Sequence[tuple[str, Sequence[Turn]]]) -> None:
    """Raw times: subject, turn, milliseconds; a line each. Raises InputError when the file can't be written."""
    try:
        with place.open("w", encoding="utf-8") as file:
            file.write("subject,turn,milliseconds\n")
            for name, blocks in turns:
                quoted = '"' + name.replace('"', '""') + '"'
                for number, turn in enumerate(blocks):
                    file.writelines(f"{quoted},{number},{value:.6f}\n" for value in turn.milliseconds)
    except OSError as error:
        raise _unwritable(place, error) from error


def check_csv(place: Path) -> None:
    """Raises InputError, with the exit code 73, for a file that can't be written: before hours are spent on it."""
    new = not place.exists()
    try:
        with place.open("a", encoding="utf-8"):
            pass
        if new:
            place.unlink()
    except OSError as error:
        raise _unwritable(place, error) from error


def _unwritable(place: Path, error: OSError) -> InputError:
    failure = InputError(f"{place} can't be written", f"The system says: {error.strerror}.", "Choose another --csv.")
    failure.exit_code = 73
    return failure


def _print(document: Mapping[str, Any], options: argparse.Namespace) -> None:
    found = rows(document)
    if "mlperf" in document:
        found += single_stream_rows(document["mlperf"])
    if "soak" in document:
        found += soak_rows(document["soak"])
    if document["status"] == "interrupted":
        found.append(("interrupted", "these are the figures up to then"))
    width = max(len(title) for title, _ in found) + 2
    for title, text in found:
        print(f"{title:{width}}{text}")
    if options.profile:
        print()
        for line in profile_lines(document["profile"], document["profile_note"]):
            print(line)
