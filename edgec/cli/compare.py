"""`edgec compare`: artifacts side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgec.cli import completion
from edgec.cli.json_output import failure, json_option, print_json
from edgec.errors import INTERRUPTED, DeviceError, EdgecError, ToolMissing, UsageError
from edgec.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

_MOST_COLUMNS = 3
"""Artifacts that stand side by side as columns; more of them are rows."""

_GAP = 2
"""Columns between two figures."""


@click.command(name="compare", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.edgec|FOLDER...")
@click.option("--measure", is_flag=True, help="Time them anew on this machine, in turns, and their memory.")
@click.option(
    "--duration",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="How long to measure each.  [5; with --measure]",
)
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    metavar="FILE.toml",
    help="Description of a device, for its [cost]; may be repeated.",
    shell_complete=completion.targets,
)
@json_option
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a pull request.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for a spreadsheet.")
def command(
    paths: tuple[Path, ...],
    measure: bool,
    duration: float | None,
    targets: tuple[str, ...],
    as_json: bool,
    as_markdown: bool,
    as_csv: bool,
) -> int:
    """Show artifacts side by side: size, latency, accuracy, parity, INT8, memory, cost; the Pareto front is marked.

    Folders stand for all artifacts in them. Times are those that builds recorded in the reports beside the artifacts,
    or, with --measure, taken now.

    \b
    edgec compare dist/model-host.edgec dist/model-host.front
    edgec compare tvm/model-host.edgec openvino/model-host.edgec --measure
    """
    from edgec.comparison.document import compared
    from edgec.comparison.subjects import gather

    try:
        _one_format(as_json=as_json, as_markdown=as_markdown, as_csv=as_csv)
        if duration is not None and not measure:
            raise UsageError(
                "--duration was given, and nothing is measured",
                "Times are taken from what the builds recorded.",
                "Add --measure, or leave --duration out.",
            )
        described = _described(targets)
        subjects = gather(paths)
        measurements: Mapping[str, Mapping[str, Any]] | None = None
        untimed: list[str] = []
        interrupted = False
        if measure:
            measurements, untimed, interrupted = _measured([each.path for each in subjects], duration or 5.0)
        document = compared(subjects, measurements, described)
        document["notes"] = [*untimed, *document["notes"]]
    except EdgecError as error:
        if as_json:
            print_json(failure(None, error))
            return error.exit_code
        raise
    if as_json:
        print_json({"edgec": __version__, "schema": 1, **document})
    elif as_markdown or as_csv:
        from edgec.comparison import table

        click.echo(table.markdown(document) if as_markdown else table.as_csv(document), nl=as_markdown)
    else:
        _print(document)
    return INTERRUPTED if interrupted else 0


def _one_format(**asked: bool) -> None:
    flags = [f"--{name.removeprefix('as_')}" for name, given in asked.items() if given]
    if len(flags) > 1:
        raise UsageError(f"{' and '.join(flags)} were given", "There is one output, in one form.", "Keep one of them.")


def _described(targets: Sequence[str]) -> dict[str, str]:
    """Files of targets by the targets' names."""
    from edgec.targets import load_target

    return {load_target(path).name: path for path in targets}


def _measured(paths: Sequence[Path], seconds: float) -> tuple[Mapping[str, Mapping[str, Any]], list[str], bool]:
    """Measurements by path, why some could not be measured here, and whether Ctrl-C ended it early.

    Raises DeviceError where none could.
    """
    from edgec.benchmark.comparison import Protocol, compare
    from edgec.benchmark.subjects import Artifact
    from edgec.cli.progress import listening

    able, notes = [], []
    refused: EdgecError | None = None
    for path in paths:
        subject = Artifact(path)
        try:
            subject.check()
        except (DeviceError, ToolMissing) as error:
            refused = error
            notes.append(f"{error.what}. {' '.join(error.fix.split())}")
        else:
            able.append(subject)
    if not able:
        assert refused is not None
        raise refused
    with listening(quiet=False, verbose=False) as listener:
        found = compare(able, Protocol(seconds=seconds), listener=listener)
    notes += [f"{error.what}: {error.why}" for error in found.failures]
    if found.interrupted:
        notes.insert(0, "Interrupted: times are of what was measured up to then.")
    return {document["path"]: document for document in found.documents}, notes, found.interrupted


def _print(document: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from edgec.cli.markup import escape
    from edgec.comparison.table import figures, heading, legend, names

    console = Console(highlight=False)
    rows, shown = document["rows"], figures(document["rows"])
    heads = [escape(heading(name, row)) for name, row in zip(names(rows), rows, strict=True)]
    cells = [[escape(figure.text(row)) for figure in shown] for row in rows]
    if len(rows) <= _MOST_COLUMNS:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("")
        for head in heads:
            table.add_column(head, justify="right", overflow="fold")
        for number, figure in enumerate(shown):
            table.add_row(figure.title, *(column[number] for column in cells))
        console.print(table)
    else:
        _print_rows(console, heads, [figure.title for figure in shown], cells)
    if any(row["front"] for row in rows):
        console.print(f"\n{legend(document)}")
    for note in document["notes"]:
        console.print(f"- {escape(note)}", soft_wrap=False)


def _print_rows(console: Console, heads: Sequence[str], titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Artifacts as rows, in as many tables as the width of the terminal takes; what all have alike is said once."""
    from rich.table import Table

    widths = [max(map(len, (title, *column))) for title, column in zip(titles, zip(*cells, strict=True), strict=True)]
    blocks: list[list[int]] = [[]]
    room = console.width - max(map(len, heads))
    left = room
    for number, title in enumerate(titles):
        if len({row[number] for row in cells}) == 1:
            console.print(f"{title}: {cells[0][number]}", style="dim")
            continue
        if left < widths[number] + _GAP and blocks[-1]:
            blocks.append([])
            left = room
        left -= widths[number] + _GAP
        blocks[-1].append(number)
    for block in blocks:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("", no_wrap=True)
        for number in block:
            table.add_column(titles[number], justify="right", no_wrap=True)
        for head, row in zip(heads, cells, strict=True):
            table.add_row(head, *(row[number] for number in block))
        console.print(table)
