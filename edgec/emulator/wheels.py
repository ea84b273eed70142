"""Installing the engine's wheels into a root, from a lock with the digest of each."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from edgec.emulator.fetching import disk_full, disk_full_error, run
from edgec.emulator.recipe import PYTHON, WHEELS, Recipe, keeps_of_wheels
from edgec.errors import EdgecError, ToolMissing

_GLIBC_2 = range(17, 37)  # manylinux tags up to the suite's glibc, 2.36
_SHOWN = 4  # lines of what pip said


def install(recipe: Recipe, files: Path) -> None:
    """Unpack the wheels of `recipe` into the root's `files`.

    Raises ToolMissing when pip or the package index is missing, or what it gives is not what was locked; OutputError
    when the disk is full.
    """
    folder = files / WHEELS
    ran = run(
        [
            *_pip(),
            *("install", "--disable-pip-version-check", "--no-input", "--no-compile", "--no-deps", "--retries=2"),
            *("--quiet", "--target", str(folder), "--require-hashes", "--only-binary=:all:"),
            *("--python-version", PYTHON, "--implementation", "cp", "--abi", "cp" + PYTHON.replace(".", "")),
            *(word for minor in _GLIBC_2 for word in ("--platform", f"manylinux_2_{minor}_{recipe.arch}")),
            *("--requirement", str(recipe.lock)),
        ]
    )
    if ran.code != 0:
        raise _explained(recipe, ran.said)
    _trim(folder)


def _pip() -> list[str]:
    """The command of pip: edgec's own Python's, or any, because it installs nothing for itself here."""
    if (own := _own_pip()) is not None:
        return own
    if (program := shutil.which("pip3") or shutil.which("pip")) is not None:
        return [program]
    raise ToolMissing(
        "pip is not installed",
        "It fetches the wheels of the engine, and checks them against their digests.",
        f"Install it: {sys.executable} -m ensurepip, or apt-get install python3-pip (Debian, Ubuntu).",
    )


def _own_pip() -> list[str] | None:
    return [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") is not None else None


def _trim(folder: Path) -> None:
    """Remove what no emulated device needs."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif not keeps_of_wheels(path.relative_to(folder).as_posix()):
            path.unlink()


def _explained(recipe: Recipe, said: str) -> EdgecError:
    """What pip's failure means for the user. said: all that it printed."""
    if disk_full(said):
        return disk_full_error("the wheels")
    what = f"The wheels for {recipe.arch} can't be fetched"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    short = "\n".join(([line for line in lines if line.startswith("ERROR")] or lines)[:_SHOWN])
    if "DO NOT MATCH THE HASHES" in said:
        start = next(index for index, line in enumerate(lines) if "DO NOT MATCH THE HASHES" in line)
        return ToolMissing(
            what,
            "The package index gives other files than those that were locked:\n"
            + "\n".join(lines[start + 1 :][:_SHOWN]),
            "Check which index pip is configured to use (`pip config list`): it has to have the original files.",
        )
    cause = next((line for line in lines if "Error" in line and line.startswith("WARNING: Retrying")), "")
    return ToolMissing(
        what,
        "\n".join(filter(None, [short, cause])),
        "Check the network and pip's configuration (`pip config list`): index, proxy, certificates. "
        "Without a network, copy the roots of another machine (docs/emulation.md).",
    )
