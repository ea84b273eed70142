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
            near = did_you_mean(core, self.cores).replace("Did you mean", "It knows")
            raise ToolMissing(
                f"{self.name} {self.version} can't be a {core}",
                f"It knows {len(self.cores)} cores, and none of that name.{near.replace('?', '.')}",
                f"Correct emulator.cpu in the target, or install a newer QEMU (`{self.name} -cpu help` lists them).",
            )


@cache
def find(name: str) -> Qemu | None:
    """The emulator called `name` ("qemu-aarch64"), linked statically or not; None where it is not on PATH."""
    program = shutil.which(f"{name}-static") or shutil.which(name)
    if program is None:
        return None
    said = _said(program, "--version")
    version = re.search(r"version (\d+(?:\.\d+)*)", said)
    cores = re.findall(r"^\s*([\w.-]+)\s*$", _said(program, "-cpu", "help").partition("\n")[2], re.MULTILINE)
    return Qemu(name, Path(program), version[1] if version else "unknown", frozenset(cores))


def _said(program: str, *arguments: str) -> str:
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60).stdout
