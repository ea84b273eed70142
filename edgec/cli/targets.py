"""`edgec targets`: the devices that can be built for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

import click

from edgec import resources
from edgec.cli.json_output import json_option
from edgec.targets import Target, load_target


@click.command(name="targets")
@json_option
def command(as_json: bool) -> None:
    """List the devices that edgec can build for: built-in ones, and those in ./targets."""
    targets = [load_target(name) for name in sorted(resources.declared("targets"))]
    if as_json:
        click.echo(json.dumps([asdict(target) for target in targets], indent=1))
        return
    width = max(len(target.name) for target in targets)
    for target in targets:
        click.echo(f"{target.name:<{width}}  {target.title}")
        for line in _described(target):
            click.echo(f"{'':<{width}}  {line}")


def _described(target: Target) -> Iterator[str]:
    """What a target says, as people read it; what it leaves open is left out."""
    yield f"{target.arch}: {', '.join(target.features) or 'no special features'}"
    device = [
        f"core {target.cpu}" if target.cpu not in ("", "generic") else "",
        f"glibc {target.min_glibc} or later" if target.min_glibc else "",
        f"{target.memory_mib} MiB of memory" if target.memory_mib else "",
    ]
    if any(device):
        yield ", ".join(filter(None, device))
    if target.emulator:
        yield f"emulated by {target.emulator.qemu} as {target.emulator.cpu}"
    yield f"backends: {', '.join(target.backends)}"
