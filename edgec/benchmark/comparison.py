"""Subjects measured in turns: figures of each, and how they compare, with what chance makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from edgec.benchmark.on_board import BoardArtifact, BoardProcess
from edgec.benchmark.subject_process import SubjectProcess
from edgec.benchmark.subjects import OnnxModel
from edgec.benchmark.subjects import Subject as SubjectHere
from edgec.errors import EdgecError, LimitNotMet
from edgec.events import Listener, Note, Progress, StageFinished, StageStarted, ignore
from edgec.runtime import soak
from edgec.runtime.bench import Start, figures, single_stream
from edgec.runtime.latencies import CONFIDENCE, NOISY, ratio_interval, verdict
from edgec.runtime.turns import MLPERF_QUERIES, MLPERF_SECONDS, Turn, in_turns

NOT_ASKED = "not asked for"

Subject = SubjectHere | BoardArtifact
Process = SubjectProcess | BoardProcess


@dataclass(frozen=True)
class Protocol:
    """What is done with the subjects.

    kind: "turns", in which they alternate; "soak", the same for long, watched for drift; "mlperf", each alone.
    seconds: of each subject; for "soak", of all together; for "mlperf", the least. queries: the least of "mlperf".
    threads: of each; None means an artifact's own number, and the baseline has that of the first artifact.
    batch: inferences of a query, one after the other.
    """

    kind: Literal["turns", "soak", "mlperf"] = "turns"
    seconds: float = 5.0
    queries: int = MLPERF_QUERIES
    threads: int | None = None
    batch: int = 1
    profile: bool = False

    @classmethod
    def mlperf(cls, threads: int | None = None, batch: int = 1, profile: bool = False) -> Protocol:
        """MLPerf's single stream with the least time and number of queries that are valid."""
        return cls("mlperf", MLPERF_SECONDS, MLPERF_QUERIES, threads, batch, profile)


@dataclass
class Measured:
    """One subject's part. failure: what ended it before its time."""

    subject: Subject
    opened: dict[str, Any] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    watch: soak.Watch | None = None
    peak: int | None = None
    profile: list[dict[str, Any]] | None = None
    profile_note: str = NOT_ASKED
    failure: EdgecError | None = None


@dataclass(frozen=True)
class Comparison:
    """documents: a measurement of each subject that ran at all (docs/bench.md), in the order that they were given.

    turns: of each subject, by its label. failures: of subjects that died on the way.
    """

    documents: tuple[dict[str, Any], ...]
    turns: tuple[tuple[str, Sequence[Turn]], ...]
    failures: tuple[EdgecError, ...]
    interrupted: bool


def compare(
    subjects: Sequence[Subject], protocol: Protocol, reference: int = 0, listener: Listener = ignore
) -> Comparison:
    """Measure all subjects; ratios are to the one at index `reference`.

    Ctrl-C ends it early; what was measured up to then is returned. So it is when a subject's process dies.

    Raises UsageError, ArtifactError, DeviceError, ToolMissing or ModelRefused for a subject that can't be measured,
    before anything is; KeyboardInterrupt when there is nothing to return yet.
    """
    for subject in subjects:
        subject.check()
    measured = [Measured(subject) for subject in subjects]
    with _processes(subjects) as processes:
        for each, process in zip(measured, processes, strict=True):
            with _stage(listener, f"load {each.subject.label}"):
                each.opened = process.open(protocol.threads, protocol.batch)
            for text in each.opened["notes"]:
                listener(Note("load", text, "warning", each.subject.label))
        interrupted = _measure(measured, processes, protocol, listener)
        for each, process in zip(measured, processes, strict=True):
            _finish(each, process, protocol, interrupted, listener)
    if not any(each.turns for each in measured):
        raise next((each.failure for each in measured if each.failure), None) or KeyboardInterrupt
    return Comparison(
        tuple(_documents(measured, measured[reference], protocol)),
        tuple((each.subject.label, each.turns) for each in measured),
        tuple(each.failure for each in measured if each.failure),
        interrupted,
    )


def check_ratio(documents: Sequence[Mapping[str, Any]], limit: float) -> None:
    """Raises LimitNotMet unless every ratio is shown to be at most `limit`: the upper end of its interval is.

    What a busy machine measured has to be a quarter below it, for the reason that `latencies.verdict` tells.
    """
    missed = []
    for document in documents:
        ratio = document["ratio"]
        if ratio is None:
            continue
        most = limit * (1 - NOISY) if ratio["busy"] else limit
        if ratio["high"] is not None and ratio["high"] <= most:
            continue
        name = f"{document['path']}: {ratio['of_medians']:.3f} of the time of {ratio['to']}"
        if ratio["low"] is None:
            missed.append(f"{name}, and too few turns to be sure of it")
        else:
            shown = "shown to be more" if ratio["low"] > limit else "not shown to be at most that"
            shown += f"; on a busy machine, at most {most:.3f} would show it" if ratio["busy"] else ""
            missed.append(f"{name} (95 % confidence: {ratio['low']:.3f} to {ratio['high']:.3f}): {shown}")
    if missed:
        raise LimitNotMet(
            f"It is not shown that at most {limit:g} of the time is taken",
            "\n".join(missed),
            "Where the interval is wide, measure longer (--duration 60s) and on a machine that does nothing else; else "
            "it is slower than it may be.",
            {"limit": limit},
        )


@contextmanager
def _processes(subjects: Sequence[Subject]) -> Iterator[list[Process]]:
    with ExitStack() as stack:
        running: list[Process] = []
        for subject in subjects:
            process = subject.process() if isinstance(subject, BoardArtifact) else SubjectProcess(subject)
            stack.callback(process.close)
            running.append(process)
        yield running


def _measure(
    measured: Sequence[Measured], processes: Sequence[Process], protocol: Protocol, listener: Listener
) -> bool:
    """Fill in the turns; returns whether Ctrl-C ended it."""
    try:
        if protocol.kind == "mlperf":
            return _streams(measured, processes, protocol, listener)
        _turns(measured, processes, protocol, listener)
    except KeyboardInterrupt:
        return True
    return False


def _turns(measured: Sequence[Measured], processes: Sequence[Process], protocol: Protocol, listener: Listener) -> None:
    soaks = protocol.kind == "soak"
    total = protocol.seconds * (1 if soaks else len(measured))
    with _stage(listener, "soak" if soaks else "measure"):
        began = time.perf_counter()
        if soaks:
            for each in measured:
                each.watch = soak.Watch(total / soak.WINDOWS)
        sides = [_guarded(each, process.turn) for each, process in zip(measured, processes, strict=True)]
        blocks = [soak.Blocks() for _ in measured]
        try:
            for index, turn in in_turns(sides, total / len(measured)):
                elapsed = time.perf_counter() - began
                watch = measured[index].watch
                if watch is not None:
                    watch.add(turn, elapsed)
                    blocks[index].add(turn)
                else:
                    measured[index].turns.append(turn)
                listener(Progress("soak" if soaks else "measure", min(int(elapsed), int(total)), int(total), "s"))
        finally:
            for each, of_soak in zip(measured, blocks, strict=True):
                each.turns += of_soak.turns()


def _streams(
    measured: Sequence[Measured], processes: Sequence[Process], protocol: Protocol, listener: Listener
) -> bool:
    """MLPerf's single stream of each subject, one subject after the other: nothing else may run beside it."""
    for each, process in zip(measured, processes, strict=True):
        stage = f"stream {each.subject.label}"

        def heard(queries: int, seconds: float, stage: str = stage) -> None:
            listener(Progress(stage, min(int(seconds), int(protocol.seconds)), int(protocol.seconds), "s"))

        with _stage(listener, stage):
            if _guarded(each, process.turn)(3) is None:
                continue
            try:
                turn = process.stream(protocol.seconds, protocol.queries, heard)
            except EdgecError as error:
                each.failure = error
                continue
        if len(turn.milliseconds):
            each.turns.append(turn)
        if not _valid(turn, protocol):
            return True
    return False


def _valid(turn: Turn, protocol: Protocol) -> bool:
    return len(turn.milliseconds) >= protocol.queries and turn.seconds >= protocol.seconds


def _guarded(each: Measured, turn: Callable[[int], Turn]) -> Callable[[int], Turn | None]:
    """A side for `in_turns` that is out when its process dies."""

    def side(queries: int) -> Turn | None:
        try:
            return turn(queries)
        except EdgecError as error:
            each.failure = error
            return None

    return side


def _finish(each: Measured, process: Process, protocol: Protocol, interrupted: bool, listener: Listener) -> None:
    """Peak memory, and then the profile, which needs more of it."""
    if each.failure is not None or not each.turns:
        return
    try:
        each.peak = process.peak_bytes()
        if protocol.profile and not interrupted:
            times = np.concatenate([turn.milliseconds for turn in each.turns])
            with _stage(listener, f"profile {each.subject.label}"):
                each.profile, each.profile_note = process.profile(float(np.median(times)) / protocol.batch)
    except KeyboardInterrupt:
        each.profile_note = "interrupted"
    except EdgecError as error:
        each.failure = error


def _documents(measured: Sequence[Measured], reference: Measured, protocol: Protocol) -> Iterator[dict[str, Any]]:
    """The measurements of all that ran. A stream has no ratio: subjects that ran one after the other met different
    moments of the machine."""
    whole = _document(reference, protocol) if reference.turns and protocol.kind != "mlperf" else None
    for each in measured:
        if not each.turns:
            continue
        document = _document(each, protocol)
        if whole is not None and each is not reference:
            document["ratio"] = _ratio(each, reference, document["noisy"] or whole["noisy"])
        yield document


def _document(each: Measured, protocol: Protocol) -> dict[str, Any]:
    opened = each.opened
    start = Start(opened["load_ms"], opened["first_ms"], opened["start_bytes"])
    document = {
        "path": each.subject.label,
        "baseline": isinstance(each.subject, OnnxModel),
        **opened["document"],
        **figures(each.turns, start, protocol.batch, each.peak),
        "ratio": None,
        "profile": each.profile,
        "profile_note": each.profile_note,
        "error": each.failure.to_json() if each.failure else None,
    }
    if protocol.kind == "mlperf":
        document["mlperf"] = single_stream(each.turns[0], protocol.seconds, protocol.queries)
    if each.watch is not None:
        document["soak"] = soak.findings(each.watch.windows)
    return document


def _ratio(each: Measured, reference: Measured, busy: bool) -> dict[str, Any]:
    """The ratio of medians, below 1 where the subject is faster than the reference, and that of processor time, which a
    busy machine hardly changes: "cpu", of the medians over turns of a query's processor time."""
    sides = (each.turns, reference.turns)
    walls = [[turn.milliseconds for turn in turns] for turns in sides]
    cpus = [[np.array([turn.cpu_milliseconds / turn.queries]) for turn in turns] for turns in sides]
    wall = _interval(*walls)
    interval = None if wall["low"] is None else (wall["low"], wall["high"])
    return {
        "to": reference.subject.label,
        **wall,
        "confidence": CONFIDENCE,
        "verdict": verdict(interval, busy),
        "busy": busy,
        "cpu": _interval(*cpus),
    }


def _interval(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> dict[str, Any]:
    found = ratio_interval(ours, theirs)
    return {
        "of_medians": round(float(np.median(np.concatenate(ours)) / np.median(np.concatenate(theirs))), 4),
        "low": found[0] if found else None,
        "high": found[1] if found else None,
    }


@contextmanager
def _stage(listener: Listener, name: str) -> Iterator[None]:
    started = time.perf_counter()
    listener(StageStarted(name))
    yield
    listener(StageFinished(name, time.perf_counter() - started, False))
