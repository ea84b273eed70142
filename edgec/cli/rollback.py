"""`edgec rollback`: boards go back to a version that they have."""

from __future__ import annotations

from pathlib import Path

import click

from edgec.cli.deploy import on_boards_options, serve
from edgec.errors import UsageError


@click.command(name="rollback", short_help="Let boards go back to a version that they have.")
@click.argument("given", nargs=-1, metavar="HOST...")
@on_boards_options
@click.option("--model", metavar="NAME", help="The model; may be left out for boards that have one.")
@click.option(
    "--to",
    metavar="VERSION",
    help="The installed version to go to: its number, or how its SHA-256 begins. By default the one before.",
)
@click.option("--list", "listed", is_flag=True, help="Show what there is to go back to, and change nothing.")
def command(
    given: tuple[str, ...],
    hosts: Path | None,
    host_key: Path | None,
    parallel: int,
    as_json: bool,
    model: str | None,
    to: str | None,
    listed: bool,
) -> int:
    """Let boards go back, over ssh, to a version that is still installed there.

    What is left is remembered as failed: neither an update nor a deployment installs it again by itself.

    \b
    edgec rollback pi@camera-1
    edgec rollback --hosts boards.txt --model digits --to 3f9a1c

    See docs/deploy.md.
    """
    from edgec.shipping.boards.rollback import rolling_back
    from edgec.shipping.boards.status import look

    if listed and (model or to):
        raise UsageError("--list shows all models", "It was given with --model or --to.", "Give one of them.")
    work = look if listed else rolling_back(model, to)
    return serve(list(given), hosts, host_key, parallel, work, as_json, looks=listed)
