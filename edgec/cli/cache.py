"""`edgec cache`: what the store holds, and making room."""

from __future__ import annotations

import json
import time

import click

from edgec.cli.json_output import json_option
from edgec.errors import UsageError
from edgec.store import Store

_DAY = 86400.0


@click.group(name="cache")
def command() -> None:
    """Look after stored results of stages (in $EDGEC_CACHE_DIR, by default ~/.cache/edgec)."""


@command.command(name="ls")
@json_option
def ls(as_json: bool) -> None:
    """List stored results, the one used last first."""
    store = Store.default()
    entries = store.entries()
    if as_json:
        listed = [
            {
                "key": entry.key,
                "stage": entry.stage,
                "bytes": entry.bytes,
                "seconds": entry.seconds,
                "path": str(entry.path),
            }
            for entry in entries
        ]
        click.echo(json.dumps(listed, indent=1))
        return
    from edgec.cli.sizes import size

    for entry in entries:
        hours = (time.time() - entry.path.stat().st_mtime) / 3600
        click.echo(f"{entry.key[:16]}  {entry.stage:<10} {size(entry.bytes):>9}  used {hours:.1f} h ago")
    click.echo(f"{len(entries)} results, {size(sum(entry.bytes for entry in entries))}, in {store.root}")


@command.command(name="gc")
@click.option("--days", type=click.FloatRange(0), default=0.0, show_default=True, help="Keep what was used since.")
def gc(days: float) -> None:
    """Remove stored results, and what killed builds left behind."""
    from edgec.cli.sizes import size

    collected = Store.default().collect(unused_for=days * _DAY)
    if collected is None:
        raise UsageError(
            "A build is running; nothing was removed",
            "Its results would be taken from under it.",
            "Wait for it to end, and try again.",
        )
    removed, freed = collected
    click.echo(f"{removed} results removed, {size(freed)} freed")
