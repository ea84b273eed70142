"""An artifact's own commands (`selftest`, `run` and the others) on an emulated device."""

from __future__ import annotations

import resource
import signal
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

from edgec.emulator.machine import Machine
from edgec.errors import ArtifactError, DeviceError, UsageError, WorkerCrashed


def run(machine: Machine, artifact: Path, arguments: Sequence[str]) -> int:
    """Run `python3 ARTIFACT ARGUMENTS...` on `machine`, on this process's streams; its exit code.

    Raises UsageError for a file that is not there, and for `bench`; ArtifactError for one that Python can't run;
    DeviceError when the core lacks an instruction that is used; WorkerCrashed when the engine ends by another signal.
    """
    if not artifact.is_file():
        raise UsageError(f"There is no artifact {artifact}", "It is what `edgec build` writes.", "Check the path.")
    if not _is_program(artifact):
        raise ArtifactError(
            f"{artifact} is not an artifact, or only the beginning of one",
            "An artifact is a zip file, and its list of contents is at its end.",
            "Copy it again, and compare its SHA-256 with the one that the build showed.",
        )
    if "bench" in arguments[:1]:
        raise UsageError(
            "An emulated device is not timed",
            f"A program on an emulated {machine.core} takes many times as long as on a real one, and not in "
            "proportion: its times say nothing about the device.",
            f"Run it on the device: python3 {artifact.name} bench. What it executes here is counted by "
            f"`edgec bench --emulate {artifact.name}`.",
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


def _is_program(artifact: Path) -> bool:
    """Whether Python can run the file. Of one that is cut short it says less than helps."""
    try:
        with zipfile.ZipFile(artifact) as archive:
            return "__main__.py" in archive.namelist()
    except (zipfile.BadZipFile, ValueError):
        return False


def _no_core_dump() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # QEMU writes one of its own into the working directory
