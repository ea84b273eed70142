"""An artifact's own commands (`selftest`, `run` and the others) on an emulated device."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgec.emulator.machine import Machine
from edgec.errors import DeviceError, UsageError, WorkerCrashed


def run(machine: Machine, artifact: Path, arguments: Sequence[str]) -> int:
    """Run `python3 ARTIFACT ARGUMENTS...` on `machine`, on this process's streams; its exit code.

    Raises UsageError for a file that is not there, and for `bench`; DeviceError when the core lacks an instruction that
    is used; WorkerCrashed when the engine ends by another signal.
    """
    if not artifact.is_file():
        raise UsageError(f"There is no artifact {artifact}", "It is what `edgec build` writes.", "Check the path.")
    if "bench" in arguments[:1]:
        raise UsageError(
            "An emulated device is not timed",
            f"A program on an emulated {machine.core} takes many times as long as on a real one, and not in "
            "proportion: its times say nothing about the device.",
            f"Run it on the device: python3 {artifact.name} bench.",
        )
    command, environment = machine.python([str(artifact.absolute()), *arguments])
    code = subprocess.run(command, env=environment, preexec_fn=_no_core_dump).returncode
    if code == -signal.SIGILL:
        raise DeviceError(
            f"The artifact ended with an illegal instruction: it uses something that {machine.core} lacks",
            f"{machine.qemu.name} {machine.qemu.version} has that core's instructions and no others.",
            "Build it for a target with the features of this core (`edgec targets` lists them).",
        )
    if code < 0:
        raise WorkerCrashed(
            f"The artifact was ended by {signal.strsignal(-code)} (signal {-code})",
            f"It ran on an emulated {machine.core} ({machine.qemu.name} {machine.qemu.version}).",
            "`edgec emulator list --verify` tells whether the root is whole; else report it with the artifact.",
        )
    return code


def _no_core_dump() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # QEMU writes one of its own into the working directory
