"""What happens during a build, as values.

The library never prints. A stage emits events; the command line, a notebook or a test listens. Events cross process
boundaries, so they hold only plain data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StageStarted:
    """A stage begins work (it was not answered from the store)."""

    stage: str
    target: str | None = None


@dataclass(frozen=True)
class StageFinished:
    """A stage has its result. `seconds` is wall time; with `cached`, the time that the first run took."""

    stage: str
    seconds: float
    cached: bool
    target: str | None = None


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units of work of the running stage; the listener works out the time left.

    detail: what is being done, for people; with it, `total` is a guess.
    """

    stage: str
    done: int
    total: int
    unit: str
    target: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class Note:
    """Something the user should know. A warning is also kept in the report."""

    stage: str
    text: str
    level: Literal["info", "warning"] = "info"
    target: str | None = None


Event = StageStarted | StageFinished | Progress | Note
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of those who do not listen."""
