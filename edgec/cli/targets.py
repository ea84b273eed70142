"""`edgec targets`: the devices that can be built for."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from edgec import resources
from edgec.targets import load_target


@click.command(name="targets")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the devices that edgec can build for: built-in ones, and those in ./targets."""
    targets = [load_target(name) for name in sorted(resources.declared("targets"))]
    if as_json:
        click.echo(json.dumps([asdict(target) for target in targets], indent=1))
        return
    width = max(len(target.name) for target in targets)
    for target in targets:
        click.echo(f"{target.name:<{width}}  {target.title}")
        click.echo(f"{'':<{width}}  {target.arch}: {', '.join(target.features) or 'no special features'}")
        click.echo(f"{'':<{width}}  backends: {', '.join(target.backends)}")
