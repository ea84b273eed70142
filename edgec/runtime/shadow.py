"""A candidate in the shadow of the current model: it gets the same inputs, and nobody waits for its answers."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .agreement import OutputAgreement, check_alike, verdict
from .errors import ArtifactFailure, InputError
from .model import Feeds, Model
from .monitoring.histogram import Latencies
from .monitoring.monitor import Monitor
from .shadow_process import read, write

QUEUE = 8
"""Inputs that may wait for the candidate; each is a copy in memory."""

PATIENCE = 60.0
"""Seconds after which a candidate that does not answer is taken to hang."""

_RESTARTS = 3
_PACKAGE = (__package__ or "").split(".")


@dataclass(frozen=True)
class ShadowReport:
    """What came out so far. outputs, latencies and counts are as of when it was made.

    offered: runs of the current model that were chosen for the candidate; dropped: of these, as it could not follow.
    errors: of the candidate, by kind. given_up: why it is not run any more; "" while it is.
    """

    current: Mapping[str, Any]
    candidate: Mapping[str, Any]
    runs: int
    offered: int
    compared: int
    dropped: int
    errors: Mapping[str, int]
    given_up: str
    outputs: tuple[Mapping[str, Any], ...]
    current_ms: Mapping[str, Any]
    candidate_ms: Mapping[str, Any]
    verdict: str
    text: str

    def to_json(self) -> dict[str, Any]:
        latencies = {
            side: {key: value for key, value in each.items() if key not in ("counts", "seconds")}
            for side, each in (("current", self.current_ms), ("candidate", self.candidate_ms))
        }
        return {
            "schema": 1,
            "current": dict(self.current),
            "candidate": dict(self.candidate),
            "runs": self.runs,
            "offered": self.offered,
            "compared": self.compared,
            "dropped": self.dropped,
            "errors": dict(self.errors),
            "given_up": self.given_up,
            "outputs": [dict(output) for output in self.outputs],
            "latency_ms": latencies,
            "verdict": self.verdict,
            "text": self.text,
        }


class Shadow:
    """Runs the current model, and lets a candidate run on a share of the same inputs, in a process of its own.

        with edgec.runtime.Shadow(model, "candidate.edgec", share=0.1) as shadow:
            outputs = shadow.run({"image": array})   # the current model's, as soon as it has them
        print(shadow.report().text)

    current: a model, or a Monitor of one. candidate: path of an artifact or a slot. share: of runs that the candidate
        gets too, drawn by chance. wait: wait for the candidate where the queue is full, instead of dropping the input:
        for recorded inputs. least: share of runs in which decisions have to agree, for the verdict.

    A candidate that fails, hangs, crashes or takes all memory costs its own answers only. It is restarted three times.
    Its process has a lower priority, so its latencies are those beside a current model that goes first.

    Raises InputError where the two do not take and give the same, and what loading the candidate raised.
    """

    def __init__(
        self,
        current: Model | Monitor,
        candidate: str | os.PathLike[str],
        *,
        share: float = 1.0,
        wait: bool = False,
        least: float | None = None,
        threads: int | None = None,
        patience: float = PATIENCE,
    ) -> None:
        if not 0 < share <= 1 or not (least is None or 0 < least < 1):
            raise InputError(
                f"A share of {share:g} is out of range" if not 0 < share <= 1 else f"{least:g} is no agreement to show",
                "A share of inputs is above 0, at most 1; the least agreement lies between 0 and 1, and is neither.",
                "Give for example 0.1 for the share, 0.98 for the agreement.",
            )
        self._current = current
        self._model = current.model if isinstance(current, Monitor) else current
        self._share, self._wait, self._least = share, wait, least
        self._random = random.Random()
        self._lock = threading.Lock()
        self._runs = self._offered = self._dropped = self._compared = 0
        self._errors: dict[str, int] = {}
        self._latencies = (Latencies(), Latencies())
        self._outputs = {spec.name: OutputAgreement(spec) for spec in self._model.outputs}
        self._candidate = _Candidate(Path(candidate), threads, patience)
        self._queue: queue.Queue[tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None] = queue.Queue(QUEUE)
        self._given_up = ""
        if reason := check_alike(self._model.manifest, self._candidate.manifest):
            self._candidate.close()
            raise InputError(
                "The candidate can't run in the shadow of the current model",
                reason,
                "Both have to take and give the same: compare them with `edgec compare`.",
            )
        self._thread = threading.Thread(target=self._work, name="edgec shadow", daemon=True)
        self._thread.start()

    def run(self, feeds: Feeds | np.ndarray) -> dict[str, np.ndarray]:
        """The current model's answer; its errors are raised as ever, and the candidate hears nothing of such a run."""
        began = time.perf_counter()
        outputs = self._current.run(feeds)
        seconds = time.perf_counter() - began
        with self._lock:
            self._runs += 1
            self._latencies[0].add(seconds)
        if not self._given_up and self._random.random() < self._share:
            self._offer(feeds, outputs)
        return outputs

    def run_sequence(self, steps: Iterable[Feeds | np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """The same for a recurrent model. The candidate gets each step with the current model's state: each is judged
        by itself."""
        return self._model.run_sequence(steps, self.run)

    def report(self) -> ShadowReport:
        """What came out so far."""
        with self._lock:
            outputs = list(self._outputs.values())
            decided, text = verdict(outputs, self._least)
            return ShadowReport(
                current=_facts(self._model.manifest, self._model.bundle.sha256),
                candidate=_facts(self._candidate.manifest, self._candidate.sha256),
                runs=self._runs,
                offered=self._offered,
                compared=self._compared,
                dropped=self._dropped,
                errors=dict(self._errors),
                given_up=self._given_up,
                outputs=tuple(output.to_json() for output in outputs),
                current_ms=self._latencies[0].to_json(),
                candidate_ms=self._latencies[1].to_json(),
                verdict=decided,
                text=text,
            )

    def close(self) -> None:
        """Let the candidate finish what waits in the queue, and end its process."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._candidate.close()

    def __enter__(self) -> Shadow:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _offer(self, feeds: Feeds | np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
        """Queue copies: the caller may use its arrays again."""
        with self._lock:
            self._offered += 1
        if self._queue.full() and not self._wait:
            with self._lock:
                self._dropped += 1
            return
        complete = self._model.complete(feeds)
        pair = {name: array.copy() for name, array in complete.items()}, {n: a.copy() for n, a in outputs.items()}
        try:
            self._queue.put(pair, block=self._wait)
        except queue.Full:
            with self._lock:
                self._dropped += 1

    def _work(self) -> None:
        """In a thread: hand inputs to the candidate, and compare its answers."""
        while (pair := self._queue.get()) is not None:
            if self._given_up:
                continue
            feeds, expected = pair
            try:
                answer, outputs = self._candidate.answer(feeds)
            except _Lost as lost:
                self._count_error(lost.kind)
                if not self._candidate.restart():
                    self._given_up = f"the candidate's process ended {_RESTARTS + 1} times"
                continue
            if "error" in answer:
                self._count_error(answer["error"])
                continue
            try:
                with self._lock:
                    for name, output in self._outputs.items():
                        output.add(expected[name], outputs[name])
                    self._latencies[1].add(answer["seconds"])
                    self._compared += 1
            except (KeyError, ValueError):  # outputs that are not those of its manifest
                self._count_error("wrong outputs")

    def _count_error(self, kind: str) -> None:
        with self._lock:
            self._errors[kind] = self._errors.get(kind, 0) + 1


class _Lost(Exception):
    """The candidate's process gave no answer. kind: how it ended."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class _Candidate:
    """The process of the candidate; manifest and sha256 are what it loaded first."""

    def __init__(self, path: Path, threads: int | None, patience: float) -> None:
        self._path, self._threads, self._patience = path, threads, patience
        self._restarts = 0
        self._process = self._start()
        self.manifest, self.sha256 = self._loaded()

    def answer(self, feeds: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What it makes of one input. Raises _Lost."""
        with self._time_limit() as hung:
            try:
                write(self._process.stdin, {}, feeds)  # type: ignore[arg-type]
                return self._message()
            except (OSError, EOFError, ValueError) as error:
                raise _Lost("hung" if hung.is_set() else self._ending()) from error

    def restart(self) -> bool:
        """Start it again, if it was not restarted too often. Returns whether it runs."""
        self.close()
        while self._restarts < _RESTARTS:
            self._restarts += 1
            self._process = self._start()
            try:
                self._loaded()
                return True
            except (ArtifactFailure, _Lost):
                self.close()
        return False

    def close(self) -> None:
        """End it: at the end of its input, or by force where it does not mind that."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # it has ended, with a message half-sent
                    stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        """The program is this package, wherever it lies: installed, or in an artifact."""
        home = str(Path(__file__).parents[len(_PACKAGE)])
        program = (
            f"import sys; sys.path.insert(0, {home!r})\n"
            f"from {__package__}.shadow_process import main\n"
            f"main({str(self._path)!r}, {self._threads!r})"
        )
        return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _loaded(self) -> tuple[dict[str, Any], str]:
        with self._time_limit() as hung:
            try:
                document, _ = self._message()
            except (OSError, EOFError, ValueError) as error:
                ending = "hung" if hung.is_set() else self._ending()
                self.close()
                raise InputError(
                    "The candidate can't be loaded", f"Its process {ending}.", "Run its own selftest."
                ) from error
        if "failed" in document:
            self.close()
            failure = ArtifactFailure(*document["failed"])
            failure.exit_code = document["exit_code"]
            raise failure
        return document["manifest"], document["sha256"]

    def _message(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        message = read(self._process.stdout)  # type: ignore[arg-type]
        if message is None:
            raise EOFError
        return message

    @contextlib.contextmanager
    def _time_limit(self) -> Iterator[threading.Event]:
        """Kill the process if the block takes too long, whether it writes or reads; the event tells so."""
        hung = threading.Event()

        def end() -> None:
            hung.set()
            self._process.kill()

        timer = threading.Timer(self._patience, end)
        timer.start()
        try:
            yield hung
        finally:
            timer.cancel()

    def _ending(self) -> str:
        """How the process ended, in a word or two."""
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "sent no answer"
        return f"crashed with signal {-status}" if status < 0 else f"ended with code {status}"


def _facts(manifest: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    names = ("name", "target", "precision", "backend")
    return {**{name: manifest[name] for name in names}, "sha256": sha256}
