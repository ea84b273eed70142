"""Debian's packages for another architecture, by mmdebstrap: fetched, checked against Debian's keys, and unpacked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

from edgec.emulator.recipe import SUITE, Recipe, keeps
from edgec.emulator.unpacking import unpack
from edgec.errors import ToolMissing


def install(recipe: Recipe, mirror: str, files: Path, scratch: Path) -> dict[str, str]:
    """Unpack the packages of `recipe` and what they depend on into the root's `files`; return their versions."""
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ToolMissing(
            "mmdebstrap is not installed", "It fetches Debian's packages.", "Install it: apt-get install mmdebstrap."
        )
    archive = scratch / "packages.tar"
    ran = subprocess.run(
        [
            program,
            "--quiet",
            "--variant=extract",
            f"--architectures={recipe.debian}",
            f"--include={','.join(recipe.packages)}",
            '--extract-hook=ls "$1/var/cache/apt/archives" > "$1/packages"',
            SUITE,
            str(archive),
            *([mirror] if mirror else []),
        ],
        capture_output=True,
        text=True,
    )
    if ran.returncode != 0:
        raise ToolMissing("mmdebstrap failed", ran.stderr.strip()[-1000:], "Check the network.")
    unpack(archive, files, lambda name: name == "packages" or keeps(name))
    fetched = (files / "packages").read_text(encoding="utf-8").split()
    (files / "packages").unlink()
    archive.unlink()
    return dict(unquote(name).split("_")[:2] for name in fetched if name.endswith(".deb"))
