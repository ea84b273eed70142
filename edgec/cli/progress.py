"""What the user sees while a build runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgec.events import Event, Listener, Note, Progress, StageFinished, StageStarted
from edgec.untrusted_text import clean

if TYPE_CHECKING:
    from rich.progress import TaskID

_EVERY = 10.0  # seconds between two plain progress lines


@contextlib.contextmanager
def listening(*, quiet: bool, verbose: bool) -> Iterator[Listener]:
    """A listener for one build. Everything goes to standard error; standard output is for results."""
    if sys.stderr.isatty() and not quiet:
        with _Bars(verbose) as bars:
            yield bars.hear
    else:
        yield _Lines(quiet, verbose).hear


def _label(event: StageStarted | StageFinished | Note) -> str:
    return f"{event.stage} for {event.target}" if event.target else event.stage


def _count(done: int, total: int, unit: str, detail: str) -> str:
    return f"{done} of {'about ' if detail else ''}{total} {unit}"


class _Lines:
    """Plain lines, for logs: a line a stage, and now and then how far it got."""

    def __init__(self, quiet: bool, verbose: bool) -> None:
        self._quiet = quiet
        self._verbose = verbose
        self._began = self._last = time.monotonic()

    def hear(self, event: Event) -> None:
        match event:
            case Note(_, text, level):
                if level == "warning" or (self._verbose and not self._quiet):
                    self._say(f"{level}: {_label(event)}: {text}")
            case _ if self._quiet:
                pass
            case StageStarted():
                self._began = self._last = time.monotonic()
                self._say(f"{_label(event)} ...")
            case StageFinished(cached=True):
                self._say(f"{_label(event)}: found in the store")
            case StageFinished(seconds=seconds):
                self._say(f"{_label(event)}: done in {seconds:.1f} s")
            case Progress(stage, done, total, unit, _, detail):
                now = time.monotonic()
                if now - self._last >= _EVERY and done:
                    left = (now - self._began) * (total - done) / done
                    self._last = now
                    passed = f"{detail}, {now - self._began:.0f} s" if detail else f"{left:.0f} s left"
                    self._say(f"{stage}: {_count(done, total, unit, detail)}, {passed}")

    @staticmethod
    def _say(text: str) -> None:
        print(clean(text), file=sys.stderr, flush=True)


class _Bars:
    """A bar for the running stage, and a line for each that is done."""

    def __init__(self, verbose: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._verbose = verbose
        self._bars = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[count]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[tuple[str, str | None], TaskID] = {}

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def hear(self, event: Event) -> None:
        from edgec.cli.markup import escape

        say = self._bars.console.print
        key = (event.stage, event.target)
        match event:
            case Note(_, text, level):
                if level == "warning" or self._verbose:
                    style = "yellow" if level == "warning" else "dim"
                    say(f"  [{style}]{level}:[/] {escape(_label(event))}: {escape(text)}", highlight=False)
            case StageStarted():
                self._tasks[key] = self._bars.add_task(_label(event), total=None, count="")
            case StageFinished(_, seconds, cached):
                if (task := self._tasks.pop(key, None)) is not None:
                    self._bars.remove_task(task)
                how = "[dim]found in the store[/]" if cached else f"{seconds:.1f} s"
                say(f"  [green]✓[/] {_label(event):<24} {how}", highlight=False)
            case Progress(_, done, total, unit, _, detail):
                if key in self._tasks:
                    count = ", ".join(filter(None, [_count(done, total, unit, detail), detail]))
                    self._bars.update(self._tasks[key], completed=done, total=total, count=escape(count))
