"""The folders that emulated programs run in: Python, numpy and an engine for another architecture.

    $EDGEC_ROOTS_DIR (default: emulator/roots in edgec's cache)
      ARCH-RECIPE/root.json    what is in it: versions, and every file with its size and digest
      ARCH-RECIPE/files/       usr, lib, etc: what the emulator opens in the place of the machine's own files

A root is made once (`edgec emulator setup`), is shared by all targets of its architecture, and never changes.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.digest import digest_file, digest_of
from edgec.emulator.recipe import RECIPES
from edgec.errors import ToolMissing
from edgec.store import cache_folder

RECORD = "root.json"
FILES = "files"


@dataclass(frozen=True)
class Root:
    """A root that is there.

    path: the folder that holds its usr and lib. digest: of every file in it, but not of compiled modules.
    versions: of what matters: "python", "glibc", "numpy", and the engine's distribution.
    packages: Debian's packages with their versions. bytes: of all its files.
    """

    arch: str
    path: Path
    digest: str
    versions: Mapping[str, str]
    packages: Mapping[str, str]
    bytes: int
    recipe: str


def folder() -> Path:
    """Where roots are."""
    chosen = os.environ.get("EDGEC_ROOTS_DIR")
    return Path(chosen).absolute() if chosen else cache_folder() / "emulator" / "roots"


def place(arch: str) -> Path:
    """Where the root for `arch` is, or would be."""
    return folder() / f"{arch}-{RECIPES[arch].digest[:12]}"


def find(arch: str) -> Root | None:
    """The root for `arch`; None where there is none. Raises ToolMissing for one that is not whole."""
    here = place(arch)
    if not here.exists():
        return None
    return read(here)


def read(here: Path) -> Root:
    """The root at `here`: every file is there and has its size. Raises ToolMissing when not."""
    root, listed = _record(here)
    for name, entry in listed.items():
        if (fault := _fault(root.path / name, entry)) is not None:
            raise _broken(here, root.arch, f"{name} {fault}")
    return root


def verify(here: Path) -> Root:
    """The root at `here`: as `read`, with the digest of every file checked, and no file beside them."""
    root, listed = _record(here)
    found = listing(root.path)
    for name in sorted({*listed, *found}):
        if name not in found:
            raise _broken(here, root.arch, f"{name} is missing")
        if name not in listed:
            raise _broken(here, root.arch, f"{name} was added")
        if listed[name] != found[name]:
            raise _broken(here, root.arch, f"{name} was changed")
    return root


def listing(files: Path) -> dict[str, list[Any]]:
    """Every file below `files`, with what it has to be: its size and digest, or where it links to."""
    found: dict[str, list[Any]] = {}
    for path in sorted(files.rglob("*")):
        name = path.relative_to(files).as_posix()
        if path.is_symlink():
            found[name] = [str(path.readlink())]
        elif path.is_file():
            found[name] = [path.stat().st_size, digest_file(path)]
    return found


def _record(here: Path) -> tuple[Root, dict[str, list[Any]]]:
    arch = here.name.partition("-")[0]
    try:
        record = json.loads((here / RECORD).read_text(encoding="utf-8"))
        listed: dict[str, list[Any]] = record["files"]
        root = Root(
            arch=record["arch"],
            path=here / FILES,
            digest=digest_of({name: entry for name, entry in listed.items() if not _is_compiled(name)}),
            versions=record["versions"],
            packages=record["packages"],
            bytes=sum(entry[0] for entry in listed.values() if len(entry) == 2),
            recipe=record["recipe"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _broken(here, arch, f"{RECORD} can't be read") from error
    return root, listed


def _is_compiled(name: str) -> bool:
    """Whether a file only repeats another one: compiled modules may differ in bytes that mean nothing."""
    return name.endswith(".pyc")


def _fault(path: Path, entry: list[Any]) -> str | None:
    """What is wrong with a file, as far as its size tells."""
    try:
        found = path.lstat()
    except OSError:
        return "is missing"
    if len(entry) == 1:
        return None if stat.S_ISLNK(found.st_mode) and str(path.readlink()) == entry[0] else "was changed"
    return None if stat.S_ISREG(found.st_mode) and found.st_size == entry[0] else "was changed"


def _broken(here: Path, arch: str, fault: str) -> ToolMissing:
    return ToolMissing(
        f"The {arch} root is broken",
        f"In {here}, {fault}.",
        f"Make it anew: {setup_command(arch, '--force')}",
    )


def setup_command(arch: str, *options: str) -> str:
    """What to type for a root of `arch`."""
    example = {"aarch64": "rpi4", "armv7l": "rpi2"}[arch]
    return " ".join(("edgec emulator setup", *options, example))
