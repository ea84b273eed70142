"""Passphrases and PINs: asked for at a terminal, never taken from the command line, which others can see."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from edgec.shipping.signing.keys import Ask, readable_by_others


def asker() -> Ask | None:
    """What asks for a secret; None where nobody sits at a terminal."""
    return _ask if sys.stdin.isatty() else None


def _ask(prompt: str) -> str:
    return str(click.prompt(prompt, hide_input=True, err=True))


def warn_of_open_keys(references: Iterable[str]) -> None:
    """Say which private keys other users of this machine can read."""
    for reference in references:
        if readable_by_others(reference):
            click.echo(f"warning: others can read the private key {reference}: chmod 600 {reference}", err=True)
