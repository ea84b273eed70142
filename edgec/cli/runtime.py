"""`edgec runtime`: artifacts in use."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import click

from edgec.cli.json_output import failure, json_option, print_json
from edgec.errors import EdgecError
from edgec.untrusted_text import clean


@click.group(name="runtime", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look at artifacts in use. In Python, edgec.runtime loads, monitors and shadows them (docs/monitoring.md)."""


@command.command(name="ab", short_help="Let a candidate run in the shadow of an artifact.")
@click.argument("current", type=click.Path(path_type=Path), metavar="CURRENT")
@click.argument("candidate", type=click.Path(path_type=Path), metavar="CANDIDATE")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("--watch", type=click.Path(path_type=Path), metavar="FOLDER", help="Take each file that comes in there.")
@click.option("--for", "duration", metavar="TIME", help="How long to watch: 30s, 10m.  [until Ctrl-C]")
@click.option("--share", type=float, default=1.0, metavar="S", help="Share of inputs that the candidate gets.  [1]")
@click.option(
    "--agree", type=float, metavar="S", help="Fail with exit code 6 unless it is shown that decisions agree so often."
)
@click.option("--threads", type=int, metavar="N", help="Threads of the current artifact's engine.")
@json_option
def shadow(
    current: Path,
    candidate: Path,
    inputs: tuple[str, ...],
    watch: Path | None,
    duration: str | None,
    share: float,
    agree: float | None,
    threads: int | None,
    as_json: bool,
) -> int:
    """Let CANDIDATE run in the shadow of CURRENT on the same inputs, and compare answers and latency.

    Both are artifacts, or slots of a device. Inputs are files, folders, - for file names on standard input, or what
    comes into a folder; without any, CURRENT's golden samples. Recorded inputs wait for the candidate; of live ones,
    those are dropped that it can't follow. It runs in a process of its own, with a lower priority.

    \b
    edgec runtime ab old.edgec new.edgec photos/ --agree 0.98
    edgec runtime ab /var/lib/edgec/models/net new.edgec --watch frames --for 10m
    """
    from edgec.bundle.errors import as_edgec_error
    from edgec.runtime import load
    from edgec.runtime.ab_command import run
    from edgec.runtime.errors import ArtifactFailure

    options = argparse.Namespace(
        candidate=str(candidate),
        inputs=list(inputs),
        watch=watch,
        duration=duration,
        share=share,
        agree=agree,
        json=as_json,
    )
    try:
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model = load(current, threads)
            for each in caught:
                if each.category is RuntimeWarning:
                    click.echo(clean(f"warning: {each.message}"), err=True)
            document = run(
                model,
                options,
                lambda line: click.echo(clean(line)),
                lambda line: click.echo(clean(f"note: {line}"), err=True),
            )
        except ArtifactFailure as refused:
            raise as_edgec_error(refused) from refused
    except EdgecError as error:
        if not as_json:
            raise
        print_json({**failure(None, error), **error.details})
        return error.exit_code
    if as_json:
        print_json(document)
    return 130 if document["status"] == "interrupted" else 0
