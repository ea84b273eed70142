"""What becomes of boards: while it goes on, and in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgec.errors import EdgecError
from edgec.shipping.boards.hosts import Host


@dataclass(frozen=True)
class Step:
    """What is being done on a board. done, total: bytes, where some are on their way. ended: all is done there."""

    host: Host
    text: str
    done: int = 0
    total: int = 0
    ended: BoardReport | None = None


Tell = Callable[[Step], None]


@dataclass
class ModelReport:
    """What became of one model on one board.

    artifact: the file that was chosen for this board; None where none of those that were given fits.
    before, after: what `edgec-device` calls a release: {"version", "sha256", ...}; None: none was or is installed.
    result: "installed", "trial" (it runs, and the application is to confirm it), "unchanged", "refused" (it does not
        fit, nothing was sent), "failed", "rolled back", "connection lost", "interrupted", "not begun"; in a dry run
        "would be installed"; of a board that is only looked at "runs", "on trial", "nothing runs".
    sent: bytes of the artifact and its signature that went over the network.
    """

    model: str
    artifact: Path | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None = None
    result: str = "failed"
    sent: int = 0
    seconds: float = 0.0
    notes: Sequence[str] = ()
    error: EdgecError | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "artifact": str(self.artifact) if self.artifact else None,
            "before": self.before,
            "after": self.after,
            "result": self.result,
            "sent_bytes": self.sent,
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            "error": self.error.to_json() if self.error else None,
        }


@dataclass
class BoardReport:
    """What became of one board. error: what concerns all of it; None where each model tells for itself.

    agent: the versions of its agent {"before", "after"}; "" where it has none. installed: what its agent says of each
    model (`edgec-device status`), where that was asked.
    """

    host: Host
    root: str = ""
    agent: Mapping[str, str] = field(default_factory=dict)
    device: Mapping[str, Any] = field(default_factory=dict)
    models: list[ModelReport] = field(default_factory=list)
    installed: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: EdgecError | None = None

    @property
    def errors(self) -> list[EdgecError]:
        return [each for each in (self.error, *(model.error for model in self.models)) if each is not None]

    def to_json(self) -> dict[str, Any]:
        return {
            "host": self.host.name,
            "root": self.root,
            "agent": dict(self.agent),
            "device": dict(self.device),
            "models": [model.to_json() for model in self.models],
            "installed": dict(self.installed),
            "seconds": round(self.seconds, 3),
            "error": self.error.to_json() if self.error else None,
        }
