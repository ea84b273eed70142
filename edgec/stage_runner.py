"""Running one stage: found in the store where it can be, made in a worker process where it can't."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from edgec import worker
from edgec.digest import digest_file, digest_of
from edgec.errors import OutputError
from edgec.events import Listener, Note, StageFinished, StageStarted
from edgec.result import StageRecord
from edgec.stage import Stage, StageContext
from edgec.store import Entry, Store
from edgec.targets import host_features

_LEAST_ROOM = 1 << 20

NOT_MADE = "not made yet"
"""The digest of a result that a plan only foresees."""

Input = Entry | tuple[str, Any] | None
"""What a stage works on: a result in the store, or (digest, value) of something outside it."""


class StageRunner:
    """Runs stages, or finds their results, and remembers which."""

    def __init__(
        self,
        store: Store,
        listener: Listener,
        *,
        foresee: bool = False,
        target: str | None = None,
        reused: worker.Worker | None = None,
    ) -> None:
        """reused: the process that all stages are to run in, one after the other; None: each in one of its own."""
        self.reused = reused
        self.store = store
        self.listener = listener
        self.foresee = foresee
        self.target = target
        self.records: list[StageRecord] = []
        self.notes: list[Note] = []

    def for_target(self, target: str) -> StageRunner:
        """A runner that starts with what this one knows, and speaks for one target."""
        other = StageRunner(self.store, self.listener, foresee=self.foresee, target=target, reused=self.reused)
        other.records = list(self.records)
        other.notes = list(self.notes)
        return other

    def note(self, stage: str, text: str, level: Any = "warning") -> None:
        note = Note(stage, text, level, self.target)
        self.notes.append(note)
        self.listener(note)

    def run(
        self,
        stage: Stage,
        inputs: Mapping[str, Input],
        params: Any,
        *,
        detail: str = "",
        even_if_foreseeing: bool = False,
    ) -> Entry:
        """The result of `stage` on `inputs`.

        The processor is part of its key: it decides with which kernels a result is computed, how they round, whether a
        target's payload can run here at all, and how fast. A store may be shared by machines.
        """
        known = {
            name: (item.digest, item.path) if isinstance(item, Entry) else item or ("", None)
            for name, item in inputs.items()
        }
        parameters = asdict(params)
        key = digest_of(
            {
                "stage": stage.name,
                "inputs": {name: digest for name, (digest, _) in known.items()},
                "params": parameters,
                "tools": {tool: tool_version(tool) for tool in stage.tools},
                "edgec": _code_digest(),
                "machine": [platform.machine(), *host_features()],
            }
        )
        values = {name: value for name, (_, value) in known.items()}
        if self.foresee and not even_if_foreseeing:
            entry = None
            if all(digest != NOT_MADE for digest, _ in known.values()):
                entry = self.store.find(key)
            self.records.append(
                StageRecord(stage.name, entry.seconds if entry else 0.0, entry is not None, key, detail)
            )
            return entry or Entry(key, Path(), NOT_MADE, stage.name, 0.0, 0)

        def fill(folder: Path) -> list[tuple[str, str]]:
            heard: list[tuple[str, str]] = []

            def listen(event: Any) -> None:
                event = replace(event, target=self.target)  # the stage itself does not know for whom it works
                if isinstance(event, Note):
                    heard.append((event.level, event.text))
                    self.notes.append(event)
                self.listener(event)

            self.listener(StageStarted(stage.name, self.target))
            call = worker.call if self.reused is None else self.reused.call
            call(
                _run_stage,
                {
                    "run": stage.run,
                    "inputs": values,
                    "params": params,
                    "stage": stage.name,
                    "out": folder,
                    "journal": self.store.journal(key),
                },
                emit_as="emit",
                listener=listen,
            )
            return heard

        entry, found = self.store.make(key, stage.name, fill)
        if found:
            for level, text in entry.notes:
                self.note(stage.name, text, level)
        self.records.append(StageRecord(stage.name, entry.seconds, found, key, detail))
        self.listener(StageFinished(stage.name, entry.seconds, found, self.target))
        return entry


def _run_stage(
    run: Any, inputs: Mapping[str, Any], params: Any, stage: str, out: Path, journal: Path, emit: Listener
) -> None:
    try:
        run(**inputs, params=params, context=StageContext(stage, out, emit, journal))
    except Exception as error:
        # Native libraries have words of their own for a full disk, and may remove what they could not finish.
        if isinstance(error, OutputError) or shutil.disk_usage(out).free > _room_for(inputs.values()):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out)) from error


def _room_for(inputs: Iterable[Any]) -> int:
    """Bytes that a stage may well need: about as much as the results that it works on."""
    folders = [item for item in inputs if isinstance(item, Path) and item.is_dir()]
    return _LEAST_ROOM + sum(path.stat().st_size for folder in folders for path in folder.rglob("*"))


def tool_version(tool: str) -> str | None:
    """The version of a distribution, the digest of a program on PATH; None for what is not here."""
    if (version := _distribution_version(tool)) is not None:
        return version
    program = shutil.which(tool)
    return None if program is None else digest_file(Path(program))


@cache
def _distribution_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def _code_digest() -> str:
    """The digest of edgec's own code: a result made by other code is not found again."""
    package = Path(__file__).parent
    return digest_of({str(path.relative_to(package)): digest_file(path) for path in sorted(package.rglob("*.py"))})
