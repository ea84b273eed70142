"""Boards: what is being done on them, and what became of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgec.cli.report_error import report_error
from edgec.cli.sizes import size
from edgec.untrusted_text import clean

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from edgec.shipping.boards.hosts import Host
    from edgec.shipping.boards.reports import BoardReport, Step, Tell

_CHANGES = ("host", "model", "before", "after", "seconds", "result")
_VERSIONS = ("host", "model", "version", "state")
_SHA256 = 12  # characters that tell versions apart


@contextlib.contextmanager
def listening(hosts: Sequence[Host]) -> Iterator[Tell]:
    """What hears of each step: lines that change on a terminal, a line a step elsewhere; all on standard error."""
    if not sys.stderr.isatty():
        yield _Lines().hear
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    bars = Progress(
        TextColumn("{task.fields[host]}"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[count]}"),
        console=Console(stderr=True),
        transient=True,
    )
    with bars:
        yield _Bars(bars, hosts).hear


class _Lines:
    """A line for each step of each board."""

    def __init__(self) -> None:
        self._last: dict[Host, str] = {}

    def hear(self, step: Step) -> None:
        text = _outcome(step.ended) if step.ended else step.text + (f" ({size(step.total)})" if step.total else "")
        if self._last.get(step.host) != text:
            self._last[step.host] = text
            print(clean(f"{step.host.name}: {text}"), file=sys.stderr, flush=True)


class _Bars:
    """A line for each board, with a bar while something is sent there."""

    def __init__(self, bars: Progress, hosts: Sequence[Host]) -> None:
        self._bars = bars
        self._tasks: dict[Host, TaskID] = {
            host: bars.add_task("waiting", total=None, start=False, host=_literal(host.name), count="")
            for host in hosts
        }

    def hear(self, step: Step) -> None:
        text = _outcome(step.ended) if step.ended else step.text
        self._bars.start_task(self._tasks[step.host])
        total = 1 if step.ended else step.total or None
        count = f"{size(step.done)} of {size(step.total)}" if step.total else ""
        done = 1 if step.ended else step.done
        self._bars.update(self._tasks[step.host], description=_literal(text), total=total, completed=done, count=count)


def _literal(text: str) -> str:
    from edgec.cli.markup import escape

    return escape(text)


def _outcome(report: BoardReport) -> str:
    how = f"failed: {report.errors[0].what}" if report.errors else "done"
    return f"{how} ({report.seconds:.1f} s)"


def show(reports: Sequence[BoardReport], looks: bool) -> None:
    """What became of each board: a line for each of its models, and what went wrong. looks: nothing was changed."""
    if looks:
        for report in filter(lambda each: each.device, reports):
            print(clean(f"{report.host.name}: {_device(report)}"))
        print()
    if any(report.installed for report in reports):
        _print_table(_VERSIONS, [row for report in reports for row in _versions(report)])
    else:
        _print_table(_CHANGES, [row for report in reports for row in _changes(report)])
    for report in reports:
        for model in report.models:
            for note in model.notes:
                print(clean(f"note: {report.host.name}: {model.model}: {note}"))
    if len(reports) > 1:
        print(f"{sum(not report.errors for report in reports)} of {len(reports)} boards without an error")
    sys.stdout.flush()
    for report in reports:
        told = {str(error): error for error in report.errors}  # several artifacts may lack the same
        for error in told.values():
            report_error(error, "" if report.host.name in error.what else f"{report.host.name}: ")


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    for row in (titles, *rows):
        cells = [
            f"{clean(text):>{width}}" if title == "seconds" else f"{clean(text):{width}}"
            for text, width, title in zip(row, widths, titles, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _device(report: BoardReport) -> str:
    device = report.device
    agent = f"agent {report.agent['before']}" if report.agent["before"] else "no agent"
    parts = [
        device["arch"],
        f"glibc {device['glibc']}" if device["glibc"] else "no glibc",
        f"Python {device['python']}",
        *([f"{size(device['memory_bytes'])} of memory"] if device["memory_bytes"] else []),
        f"{agent}, {size(device['free_bytes'])} free in {report.root}",
    ]
    return ", ".join(parts)


def _changes(report: BoardReport) -> list[Sequence[str]]:
    host = report.host.name
    if not report.models:
        return [(host, "-", "", "", _seconds(report.seconds), "failed" if report.error else "has no models")]
    return [
        (host, each.model, _release(each.before), _release(each.after), _seconds(each.seconds), each.result)
        for each in report.models
    ]


def _versions(report: BoardReport) -> list[Sequence[str]]:
    """The versions that a board has, the running one of each model first."""
    rows: list[Sequence[str]] = []
    for model in report.models:
        found = report.installed[model.model]
        current = found["current"]
        rows.append((report.host.name, model.model, _release(current), model.result))
        for each in found["installed"]:
            if current is None or each["sha256"] != current["sha256"]:
                failed = each["sha256"] in found["failed"]
                rows.append((report.host.name, model.model, _release(each), "failed" if failed else "to go back to"))
    return rows or [(report.host.name, "-", "", "failed" if report.error else "has no models")]


def _release(release: Mapping[str, Any] | None) -> str:
    if release is None:
        return "-"
    sha256 = release["sha256"][:_SHA256]
    return sha256 if release.get("version") is None else f"{release['version']} ({sha256})"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds else ""
