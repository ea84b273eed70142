"""Where a target's payload is executed during a build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgec.errors import ToolMissing
from edgec.runners import native
from edgec.targets import Target

if TYPE_CHECKING:
    from edgec.emulator.machine import Machine

Place = Literal["native", "qemu", "none"]


@dataclass(frozen=True)
class Execution:
    """Where, and by what. Part of what a result is kept under, so it names no place on this machine.

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

    @property
    def emulator(self) -> dict[str, str] | None:
        """The emulated device, as parity.json tells of it; None where there is none."""
        if self.place != "qemu":
            return None
        name, _, core = self.label.partition(":")
        return {"name": name, "version": self.version, "core": core, "root": self.root}


NATIVE = Execution("native", "native")


def choose(target: Target, against_emulation: str, emulate: bool) -> Execution:
    """This machine where it can stand in for the target, else the target's emulator, else nothing.

    An ARM machine whose engines would take kernels that the target never runs stands in only without an emulator.

    against_emulation: why the backend's engine can't run under an emulator; "" where it can.
    emulate: False leaves the emulator out.

    Raises ToolMissing when the emulator is to be used and is not there, or has no root.
    """
    suitable = native.suitability(target)
    emulates = emulate and target.emulator is not None and not against_emulation
    if suitable.runs and not (suitable.other_kernels and emulates):
        return NATIVE
    if target.emulator is None:
        return _nowhere(suitable.reason)
    if against_emulation:
        return _nowhere(f"{suitable.reason}; {against_emulation}")
    if not emulate:
        return _nowhere(f"{suitable.reason}, and --no-emulate leaves out its emulator")
    return _on(_machine(target))


def machine_of(target: Target, execution: Execution) -> Machine | None:
    """The emulated device that `execution` means; None where it means none.

    Raises ToolMissing when it is not there any more, or is another one by now: no result is to be kept under the name
    of a device that did not give it.
    """
    if execution.place != "qemu":
        return None
    machine = _machine(target)
    if (now := _on(machine)) != execution:
        raise ToolMissing(
            f"The emulated device for {target.name} changed while the build ran",
            f"It began with {_identity(execution)}, and this is {_identity(now)}.",
            "Build again.",
        )
    return machine


def described(parity: Mapping[str, Any]) -> str:
    """Where the payload was executed, as the document parity.json tells of it, in words for people."""
    if parity["runner"] == "none":
        return f"not executed: {parity['not_executed']}"
    count = int(parity["executed_samples"])
    samples = f"{count} sample{'' if count == 1 else 's'}"
    emulator = parity["emulator"]
    text = f"this machine, {samples}"
    if emulator is not None:
        text = (
            f"{emulator['name']} {emulator['version']} as {emulator['core']}, {samples}; "
            "emulated: says nothing about speed"
        )
    idle = parity["idle_accelerator"]
    return f"{text}; the {idle} did not run" if idle else text


def _machine(target: Target) -> Machine:
    from edgec.emulator.machine import Machine  # not needed by a build for this machine

    return Machine.of(target)


def _on(machine: Machine) -> Execution:
    return Execution("qemu", machine.label, machine.qemu.version, machine.root.digest)


def _nowhere(reason: str) -> Execution:
    return Execution("none", "none", reason=reason)


def _identity(execution: Execution) -> str:
    return f"{execution.label}, version {execution.version}, root {execution.root[:12]}"
