"""Artifacts that are measured on a board over ssh, in turns like those here: each has a process of its own there."""

from __future__ import annotations

import contextlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgec.bundle.errors import as_edgec_error
from edgec.bundle.write import runtime_sources
from edgec.errors import DeviceError, UsageError, WorkerCrashed, WorkerTimedOut
from edgec.runners import ssh
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import ArtifactFailure, EngineMissing
from edgec.runtime.turns import Turn

_PATIENCE = 600.0  # seconds for one answer, beyond what the command itself takes


@dataclass(frozen=True)
class BoardArtifact:
    """An artifact here that is to be measured on a board. name: of the file there."""

    path: Path
    board: ssh.Board
    name: str

    @property
    def label(self) -> str:
        return str(self.path)

    def check(self) -> dict[str, Any]:
        """The manifest of an artifact that the board can run, as far as it tells.

        Raises UsageError, ArtifactError, and DeviceError for another machine's, or a board without Python.
        """
        manifest = manifest_of(self.path)
        facts = self.board.facts
        reason = ""
        if facts.architecture != manifest["arch"]:
            built = f"{manifest['target']} ({manifest['arch']})"
            reason = f"It was built for {built}, and {self.board.host} is {facts.architecture}."
        elif facts.features is not None and (lacking := set(manifest["cpu_features"]) - facts.features):
            reason = f"The CPU there lacks {', '.join(sorted(lacking))}, which the target {manifest['target']} has."
        if reason:
            raise DeviceError(
                f"{self.path} can't be measured on {self.board.host}",
                reason,
                "Build it for a target that the board satisfies (`edgec targets` lists them), or name another board.",
            )
        if not facts.python:
            raise DeviceError(
                f"There is no python3 on {self.board.host}",
                "Artifacts are measured by their own runtime, which is written in Python.",
                f"Install it there: ssh {self.board.host} sudo apt-get install python3 python3-numpy (Debian, Ubuntu, "
                "Raspberry Pi OS).",
            )
        return manifest

    def process(self) -> BoardProcess:
        """Send it there, and start what measures it."""
        return BoardProcess(self)


class BoardProcess:
    """An artifact in its process on a board: what `SubjectProcess` is for one here, with the same methods."""

    def __init__(self, subject: BoardArtifact) -> None:
        self.subject = subject
        self._board = subject.board
        guest = f"{subject.name}.zip"
        self._board.put({subject.name: subject.path, guest: _guest()})
        self._asked = 0
        self._process = 0
        words = ["env", f"PYTHONPATH={guest}", "python3", "-m", "edgec_measure", subject.name]
        self._talk = self._board.talk(words)

    def open(self, threads: int | None, batch: int) -> dict[str, Any]:
        """Load the artifact and run its first query; see `SubjectProcess.open`."""
        told: dict[str, Any] = self._ask("open", threads, batch)
        self._process = told.pop("process")
        told["document"]["host"] = self._board.host
        return told

    def turn(self, queries: int) -> Turn:
        """Time so many queries."""
        return _turn(self._ask("turn", queries))

    def stream(self, seconds: float, queries: int, heard: Callable[[int, float], None]) -> Turn:
        """Time a single stream. Ctrl-C ends it, and what was measured up to then is returned."""
        self._send("stream", seconds, queries)
        try:
            return _turn(self._answer(seconds + _PATIENCE, heard))
        except KeyboardInterrupt:
            self._board.run(["kill", "-INT", str(self._process)])
            return _turn(self._answer(_PATIENCE, heard))

    def peak_bytes(self) -> int | None:
        """The most memory that the process has had at once."""
        peak: int | None = self._ask("peak")
        return peak

    def profile(self, median_ms: float) -> tuple[list[dict[str, Any]] | None, str]:
        """The time of each step."""
        steps, note = self._ask("profile", median_ms)
        return steps, note

    def close(self) -> None:
        """End the process."""
        self._talk.close()

    def _ask(self, command: str, *arguments: Any) -> Any:
        self._send(command, *arguments)
        return self._answer(_PATIENCE, lambda count, seconds: None)

    def _send(self, command: str, *arguments: Any) -> None:
        self._asked += 1
        self._talk.send(json.dumps({"number": self._asked, "command": command, "arguments": arguments}))

    def _answer(self, patience: float, heard: Callable[[int, float], None]) -> Any:
        deadline = time.monotonic() + patience
        while (line := self._talk.receive(deadline - time.monotonic())) is not None:
            answer = json.loads(line)
            if answer["number"] != self._asked:  # one that was no longer waited for
                continue
            if answer["kind"] == "progress":
                heard(*answer["value"])
            elif answer["kind"] == "failure":
                raise self._failure(answer["value"])
            else:
                return answer["value"]
        if time.monotonic() >= deadline:
            raise WorkerTimedOut(
                f"{self.subject.label} did not answer for {patience:.0f} s on {self._board.host}",
                "The engine may hang on this model.",
                "Try it alone there: python3 FILE.edgec selftest",
            )
        code, said = self._talk.ended()
        raise WorkerCrashed(
            f"The process that ran {self.subject.label} on {self._board.host} died (exit code {code})",
            said.strip()[-2000:] or "It printed nothing before it died.",
            "See whether it runs alone there: python3 FILE.edgec selftest",
        )

    def _failure(self, told: Mapping[str, Any]) -> DeviceError | WorkerCrashed:
        host = self._board.host
        what = f"{self.subject.label} can't be measured on {host}: {told['what']}"
        if told.get("numpy"):
            return DeviceError(
                f"There is no numpy on {host}",
                "The runtime that artifacts carry needs it.",
                f"Install it there: ssh {host} sudo apt-get install python3-numpy (Debian, Raspberry Pi OS), or "
                "python3 -m pip install numpy.",
            )
        if "exit_code" not in told:
            fix = "See whether it runs alone there: python3 FILE.edgec selftest"
            return WorkerCrashed(what, told["why"][-2000:], fix)
        there = f"On {host}: " if told["exit_code"] == EngineMissing.exit_code else ""
        return DeviceError(what, told["why"], f"{there}{told['fix']}")


def room_for(paths: Sequence[Path]) -> int:
    """Bytes that artifacts need on a board: their own, and as much again for what engines unpack of them.

    Raises UsageError for a file that is not there.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"There is no {path}", "Nothing is there to be measured.", "Check the path.")
    return 2 * sum(path.stat().st_size for path in paths)


def manifest_of(path: Path) -> dict[str, Any]:
    """Raises ArtifactError for what is no artifact."""
    try:
        return dict(Bundle.open(path).manifest)
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure


def _turn(told: Mapping[str, Any]) -> Turn:
    return Turn(**{**told, "milliseconds": np.array(told["milliseconds"], np.float64)})


def _guest() -> bytes:
    """The program and the runtime."""
    own = {"edgec_measure.py": Path(__file__).with_name("board_guest.py").read_bytes()}
    stream = io.BytesIO()
    with contextlib.closing(zipfile.ZipFile(stream, "w")) as archive:
        for name, source in {**runtime_sources(), **own}.items():
            archive.writestr(zipfile.ZipInfo(name), source)  # not dated: a zip knows no time before 1980
    return stream.getvalue()
