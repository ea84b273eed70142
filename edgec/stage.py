"""What a stage is: a name, the tools that its result depends on, and a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.events import Listener, Note, Progress


@dataclass(frozen=True)
class StageContext:
    """Where a running stage leaves its result, and whom it tells what it does.

    out: an empty folder; the files left in it are the stage's result.
    journal: a folder that need not exist yet and outlives a run that was killed: the next run of the same stage on the
        same inputs finds in it what the stage has written there. Gone once the result is stored. None: there is none.
    """

    stage: str
    out: Path
    emit: Listener
    journal: Path | None = None

    def progress(self, done: int, total: int, unit: str, detail: str = "") -> None:
        self.emit(Progress(self.stage, done, total, unit, detail=detail))

    def info(self, text: str) -> None:
        self.emit(Note(self.stage, text))

    def warn(self, text: str) -> None:
        self.emit(Note(self.stage, text, "warning"))

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        """Write `document` so that equal documents give equal bytes."""
        text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        (self.out / name).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    tools: distributions whose version is part of the result's identity ("onnxruntime"), and programs on PATH whose
        bytes are.
    run: called as `run(**inputs, params=params, context=context)` in a worker process; params is a frozen dataclass of
        plain values, all of them part of the result's identity.
    """

    name: str
    tools: tuple[str, ...]
    run: Callable[..., None]


def as_pairs(mapping: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """A mapping as the parameters of a stage hold it: hashable, and the same in every order of writing."""
    return tuple(sorted(mapping.items()))
