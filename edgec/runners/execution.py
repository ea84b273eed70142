"""Where a target's payload is executed during a build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgec.targets import Target

Place = Literal["native", "qemu", "none"]


@dataclass(frozen=True)
class Execution:
    """Where, and by what.

    label: "native", "qemu-aarch64:cortex-a72" or "none". version: the emulator's.
    reason: why it is not executed, in words; "" where it is.
    root: digest of the emulated device's files.
    """

    place: Place
    label: str
    version: str = ""
    root: str = ""
    reason: str = ""

    @property
    def executes(self) -> bool:
        return self.place != "none"


def choose(target: Target, against_emulation: str, emulate: bool) -> Execution:
    """This machine where it can stand in for the target, else the target's emulator, else nothing.

    against_emulation: why the backend's engine can't run under an emulator; "" where it can.
    emulate: False leaves the emulator out.

    Raises ToolMissing when the emulator is to be used and is not there, or has no root.
    """
    raise NotImplementedError
