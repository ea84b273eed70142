"""An emulated device that runs Python programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgec.emulator import qemu as programs
from edgec.emulator import roots
from edgec.emulator.qemu import Qemu
from edgec.emulator.roots import Root
from edgec.errors import ToolMissing
from edgec.targets import Emulator, Target


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
        raise NotImplementedError

    @property
    def label(self) -> str:
        """ "qemu-aarch64:cortex-a72"."""
        return f"{self.qemu.name}:{self.core}"

    def python(self, arguments: Sequence[str], path: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
        """The command that runs the root's Python with `arguments`, and its environment.

        path: folders or zip files of this machine that the program may import from, before the root's own.
        """
        raise NotImplementedError
