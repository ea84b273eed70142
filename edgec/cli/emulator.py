"""`edgec emulator`: the emulated devices that builds run their artifacts on."""

from __future__ import annotations

import click

from edgec.emulator import making
from edgec.errors import UsageError
from edgec.targets import load_target


@click.group(name="emulator")
def command() -> None:
    """Look after emulated devices, on which a build runs its artifacts."""


@command.command(name="setup")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--all", "everything", is_flag=True, help="Make the roots of all architectures.")
@click.option("--mirror", default="", metavar="URL", help="A Debian mirror; by default the one that this machine uses.")
@click.option("--force", is_flag=True, help="Make them anew where they are already there.")
def setup(targets: tuple[str, ...], everything: bool, mirror: str, force: bool) -> None:
    """Make what the emulators of TARGETs need: a folder with Python, numpy and the engine for their architecture."""
    for arch in _architectures(targets, everything):
        root = making.make(arch, mirror, force=force, say=lambda text: click.echo(text, err=True))
        versions = ", ".join(f"{name} {version}" for name, version in root.versions.items())
        click.echo(f"{arch}: {versions}")


def _architectures(targets: tuple[str, ...], everything: bool) -> list[str]:
    from edgec.emulator.recipe import RECIPES

    if everything:
        return list(RECIPES)
    found = []
    for name in targets:
        target = load_target(name)
        if target.emulator is None:
            raise UsageError(
                f"{name} has no emulator",
                f"Its artifacts are for {target.arch}, and its description has no [emulator].",
                "Name a target that has one; `edgec targets` lists them all.",
            )
        found.append(target.arch)
    if not found:
        raise UsageError("No target is named", "A root is made for an architecture.", "Name a target, or use --all.")
    return list(dict.fromkeys(found))
