"""`edgec emulator`: the emulated devices that builds run their artifacts on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click

from edgec.cli.json_output import json_option
from edgec.errors import UsageError
from edgec.targets import Target, load_target


@click.group(name="emulator")
def command() -> None:
    """Look after emulated devices, on which a build runs its artifacts.

    They are made in $EDGEC_ROOTS_DIR, by default in edgec's cache. See docs/emulation.md.
    """


@command.command(name="setup", short_help="Make what the emulators of TARGETs need.")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--all", "everything", is_flag=True, help="Set up all architectures.")
@click.option(
    "--mirror",
    default="",
    metavar="URL",
    help="Debian mirror, or a line of sources.list; by default the one that this machine uses.",
)
@click.option("--force", is_flag=True, help="Make anew what is already there.")
def setup(targets: tuple[str, ...], everything: bool, mirror: str, force: bool) -> None:
    """Make what the emulators of TARGETs need: Python, numpy and the engine for each architecture.

    Targets of one architecture share it. Needs mmdebstrap, QEMU, pip and a network; no root privileges where
    unprivileged user namespaces are allowed.
    """
    from edgec.cli.sizes import size
    from edgec.emulator import making

    for arch in _architectures(targets, everything):
        root = making.make(arch, mirror, force=force, say=lambda text: click.echo(f"{text} ...", err=True))
        click.echo(f"{arch}: {_versions(root.versions)} ({size(root.bytes)} in {root.path.parent})")


@command.command(name="list", short_help="List what is set up, and what is missing.")
@json_option
@click.option("--verify", is_flag=True, help="Check the digest of every file, not only its size.")
def list_(as_json: bool, verify: bool) -> int:
    """List what is set up and which targets it serves, and what is missing. Exits with 8 when something is broken."""
    from edgec.cli.sizes import size
    from edgec.emulator import inventory, roots

    found = inventory.examine(verify=verify)
    unused = inventory.superseded()
    status = 8 if any(each.state == "broken" for each in found) else 0
    if as_json:
        document = {
            "folder": str(roots.folder()),
            "architectures": [each.to_json() for each in found],
            "superseded": [str(path) for path in unused],
        }
        click.echo(json.dumps(document, indent=1))
        return status
    for each in found:
        held = f"{_versions(each.root.versions)}, {size(each.root.bytes)}" if each.root else each.state
        click.echo(f"{each.arch:<8} {held}")
        click.echo(f"{'':<8} {each.qemu} {each.version or 'missing'}")
        click.echo(f"{'':<8} for {', '.join(f'{name} ({core})' for name, core in each.cores.items())}")
        for why, fix in each.faults:
            click.echo(f"{'':<8} {why}\n{'':<8}   {fix}")
    for path in unused:
        click.echo(f"{path} was made by another version of edgec; this one does not use it")
    click.echo(f"in {roots.folder()}")
    return status


@command.command(
    name="run",
    short_help="Run an artifact on an emulated device.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("target", metavar="TARGET")
@click.argument("artifact", metavar="FILE.edgec", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def run(target: str, artifact: Path, arguments: tuple[str, ...]) -> int:
    """Run a COMMAND of an artifact (selftest, run x.npy, ...) on TARGET's emulator, with its exit code."""
    from edgec.emulator import artifact as artifacts
    from edgec.emulator.machine import Machine

    machine = Machine.of(_emulated(target))
    click.echo(
        f"note: an emulated {machine.core} ({machine.qemu.name} {machine.qemu.version}) computes what the device does, "
        "but no time that is printed is the device's",
        err=True,
    )
    return artifacts.run(machine, artifact, arguments)


def _architectures(targets: tuple[str, ...], everything: bool) -> list[str]:
    """The architectures of `targets`, each once."""
    from edgec.emulator.recipe import RECIPES

    if everything:
        return list(RECIPES)
    if not targets:
        raise UsageError(
            "No target is named",
            "What is set up depends on the target's architecture.",
            "Name one or more (`edgec emulator setup rpi4`), or use --all.",
        )
    return list(dict.fromkeys(_emulated(name).arch for name in targets))


def _emulated(name: str) -> Target:
    target = load_target(name)
    if target.emulator is None:
        raise UsageError(
            f"{name} has no emulator",
            f"The description of that target ({target.arch}) has no table [emulator].",
            "Name a target that has one: `edgec emulator list` shows them.",
        )
    return target


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
