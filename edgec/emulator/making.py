"""Making a root: Debian's packages and wheels, unpacked without privileges, and proved by running them."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgec.emulator import cores, debian, roots, wheels
from edgec.emulator import qemu as programs
from edgec.emulator.machine import command
from edgec.emulator.recipe import RECIPES, SUITE, Recipe
from edgec.emulator.roots import FILES, RECORD, Root
from edgec.errors import ToolMissing
from edgec.targets import EMULATORS

_PROOF = Path(__file__).with_name("proof.py")
_PROVED_AS = {"aarch64": "cortex-a53", "armv7l": "cortex-a7"}
"""The simplest core of each architecture: what runs on it runs on all."""


def make(arch: str, mirror: str = "", *, force: bool = False, say: Callable[[str], None] = lambda text: None) -> Root:
    """The root for `arch`; made if it is not there, or anyhow with `force`.

    mirror: a Debian mirror; "" takes the one that this machine uses. say: hears what is being done.

    A killed call leaves nothing that would be taken for a root. Of two calls at once, the second waits for the first.

    Raises ToolMissing when a tool, the network or a permission is missing.
    """
    recipe = RECIPES[arch]
    here = roots.place(arch)
    here.parent.mkdir(parents=True, exist_ok=True)
    with (here.parent / f".{here.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not force and (root := roots.find(arch)) is not None:
            return root
        making = Path(tempfile.mkdtemp(prefix=f".making-{here.name}-", dir=here.parent))
        try:
            _fill(making, recipe, mirror, say)
            if here.exists():
                here.rename(making / "replaced")
            (making / "new").rename(here)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return roots.read(here)


def _fill(making: Path, recipe: Recipe, mirror: str, say: Callable[[str], None]) -> None:
    new = making / "new"
    files = new / FILES
    files.mkdir(parents=True)
    say(f"fetching Debian's packages for {recipe.debian}")
    packages = debian.install(recipe, mirror, files, making)
    say(f"fetching wheels for {recipe.arch}")
    wheels.install(recipe, files)
    for link, to in recipe.alternatives:
        (files / link).symlink_to(to)
    say("running Python, numpy and the engine in it")
    versions = _prove(recipe, files, making)
    record = {
        "arch": recipe.arch,
        "recipe": recipe.digest,
        "suite": SUITE,
        "versions": versions,
        "packages": packages,
        "files": roots.listing(files),
    }
    (new / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _prove(recipe: Recipe, files: Path, making: Path) -> dict[str, str]:
    """Versions of what runs in the root, by running it."""
    name = EMULATORS[recipe.arch]
    qemu = programs.find(name)
    if qemu is None:
        raise ToolMissing(
            f"{name} is not installed", "A root is only good if it runs.", f"Install it: {programs.INSTALL}."
        )
    core = _PROVED_AS[recipe.arch]
    view = making / "view"
    view.mkdir()
    cores.lay_out(view, core, recipe.arch, files, cores.features(qemu, core, recipe.arch, files))
    words, environment = command(qemu, core, view, [str(_PROOF), recipe.engine, recipe.engine_module])
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    if ran.returncode != 0:
        raise ToolMissing(
            f"The new {recipe.arch} root does not run",
            ran.stderr.strip()[-1000:] or f"{name} ended with {ran.returncode}.",
            "Try again; where it stays like this, report it with the output of `edgec doctor`.",
        )
    versions: dict[str, Any] = json.loads(ran.stdout)
    return {key: str(value) for key, value in versions.items()}
