"""state.json: what the agent remembers of a model besides the slots themselves.

    {"schema": 1,
     "trial": {"slot": "b", "sha256": "…", "starts": 1, "limit": 3} or null,
     "failed": {"SHA-256": "why"},
     "confirmed": ["SHA-256", …],
     "history": [{"at": "2026-01-02T03:04:05Z", "event": "installed", "version": 3, "sha256": "…", "why": ""}]}

Nothing in it decides which version applications load: that is the link `current` alone. A state that is lost costs the
memory of failures and of a trial, not the model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import StateUnreadable
from .release import Release
from .storage import replace_file, storing

SCHEMA = 1
HISTORY = 60
"""Events that are kept, the newest."""

FAILED = 40
"""Failed versions that are remembered, the latest."""


@dataclass(frozen=True)
class Trial:
    """A version that runs and has not shown yet that it is good.

    starts: how often the device or the application has started with it since then.
    limit: the number of starts that it is given.
    """

    slot: str
    sha256: str
    starts: int
    limit: int


@dataclass(frozen=True)
class State:
    """What is remembered. confirmed: SHA-256 of versions that proved good, the last one that did so last."""

    trial: Trial | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    confirmed: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()

    def knows(self, sha256: str) -> bool:
        """Whether this version was installed here before."""
        on_trial = self.trial is not None and self.trial.sha256 == sha256
        return on_trial or sha256 in self.confirmed or sha256 in self.failed

    def with_event(self, event: str, release: Release | None = None, why: str = "") -> State:
        """With one more line in the history. Its time is what this machine's clock says, right or wrong."""
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "event": event,
            "version": release.version if release else None,
            "sha256": release.sha256 if release else None,
            "why": why,
        }
        return replace(self, history=(*self.history, line)[-HISTORY:])

    def with_failed(self, sha256: str, why: str) -> State:
        others = {each: text for each, text in self.failed.items() if each != sha256}
        kept = list(others.items())[-(FAILED - 1) :]
        confirmed = tuple(each for each in self.confirmed if each != sha256)
        return replace(self, failed={**dict(kept), sha256: why}, confirmed=confirmed)

    def with_confirmed(self, sha256: str) -> State:
        confirmed = (*(each for each in self.confirmed if each != sha256), sha256)
        failed = {each: why for each, why in self.failed.items() if each != sha256}
        return replace(self, trial=None, failed=failed, confirmed=confirmed[-26:])


class Damaged(Exception):
    """state.json is there, and is not a state."""


def read_state(path: Path) -> State:
    """The state; that of a new model where there is no file.

    Raises Damaged for a file that is none, StateUnreadable for one that a newer agent wrote.
    """
    with storing(path, "read"):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return State()
        except IsADirectoryError as error:
            raise Damaged("it is a folder") from error
    try:
        document = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise Damaged(str(error)) from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise StateUnreadable(
            f"{path} was written by a newer edgec-device",
            f"It has the schema {schema}, and this agent knows {SCHEMA}. Nothing was changed; the model runs on.",
            "Use the newer edgec-device again.",
        )
    try:
        return _state(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error


def _state(document: Any) -> State:
    if document["schema"] != SCHEMA:
        raise ValueError("an unknown schema")
    trial = document["trial"]
    return State(
        trial=None if trial is None else _trial(trial),
        failed={str(sha256): str(why) for sha256, why in document["failed"].items()},
        confirmed=tuple(map(str, document["confirmed"])),
        history=tuple({**_EVENT, **line} for line in document["history"]),
    )


_EVENT: Mapping[str, Any] = {"at": "", "event": "", "version": None, "sha256": None, "why": ""}


def _trial(document: Mapping[str, Any]) -> Trial:
    trial = Trial(**{key: document[key] for key in ("slot", "sha256", "starts", "limit")})
    if not all(isinstance(each, str) for each in (trial.slot, trial.sha256)):
        raise TypeError("a trial's slot is text")
    if not all(isinstance(each, int) for each in (trial.starts, trial.limit)):
        raise TypeError("a trial's starts are counted")
    return trial


def write_state(path: Path, state: State) -> None:
    document = {"schema": SCHEMA, **asdict(state)}
    replace_file(path, (json.dumps(document, indent=1) + "\n").encode())
