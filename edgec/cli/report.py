"""`edgec report`: the report of a build in another form, and many builds on one page."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgec.cli import completion
from edgec.cli.json_output import failure, print_json
from edgec.errors import EdgecError, UsageError


@click.command(name="report", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("builds", nargs=-1, required=True, type=click.Path(path_type=Path), shell_complete=completion.paths)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the page goes.  [beside the report; for many builds index.html]",
    shell_complete=completion.paths,
)
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request, in place of writing a page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, in place of writing a page.")
def command(builds: tuple[Path, ...], output: Path | None, markdown: bool, as_json: bool) -> int:
    """Show what BUILDS came to: artifacts (.edgec), reports (.report.json), or folders of them.

    Of one report, its page is made anew; of anything else, an index with a line for every build, refused ones included.
    What a build measured stands in the report beside its artifact; an artifact alone tells what it knows itself.

    \b
    edgec report dist/ -o index.html
    edgec report a.edgec b.edgec --markdown
    edgec report dist/model-host.report.json
    """
    try:
        if markdown and as_json:
            raise UsageError("Both --markdown and --json were given", "One thing can be printed.", "Leave one out.")
        if output is not None and (markdown or as_json):
            raise UsageError(
                "--output was given beside --markdown or --json",
                "Those print; --output says where a page goes.",
                "Leave it out, or redirect what is printed.",
            )
        one = len(builds) == 1 and builds[0].name.endswith(".json")
        _one(builds[0], output, markdown, as_json) if one else _many(builds, output, markdown, as_json)
    except EdgecError as error:
        if as_json:
            print_json(failure(None, error))
            return error.exit_code
        raise
    return 0


def _one(path: Path, output: Path | None, markdown: bool, as_json: bool) -> None:
    from edgec.report import render_html, render_json, render_markdown
    from edgec.report.documents import read_report, rendering

    inputs = read_report(path)
    with rendering(path):
        if as_json:
            print_json(json.loads(render_json(inputs)))
        elif markdown:
            click.echo(render_markdown(inputs), nl=False)
        else:
            _write(output or path.with_suffix(".html"), render_html(inputs))


def _many(paths: tuple[Path, ...], output: Path | None, markdown: bool, as_json: bool) -> None:
    from edgec.report.index import document, gather, render_index, render_index_markdown

    found = document(gather(paths))
    if as_json:
        print_json(found)
    elif markdown:
        click.echo(render_index_markdown(found), nl=False)
    else:
        place = output or Path("index.html")
        _write(place, render_index(found, place))


def _write(place: Path, text: str) -> None:
    from edgec.output_folder import check_writable, write_whole

    check_writable(place.parent)
    write_whole(place, text.encode("utf-8", "backslashreplace"))
    click.echo(place)
