"""What there is of emulators and roots, and what is missing: for `edgec emulator list` and `edgec doctor`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgec import resources
from edgec.emulator import debian, roots
from edgec.emulator import qemu as programs
from edgec.emulator.recipe import RECIPES
from edgec.emulator.roots import Root
from edgec.errors import ToolMissing, UsageError
from edgec.targets import EMULATORS, load_target

State = Literal["ready", "missing", "broken"]


@dataclass(frozen=True)
class Architecture:
    """One architecture that can be emulated.

    qemu: the emulator's name; version: its version, None where it is not installed or does not run.
    state: of the root. root: None unless it is ready. cores: of each target that it serves, by the target's name.
    faults: what is wrong, and what to do about it. counter: the QEMU that counts instructions, None where none can.
    """

    arch: str
    qemu: str
    version: str | None
    state: State
    path: Path
    root: Root | None
    cores: Mapping[str, str]
    faults: tuple[tuple[str, str], ...] = field(default=())
    counter: Path | None = None

    def to_json(self) -> dict[str, Any]:
        root = self.root
        return {
            "arch": self.arch,
            "qemu": self.qemu,
            "qemu_version": self.version,
            "counter": str(self.counter) if self.counter else None,
            "state": self.state,
            "path": str(self.path),
            "bytes": root.bytes if root else None,
            "digest": root.digest if root else None,
            "versions": dict(root.versions) if root else {},
            "packages": dict(root.packages) if root else {},
            "targets": dict(self.cores),
            "faults": [{"why": why, "fix": fix} for why, fix in self.faults],
        }


def examine(*, verify: bool = False) -> list[Architecture]:
    """Every architecture that can be emulated. verify: check the digest of every file, not only its size."""
    served = _served()
    return [_examine(arch, served.get(arch, {}), verify) for arch in RECIPES]


def superseded() -> list[Path]:
    """Roots that this edgec does not use: made by another version of it."""
    used = {roots.place(arch) for arch in RECIPES}
    return sorted(path.parent for path in roots.folder().glob(f"*/{roots.RECORD}") if path.parent not in used)


def _examine(arch: str, cores: Mapping[str, str], verify: bool) -> Architecture:
    name = EMULATORS[arch]
    faults: list[tuple[str, str]] = []
    try:
        qemu, counter = programs.find(name), programs.find_with_plugins(name)
        if qemu is None:
            faults.append((f"{name} is not installed", programs.INSTALL))
    except ToolMissing as error:
        qemu = counter = None
        faults.append((error.what, error.fix))
    here = roots.place(arch)
    root: Root | None = None
    state: State = "missing"
    if here.exists():
        try:
            root = roots.verify(here) if verify else roots.read(here)
            state = "ready"
        except ToolMissing as error:
            state = "broken"
            faults.append((f"{error.what}: {error.why}", error.fix))
    else:
        faults.append((f"There is no root for {arch}", roots.setup_command(arch)))
        if shutil.which("mmdebstrap") is None:
            faults.append(("mmdebstrap is not installed, which fetches it", debian.INSTALL))
    for target, core in cores.items():
        if qemu is not None and core not in qemu.cores:
            faults.append((f"{name} {qemu.version} can't be a {core} (for {target})", "Install a newer QEMU."))
    return Architecture(
        arch,
        name,
        qemu.version if qemu else None,
        state,
        here,
        root,
        cores,
        tuple(faults),
        counter.program if counter else None,
    )


def _served() -> dict[str, dict[str, str]]:
    """Cores of the targets that have an emulator, by architecture and name."""
    found: dict[str, dict[str, str]] = {}
    for name in sorted(resources.declared("targets")):
        try:
            target = load_target(name)
        except UsageError:
            continue
        if target.emulator is not None:
            found.setdefault(target.arch, {})[name] = target.emulator.cpu
    return found
