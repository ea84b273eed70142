"""How an error looks on the terminal: what happened, why, what to do."""

from __future__ import annotations

import click

from edgec.errors import EdgecError
from edgec.untrusted_text import clean


def report_error(error: EdgecError, prefix: str = "") -> None:
    """Print the three parts of `error` on standard error."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {clean(prefix + error.what)}", err=True)
    for title, text in (("why", error.why), ("fix", error.fix)):
        for number, line in enumerate(clean(text).splitlines()):
            click.echo(f"  {click.style(title + ':', bold=True) if number == 0 else '    '} {line}", err=True)
    if trace := error.details.get("traceback"):
        click.echo(clean(trace), err=True)
