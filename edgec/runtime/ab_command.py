"""`ab`: a candidate in the shadow of the current artifact, on files, on golden samples, or on what comes in."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .durations import seconds_of
from .errors import CandidateRefused, InputError
from .given import feeds_of
from .golden import read_golden
from .latencies import CONFIDENCE
from .model import Model
from .shadow import Shadow

_POLL = 0.2
"""Seconds between two looks into a watched folder; a file that has kept its size for so long is whole."""

_TENSORS = (".npy", ".npz")
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm")

Said = Callable[[str], None]
Run = list[dict[str, np.ndarray]]
"""The feeds of one file: several where it holds several samples, or the steps of a sequence."""


def run(current: Model, options: argparse.Namespace, say: Said, note: Said) -> dict[str, Any]:
    """Run both, as the options of the command `ab` say; returns the report's document.

    say: hears a line of the result; note: a line beside it.

    Recorded inputs wait for the candidate; live ones (--watch, -) do not: what it can't follow is dropped and counted.

    Raises InputError; CandidateRefused where `--agree` is not shown, or the candidate gave no answer at all.
    """
    live = options.watch is not None or options.inputs == ["-"]
    if options.watch is not None and options.inputs:
        raise InputError("--watch and INPUT exclude each other", "Both say where inputs come from.", "Leave out one.")
    if options.duration is not None and options.watch is None:
        raise InputError("--for goes with --watch", "Nothing else goes on for ever.", "Leave it out, or add --watch.")
    seconds = None if options.duration is None else seconds_of(options.duration, "--for")
    known = None if options.watch is None else present(options.watch)
    sources = _live(current, known, options.watch, seconds, note) if live else _recorded(current, options.inputs, note)
    unreadable = 0
    interrupted = False
    with Shadow(current, options.candidate, share=options.share, wait=not live, least=options.agree) as shadow:
        try:
            for feeds in sources:
                if feeds is None:
                    unreadable += 1
                    continue
                for _ in shadow.run_sequence(feeds) if current.state else map(shadow.run, feeds):
                    pass
        except KeyboardInterrupt:
            interrupted = True
    report = shadow.report()
    document = {
        "status": "interrupted" if interrupted and not live else "ok",
        **report.to_json(),
        "unreadable": unreadable,
    }
    for line in [] if options.json else lines(document):
        say(line)
    if not report.compared and report.offered:
        reasons = ", ".join(f"{kind} ({count})" for kind, count in report.errors.items()) or "it was never in time"
        raise CandidateRefused(
            "The candidate gave no answer to compare", f"{reasons}.", "Look at it alone: its own selftest.", document
        )
    if options.agree is not None and report.verdict != "shown":
        raise CandidateRefused(
            f"It is not shown that the candidate agrees in {options.agree * 100:g} %",
            report.text,
            "Look at the inputs on which they differ, or give more inputs.",
            document,
        )
    return document


def lines(document: dict[str, Any]) -> Iterator[str]:
    """The report as a person reads it."""
    for side in ("current", "candidate"):
        facts = document[side]
        what = f"{facts['precision']} {facts['name']} for {facts['target']} through {facts['backend']}"
        yield f"{side:10} {what}, {facts['sha256'][:12]}"
    errors = ", ".join(f"{count} {kind}" for kind, count in document["errors"].items()) or "none"
    yield (
        f"runs       {document['runs']}, compared {document['compared']}, dropped {document['dropped']}, "
        f"candidate's errors: {errors}"
    )
    if document["unreadable"]:
        yield f"           {document['unreadable']} inputs could not be read"
    if document["given_up"]:
        yield f"           given up: {document['given_up']}"
    yield ""
    yield f"{'latency, ms':12}{'p50':>10}{'p95':>10}{'p99':>10}"
    for side in ("current", "candidate"):
        each = document["latency_ms"][side]
        yield f"{side:12}" + "".join(_cell(each[name]) for name in ("p50", "p95", "p99"))
    yield ""
    for output in document["outputs"] if document["compared"] else ():
        yield f"{output['name']}: {', '.join(_compared(output))}"
    yield ""
    yield document["text"]


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.4g'):>10}"


def _compared(output: dict[str, Any]) -> Iterator[str]:
    decided = output["decisions"]
    if decided is not None:
        low, high = (f"{decided[key] * 100:.4g}" for key in ("low", "high"))
        yield f"same decision in {decided['agreed']} of {decided['runs']} ({low} to {high} %, {CONFIDENCE:.0%})"
    if output["identical"]:
        yield "identical"
        return
    yield f"at most {output['max_abs']:.4g} apart"
    if output["sqnr_db"] is not None:
        yield f"SQNR {output['sqnr_db']:.1f} dB"
    if output["not_finite"]:
        yield f"{output['not_finite']} elements finite in one only"


def _recorded(model: Model, given: Sequence[str], note: Said) -> Iterator[Run]:
    """The feeds of files, folders, or golden samples."""
    if not given:
        for sample in read_golden(model.bundle.read("golden.npz")).samples:
            own = set(model.state.values())
            yield [{name: array for name, array in feeds.items() if name not in own} for feeds, _ in sample]
        return
    if len(model.free_inputs) > 1 and not any(Path(each).is_dir() or each.endswith(".npz") for each in given):
        yield _feeds(model, list(given), note)  # one file for each input
        return
    for each in given:
        path = Path(each)
        for file in _files(path) if path.is_dir() else [each]:
            yield _feeds(model, [str(file)], note)


def _live(
    model: Model, known: dict[Path, int] | None, watched: Path, seconds: float | None, note: Said
) -> Iterator[Run | None]:
    """The feeds of files as they come in; None for one that can't be read. known: files that are there already; None
    takes names from standard input."""
    names = _lines_of_stdin() if known is None else arrivals(watched, known, seconds)
    for name in names:
        try:
            yield _feeds(model, [name], note)
        except InputError as error:
            note(f"{name} is left out: {error.what}. {error.why}")
            yield None


def _feeds(model: Model, given: list[str], note: Said) -> Run:
    notes: list[str] = []
    recipe = model.manifest.get("preprocess")
    feeds = feeds_of(given, model.free_inputs, recipe, notes, sequence=bool(model.state))
    for text in notes:
        note(text)
    return feeds


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _TENSORS + _IMAGES and path.is_file())
    if not found:
        raise InputError(f"{folder} holds no inputs", "There are no arrays and no images in it.", "Check the path.")
    return found


def _lines_of_stdin() -> Iterator[str]:
    for line in sys.stdin:
        if name := line.rstrip("\n"):
            yield name


def present(folder: Path) -> dict[Path, int]:
    """The files in a folder, and when they were changed. Raises InputError where there is no such folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} can't be watched", "There is no such folder.", "Make it first.")
    return {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}


def arrivals(folder: Path, known: dict[Path, int], seconds: float | None) -> Iterator[str]:
    """Files that come into a folder, or are written anew, once their size has not changed for a while. `known` ones do
    not count."""
    end = None if seconds is None else time.monotonic() + seconds
    done = dict(known)
    growing: dict[Path, int] = {}
    while end is None or time.monotonic() < end:
        for path in sorted(folder.iterdir()):
            try:
                facts = path.stat()
            except OSError:
                continue  # it is gone again
            if path.suffix.lower() not in _TENSORS + _IMAGES or done.get(path) == facts.st_mtime_ns:
                continue
            if growing.get(path) == facts.st_size:
                growing.pop(path)
                done[path] = facts.st_mtime_ns
                yield str(path)
            else:
                growing[path] = facts.st_size
        time.sleep(_POLL)
