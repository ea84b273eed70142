"""QEMU's user mode: the program, its version, and the cores that it knows."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgec.errors import ToolMissing
from edgec.toml_schema import did_you_mean

INSTALL = "apt-get install qemu-user-static (Debian, Ubuntu), dnf install qemu-user-static (Fedora)"

INSTALL_WITH_PLUGINS = (
    "apt-get install qemu-user (Debian 12; that of Debian 13 has no plugins), or QEMU configured with --enable-plugins"
)


@dataclass(frozen=True)
class Qemu:
    """An emulator that is installed. version: as it says itself ("7.2.22"). cores: by the names that `-cpu` takes."""

    name: str
    program: Path
    version: str
    cores: frozenset[str]

    def require_core(self, core: str) -> None:
        """Raises ToolMissing for a core that this version does not know."""
        if core not in self.cores:
            raise ToolMissing(
                f"{self.name} {self.version} can't be a {core}",
                f"It knows {len(self.cores)} cores, and that one is not among them.{did_you_mean(core, self.cores)}",
                f"Correct emulator.cpu in the target (`{self.program.name} -cpu help` lists what there is), install a "
                "newer QEMU, or build with --no-emulate: the artifact is then not executed.",
            )


@cache
def find(name: str) -> Qemu | None:
    """The emulator called `name` ("qemu-aarch64"), linked statically or not; None where it is not on PATH.

    Raises ToolMissing for a program of that name that does not run.
    """
    program = shutil.which(f"{name}-static") or shutil.which(name)
    return None if program is None else _examined(name, program)


@cache
def find_with_plugins(name: str) -> Qemu | None:
    """The emulator called `name`, built with plugins; None where there is none on PATH.

    Raises ToolMissing for a program of that name that does not run.
    """
    for program in (shutil.which(name), shutil.which(f"{name}-static")):
        if program is not None and re.search(r"^-plugin\b", _said(program, "--help"), re.MULTILINE):
            return _examined(name, program)
    return None


def _examined(name: str, program: str) -> Qemu:
    version = re.search(r"version (\d+(?:\.\d+)*)", _said(program, "--version"))
    listed = _said(program, "-cpu", "help").partition("\n")[2]
    cores = re.findall(r"^\s*([\w.-]+)(?:\s*\(.*\))?\s*$", listed, re.MULTILINE)
    if version is None or not cores:
        raise ToolMissing(
            f"{program} does not run",
            "It does not tell its version, or which cores it knows.",
            f"Install it anew: {INSTALL}.",
        )
    return Qemu(name, Path(program), version[1], frozenset(cores))


def require_with_plugins(name: str) -> Qemu:
    """The emulator called `name`, with plugins. Raises ToolMissing when there is none."""
    found = find_with_plugins(name)
    if found is None:
        there = shutil.which(name) or shutil.which(f"{name}-static")
        raise ToolMissing(
            f"{name} can't count instructions: it has no plugins" if there else f"{name} is not installed",
            (f"{there} was built without them. " if there else "")
            + "Instructions are counted by a plugin of QEMU's, and a QEMU that is linked statically takes none.",
            f"Install one that does: {INSTALL_WITH_PLUGINS}.",
        )
    return found


def require(name: str, why: str) -> Qemu:
    """The emulator called `name`. Raises ToolMissing, with the reason why it is needed, when it is not installed."""
    found = find(name)
    if found is None:
        raise ToolMissing(
            f"{name} is not installed",
            why,
            f"Install it: {INSTALL}. Or use edgec's Docker image, which holds it; or build with --no-emulate: "
            "the artifact is then not executed.",
        )
    return found


def _said(program: str, *arguments: str) -> str:
    try:
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
