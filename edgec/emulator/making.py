"""Making a root: Debian's packages and wheels, unpacked without privileges, and proved by running them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgec.emulator import cores, debian, roots, wheels
from edgec.emulator import qemu as programs
from edgec.emulator.fetching import DISK_FULL, disk_full_error
from edgec.emulator.machine import command
from edgec.emulator.recipe import EMPTY, RECIPES, SUITE, Recipe
from edgec.emulator.roots import FILES, RECORD, Root
from edgec.errors import OutputError, ToolMissing, as_edgec_errors
from edgec.store import cache_folder
from edgec.targets import EMULATORS

_PROOF = Path(__file__).with_name("proof.py")
_PROVED_AS = {"aarch64": "cortex-a53", "armv7l": "cortex-a7"}
"""The simplest core of each architecture: what runs on it runs on all."""

_PROOF_SECONDS = 900.0


def make(arch: str, mirror: str = "", *, force: bool = False, say: Callable[[str], None] = lambda text: None) -> Root:
    """The root for `arch`; made if it is not there, or anyhow with `force`.

    mirror: of Debian; "" takes the one that this machine uses. say: hears what is being done.

    A killed call leaves nothing that would be taken for a root. Of two calls at once, the second waits for the first.

    Raises UsageError for a mirror that is none, and for a folder that an emulated Python can't be told; ToolMissing
    when a tool, the network or a permission is missing, or a root is there and broken; OutputError when the disk is
    full or the folder can't be written.
    """
    recipe = RECIPES[arch]
    if not force and (root := roots.find(arch)) is not None:
        return root
    here = roots.place(arch)
    for used in (here, cache_folder()):  # views of the root will be in edgec's cache
        cores.require_takeable(str(used))
    qemu = programs.require(EMULATORS[arch], "A root is only good if it runs.")
    with as_edgec_errors(), _locked(here):
        if not force and (root := roots.find(arch)) is not None:
            return root  # another process has made it meanwhile
        for left_behind in here.parent.glob(f".making-{here.name}-*"):
            shutil.rmtree(left_behind, ignore_errors=True)  # by a killed one: who makes a root holds the lock
        making = Path(tempfile.mkdtemp(prefix=f".making-{here.name}-", dir=here.parent))
        try:
            _fill(making, recipe, qemu, mirror, say)
            if here.exists():
                here.rename(making / "replaced")
            (making / "new").rename(here)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise disk_full_error(f"the root for {arch}") from error
            raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return roots.read(here)


@contextlib.contextmanager
def _locked(here: Path) -> Iterator[None]:
    """Held by who makes the root at `here`."""
    try:
        here.parent.mkdir(parents=True, exist_ok=True)
        lock = (here.parent / f".{here.name}.lock").open("a")
    except OSError as error:
        raise OutputError(
            f"Roots can't be made in {here.parent}",
            f"The system says: {error.strerror}.",
            "Name a folder that you own in the variable EDGEC_ROOTS_DIR.",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill(making: Path, recipe: Recipe, qemu: programs.Qemu, mirror: str, say: Callable[[str], None]) -> None:
    """Make the root in making/new; everything else in `making` is temporary."""
    new = making / "new"
    files = new / FILES
    files.mkdir(parents=True)
    say(f"fetching Debian's packages for {recipe.debian}")
    packages = debian.install(recipe, mirror, files, making)
    say(f"fetching {recipe.engine} for {recipe.arch}")
    wheels.install(recipe, files)
    for link, to in recipe.alternatives:
        (files / link).symlink_to(to)
    for name in EMPTY:
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).touch()
    say(f"running Python, numpy and {recipe.engine} in it")
    versions = _prove(recipe, qemu, files, making)
    record = {
        "arch": recipe.arch,
        "recipe": recipe.digest,
        "suite": SUITE,
        "versions": versions,
        "packages": packages,
        "files": roots.listing(files),
    }
    (new / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _prove(recipe: Recipe, qemu: programs.Qemu, files: Path, making: Path) -> dict[str, str]:
    """Versions of what runs in the root, by running it."""
    core = _PROVED_AS[recipe.arch]
    view = making / "view"
    view.mkdir()
    cores.lay_out(view, core, recipe.arch, files, cores.features(qemu, core, recipe.arch, files))
    words, environment = command(qemu, core, view, [str(_PROOF), recipe.engine, recipe.engine_module])
    try:
        ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=_PROOF_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise cores.timed_out(qemu, core, _PROOF_SECONDS) from error
    if ran.returncode != 0:
        raise ToolMissing(
            f"The new root for {recipe.arch} does not run on a {core} by {qemu.name} {qemu.version}",
            ran.stderr.strip()[-1000:] or f"Its Python ended with {ran.returncode}.",
            "Try another version of QEMU; where it stays like this, report it with the output of `edgec doctor`.",
        )
    versions: dict[str, Any] = json.loads(ran.stdout)
    return {name: str(version) for name, version in versions.items()}
