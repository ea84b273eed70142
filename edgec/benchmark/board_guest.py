"""The program that measures an artifact on a board: it answers what `on_board.BoardProcess` asks, over its standard
input and output, in lines of JSON: {"number", "command", "arguments"}, and {"number", "kind", "value"}.

It is sent there beside the runtime that artifacts carry (`edgec_runtime`), and has nothing else of edgec. Python 3.9.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any


class Served:
    """One artifact, and what is asked of it. tell: gets (kind, value)."""

    def __init__(self, artifact: Path, tell: Any) -> None:
        self._artifact = artifact
        self._tell = tell
        self._query: Any = None
        self._bundle: Any = None
        self._feeds: Any = None
        self._threads: int | None = None

    def open(self, threads: int | None, batch: int) -> dict[str, Any]:
        """Load it and run its first query; as SubjectProcess.open, and the number of this process."""
        from edgec_runtime.bench import first_run, identity  # type: ignore[import-not-found]
        from edgec_runtime.bench_command import feeds_for  # type: ignore[import-not-found]
        from edgec_runtime.bundle import Bundle  # type: ignore[import-not-found]
        from edgec_runtime.machine import peak_bytes  # type: ignore[import-not-found]
        from edgec_runtime.model import Model  # type: ignore[import-not-found]
        from edgec_runtime.turns import Query  # type: ignore[import-not-found]

        start_bytes = peak_bytes()
        started = time.perf_counter()
        self._bundle = Bundle.open(self._artifact)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = Model.load(self._bundle, threads)
        load_ms = (time.perf_counter() - started) * 1e3
        notes = [str(each.message) for each in caught if each.category is RuntimeWarning]
        self._feeds = feeds_for(self._bundle, (), notes)
        first_ms = first_run(Query(model.run, self._feeds[:1]))
        self._query = Query(model.run, self._feeds, batch)
        self._threads = threads
        return {
            "document": identity(model, threads),
            "notes": notes,
            "load_ms": load_ms,
            "first_ms": first_ms,
            "start_bytes": start_bytes,
            "process": os.getpid(),
        }

    def turn(self, queries: int) -> dict[str, Any]:
        """Milliseconds of so many queries, and so on: a Turn as plain data."""
        return plain(self._query.turn(queries))

    def stream(self, seconds: float, queries: int) -> dict[str, Any]:
        """The same of a single stream, which SIGINT ends."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        turn = self._query.stream(seconds, queries, lambda count, passed: self._tell("progress", [count, passed]))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return plain(turn)

    def peak(self) -> Any:
        """The most memory that this process has had at once, in bytes."""
        from edgec_runtime.machine import peak_bytes

        return peak_bytes()

    def profile(self, median_ms: float) -> Any:
        """The time of each step, and a note."""
        from edgec_runtime.bench import profiled

        return profiled(self._bundle, self._threads, self._feeds[0], median_ms)


def plain(turn: Any) -> dict[str, Any]:
    """A Turn as JSON has it."""
    return {**asdict(turn), "milliseconds": turn.milliseconds.tolist()}


def failure(error: Exception) -> dict[str, Any]:
    """What the other side is told of an exception; "exit_code" is there where the runtime knows what is wrong."""
    if hasattr(error, "exit_code"):
        return {name: getattr(error, name) for name in ("what", "why", "fix", "exit_code")}
    return {"what": f"{type(error).__name__}: {error}", "why": traceback.format_exc(), "numpy": missing_numpy(error)}


def missing_numpy(error: Exception) -> bool:
    """Whether there is no numpy."""
    return isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "numpy"


def main(artifact: str) -> None:
    """Answer until there are no more questions."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # native libraries may print what they like
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    number = 0

    def tell(kind: str, value: Any) -> None:
        answers.write(json.dumps({"number": number, "kind": kind, "value": value}) + "\n")
        answers.flush()

    served = Served(Path(artifact), tell)
    for line in sys.stdin:
        question = json.loads(line)
        number = question["number"]
        try:
            tell("result", getattr(served, question["command"])(*question["arguments"]))
        except Exception as error:
            tell("failure", failure(error))
    os._exit(0)  # destructors of native libraries are a well-known place to crash


if __name__ == "__main__":
    main(sys.argv[1])
