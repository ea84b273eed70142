"""Installing the engine's wheels into a root, from a lock with the digest of each."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from edgec.emulator.recipe import PYTHON, WHEELS, Recipe, keeps_of_wheels
from edgec.errors import ToolMissing

_GLIBC_2 = range(17, 37)  # manylinux tags up to the suite's glibc, 2.36


def install(recipe: Recipe, files: Path) -> None:
    """Unpack the wheels of `recipe` into the root's `files`."""
    folder = files / WHEELS
    tag = "cp" + PYTHON.replace(".", "")
    ran = subprocess.run(
        [
            *_pip(),
            *("install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", "--no-deps"),
            *("--target", str(folder), "--require-hashes", "--only-binary=:all:"),
            *("--python-version", PYTHON, "--implementation", "cp", "--abi", tag),
            *(word for minor in _GLIBC_2 for word in ("--platform", f"manylinux_2_{minor}_{recipe.arch}")),
            *("--requirement", str(recipe.lock)),
        ],
        capture_output=True,
        text=True,
    )
    if ran.returncode != 0:
        raise ToolMissing(
            f"pip can't fetch the wheels for {recipe.arch}",
            ran.stderr.strip()[-1000:],
            "Check the network and pip's configuration (index, certificates), and try again.",
        )
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif not keeps_of_wheels(path.relative_to(folder).as_posix()):
            path.unlink()


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if (program := shutil.which("pip3") or shutil.which("pip")) is not None:
        return [program]
    raise ToolMissing("pip is not installed", "It fetches the wheels.", "Install it: python -m ensurepip.")
