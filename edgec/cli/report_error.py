"""How an error looks on the terminal: what happened, why, what to do."""

from __future__ import annotations

import click

from edgec.errors import EdgecError


def report_error(error: EdgecError, prefix: str = "") -> None:
    """Print the three parts of `error` on standard error."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {prefix}{error.what}", err=True)
    for title, text in (("why", error.why), ("fix", error.fix)):
        for number, line in enumerate(text.splitlines()):
            click.echo(f"  {click.style(title + ':', bold=True) if number == 0 else '    '} {line}", err=True)
    if trace := error.details.get("traceback"):
        click.echo(trace, err=True)
