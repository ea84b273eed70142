"""`edgec doctor`: what is installed, what is missing, and what that means."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import Any

import click

from edgec.backends import BACKENDS, load_backend
from edgec.cli.json_output import json_option
from edgec.emulator import inventory
from edgec.emulator.qemu import INSTALL_WITH_PLUGINS
from edgec.errors import ToolMissing
from edgec.store import Store
from edgec.targets import TRIPLES, host_features
from edgec.version import __version__

_CORE = ("numpy", "onnx", "onnxruntime", "onnxsim", "click", "rich", "pillow", "jinja2", "pyelftools")

_SHIPPING = {
    "ship": ("securesystemslib", "cryptography", "tuf", "urllib3"),
    "hsm": ("pykcs11", "asn1crypto"),
}
"""Extra to the packages that it brings."""


@click.command(name="doctor")
@json_option
def command(as_json: bool) -> int:
    """Show what is installed, and what is missing for what. Exits with 8 when a core package is missing."""
    found = _examine()
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        _show(found)
    return 0 if all(found["packages"].values()) else 8


def _examine() -> dict[str, Any]:
    backends = {}
    for name in BACKENDS:
        state = load_backend(name).availability()
        backends[name] = {
            "installed": state.installed,
            "version": state.version,
            "reason": state.reason,
            "install": state.install,
            "remark": state.remark,
        }
    return {
        "edgec": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cpu_features": list(host_features()),
        "store": str(Store.default().root),
        "packages": {name: _version(name) for name in _CORE},
        "backends": backends,
        "emulators": [each.to_json() for each in inventory.examine()],
        "compilers": _compilers(),
        "shipping": {extra: {name: _version(name) for name in names} for extra, names in _SHIPPING.items()},
    }


def _compilers() -> dict[str, Any]:
    """By triple: what compiles and links for it, or how to get that."""
    from edgec import toolchain

    found: dict[str, Any] = {}
    for triple in sorted(TRIPLES.values()):
        install = toolchain.install(triple)
        try:
            tools = toolchain.for_triple(triple)
        except ToolMissing as error:
            tools, install = None, f"{error.what}: {error.why} {error.fix}"
        found[triple] = {
            "name": tools.name if tools else None,
            "version": tools.version if tools else None,
            "glibc": tools.glibc or None if tools else None,
            "install": "" if tools else install,
        }
    return found


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _show(found: dict[str, Any]) -> None:
    click.echo(f"edgec {found['edgec']}, Python {found['python']}, {found['system']}")
    click.echo(f"CPU features: {', '.join(found['cpu_features']) or 'none that matter'}")
    click.echo(f"store: {found['store']}")
    click.echo("\npackages")
    for name, version in found["packages"].items():
        click.echo(f"  {name:<14} {version or 'MISSING: pip install ' + name}")
    click.echo("\nbackends")
    for name, state in found["backends"].items():
        click.echo(f"  {name:<14} {state['version'] if state['installed'] else 'not installed'}")
        if not state["installed"]:
            click.echo(f"  {'':<14} {state['reason']}\n  {'':<14} {state['install']}")
        if state["remark"]:
            click.echo(f"  {'':<14} {state['remark']}")
    click.echo("\nemulators")
    for each in found["emulators"]:
        _show_emulator(each)
    click.echo("\ncompilers")
    for triple, tools in found["compilers"].items():
        _show_compiler(triple, tools)
    click.echo("\nshipping")
    for extra, packages in found["shipping"].items():
        _show_shipping(extra, packages)


def _show_shipping(extra: str, packages: dict[str, str | None]) -> None:
    missing = [name for name, version in packages.items() if version is None]
    installed = ", ".join(f"{name} {version}" for name, version in packages.items() if version is not None)
    click.echo(f"  {extra:<14} {installed or 'not installed'}")
    if missing:
        what = {"ship": "sign, verify, publish", "hsm": "sign with keys in PKCS#11 tokens"}[extra]
        click.echo(f"  {'':<14} {', '.join(missing)} missing; to {what}: pip install 'edgec[{extra}]'")


def _show_compiler(triple: str, tools: dict[str, Any]) -> None:
    if tools["name"] is None:
        click.echo(f"  {triple:<20} not installed\n  {'':<20} {tools['install']}")
    else:
        glibc = f"glibc {tools['glibc']}" if tools["glibc"] else "the glibc that a target names"
        click.echo(f"  {triple:<20} {tools['name']} {tools['version']}, links for {glibc}")


def _show_emulator(each: dict[str, Any]) -> None:
    held = ", ".join(f"{name} {version}" for name, version in each["versions"].items()) or each["state"]
    click.echo(f"  {each['qemu']:<14} {each['qemu_version'] or 'not installed'}, root for {each['arch']}: {held}")
    if each["qemu_version"] and each["counter"] is None:
        click.echo(f"  {'':<14} instructions can't be counted (`edgec bench --emulate`): it has no plugins")
        click.echo(f"  {'':<14} {INSTALL_WITH_PLUGINS}")
    for fault in each["faults"]:
        click.echo(f"  {'':<14} {fault['why']}\n  {'':<14} {fault['fix']}")
