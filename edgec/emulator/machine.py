"""An emulated device that runs Python programs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.emulator import cores, roots
from edgec.emulator import qemu as programs
from edgec.emulator.qemu import Qemu
from edgec.emulator.recipe import PROGRAM
from edgec.emulator.roots import Root
from edgec.errors import ToolMissing
from edgec.targets import Target

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # emulated threads wait for each other


@dataclass(frozen=True)
class Machine:
    """A core and a root."""

    qemu: Qemu
    core: str
    root: Root

    @classmethod
    def of(cls, target: Target) -> Machine:
        """The machine that stands in for `target`, which has an emulator.

        Raises ToolMissing when QEMU, the core or the root is not there, with the command that helps.
        """
        assert target.emulator is not None
        core = target.emulator.cpu
        why = f"The artifact for {target.name} is run on an emulated {core} during the build."
        qemu = programs.require(target.emulator.qemu, why)
        qemu.require_core(core)
        root = roots.find(target.arch)
        if root is None:
            raise ToolMissing(
                f"There is no {target.arch} root to run {target.name}'s artifact in",
                f"Its emulator needs a folder with Python, numpy and an engine for {target.arch}, in {roots.folder()}.",
                f"Make it with `{roots.setup_command(target.arch)}`, or build with --no-emulate: "
                "the artifact is then not executed.",
            )
        return cls(qemu, core, root)

    @property
    def label(self) -> str:
        """ "qemu-aarch64:cortex-a72"."""
        return f"{self.qemu.name}:{self.core}"

    def python(self, arguments: Sequence[str], path: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
        """The command that runs the root's Python with `arguments`, and its whole environment.

        path: folders or zip files of this machine that the program may import from, before the root's own.
        """
        return command(self.qemu, self.core, cores.view(self.qemu, self.core, self.root), arguments, path)


def command(
    qemu: Qemu, core: str, view: Path, arguments: Sequence[str], path: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """As `Machine.python`, in `view`."""
    for place in (str(view), *path):
        cores.require_takeable(place)
    environment = {"PYTHONHOME": str(view / "usr"), **_ONE_THREAD}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(path)
    if scratch := os.environ.get("TMPDIR"):
        environment["TMPDIR"] = scratch
    return [str(qemu.program), "-cpu", core, "-L", str(view), str(view / PROGRAM), "-s", "-B", *arguments], environment
