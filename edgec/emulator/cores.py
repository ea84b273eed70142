"""What a device's system says of its core.

Engines and numerical libraries read /proc/cpuinfo and /sys to choose their kernels and to count cores. QEMU's user mode
shows them this machine's. A *view* is a folder with the root's files (linked) and with those files as a device with one
such core has them: the engine then takes the kernels of that very core, and does not stumble over an x86 machine.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgec.digest import digest_of
from edgec.emulator.qemu import Qemu
from edgec.emulator.recipe import PROGRAM
from edgec.emulator.roots import Root, setup_command
from edgec.errors import ToolMissing, UsageError, WorkerTimedOut
from edgec.store import cache_folder

_LAYOUT = 2  # of a view; counted up when it changes

_MIDR: Mapping[str, int] = {
    "cortex-a7": 0x410FC075,
    "cortex-a8": 0x410FC080,
    "cortex-a9": 0x410FC090,
    "cortex-a15": 0x414FC0F0,
    "cortex-a35": 0x411FD040,
    "cortex-a53": 0x410FD034,
    "cortex-a55": 0x412FD050,
    "cortex-a57": 0x411FD070,
    "cortex-a72": 0x410FD083,
    "cortex-a76": 0x414FD0B1,
    "cortex-a710": 0x412FD471,
    "neoverse-n1": 0x414FD0C1,
    "neoverse-n2": 0x410FD493,
    "neoverse-v1": 0x411FD402,
    "a64fx": 0x461F0010,
}
"""Main ID Register of each core, in the revision that QEMU is. Implementer (bits 31:24) and part (15:4) are those of
the core's technical reference manual, "Main ID Register"; the layout is in the Arm Architecture Reference Manual,
MIDR_EL1 and MIDR."""

_HWCAPS: Mapping[str, tuple[str, str]] = {
    "aarch64": (
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 "
        "sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg",
        "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm "
        "bf16 dgh rng bti mte",
    ),
    "armv7l": (
        "swp half thumb 26bit fastmult fpa vfp edsp java iwmmxt crunch thumbee neon vfpv3 vfpv3d16 tls vfpv4 idiva "
        "idivt vfpd32 lpae evtstrm fphp asimdhp asimddp asimdfhm asimdbf16 i8mm",
        "aes pmull sha1 sha2 crc32 sb ssbs",
    ),
}
"""Names of the bits of AT_HWCAP and AT_HWCAP2, from the lowest, as /proc/cpuinfo has them (Linux, cpuinfo.c and
setup.c of the two architectures)."""

_SYSTEM: Mapping[str, str] = {
    **dict.fromkeys(("online", "possible", "present"), "0\n"),
    "kernel_max": "0\n",
    "cpu0/topology/physical_package_id": "0\n",
    "cpu0/topology/core_id": "0\n",
    **{
        f"cpu0/topology/{name}": "0\n"
        for name in ("cluster_cpus_list", "core_cpus_list", "core_siblings_list", "package_cpus_list")
    },
    **dict.fromkeys(("cpu0/cpufreq/cpuinfo_max_freq", "cpu0/cpufreq/cpuinfo_min_freq"), "1000000\n"),
    **{
        f"cpu0/cache/index{index}/{name}": ""
        for index in range(4)
        for name in ("level", "shared_cpu_list", "size", "type")
    },
}
"""Files of /sys/devices/system/cpu that engines read: one CPU, by itself. Of its caches it tells nothing (an empty file
hides this machine's), so the engine goes by the core. The frequency (kHz) decides nothing with one CPU."""

_SECONDS = 300.0  # a Python that does nothing takes less than one
_SHOWN = 6  # lines of what a Python that can't start has to say

_AT_HWCAP, _AT_HWCAP2 = 16, 26  # getauxval(3)


def view(qemu: Qemu, core: str, root: Root) -> Path:
    """The view of `root` on a device with one `core`; made when it is not there."""
    key = digest_of([_LAYOUT, core, qemu.name, qemu.version, str(root.path), root.digest])[:16]
    place = cache_folder() / "emulator" / "views" / f"{core}-{key}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
        try:
            lay_out(making, core, root.arch, root.path, features(qemu, core, root.arch, root.path))
            making.rename(place)
        except OSError:
            if not place.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return place


def lay_out(folder: Path, core: str, arch: str, files: Path, names: list[str]) -> None:
    """Fill the empty `folder` with the view of a root's `files`. names: the core's features."""
    for path in files.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "proc").mkdir()
    (folder / "proc" / "cpuinfo").write_text(cpuinfo(core, arch, names), encoding="ascii")
    cpus = folder / "sys" / "devices" / "system" / "cpu"
    for name, content in _SYSTEM.items():
        path = cpus / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")


def cpuinfo(core: str, arch: str, names: list[str]) -> str:
    """/proc/cpuinfo of a device with one `core`; a core that is not known by its number has none there."""
    lines = ["processor\t: 0", f"Features\t: {' '.join(names)}"]
    if (midr := _MIDR.get(core)) is not None:
        lines += [
            f"CPU implementer\t: {midr >> 24:#04x}",
            f"CPU architecture: {8 if arch == 'aarch64' else 7}",
            f"CPU variant\t: {midr >> 20 & 0xF:#x}",
            f"CPU part\t: {midr >> 4 & 0xFFF:#05x}",
            f"CPU revision\t: {midr & 0xF}",
        ]
    return "\n".join(lines) + "\n\n"


def require_takeable(path: str) -> None:
    """Raises UsageError for a path that an emulated Python can't be told."""
    if os.pathsep in path:
        raise UsageError(
            f"{path!r} can't be used by an emulated Python",
            f"It separates paths by {os.pathsep!r}.",
            "Choose a folder without that character (EDGEC_CACHE_DIR, EDGEC_ROOTS_DIR, TMPDIR).",
        )


def features(qemu: Qemu, core: str, arch: str, files: Path) -> list[str]:
    """Instruction-set features of an emulated core, by their names in /proc/cpuinfo: what its auxiliary vector says."""
    code = "import sys; sys.stdout.buffer.write(open('/proc/self/auxv', 'rb').read())"
    command = [str(qemu.program), "-cpu", core, "-L", str(files), str(files / PROGRAM), "-I", "-S", "-B", "-c", code]
    require_takeable(str(files))
    try:
        ran = subprocess.run(command, capture_output=True, env={"PYTHONHOME": str(files / "usr")}, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise timed_out(qemu, core, _SECONDS) from error
    if ran.returncode != 0:
        raise ToolMissing(
            f"{qemu.name} {qemu.version} can't run the root's Python as a {core}",
            "\n".join(ran.stderr.decode(errors="replace").split("\n")[-_SHOWN:]).strip()
            or f"It ended with {ran.returncode}.",
            f"Make the root anew with `{setup_command(arch, '--force')}`, or install another version of QEMU.",
        )
    word = "<QQ" if arch == "aarch64" else "<II"
    entries = dict(
        struct.iter_unpack(word, ran.stdout[: len(ran.stdout) // struct.calcsize(word) * struct.calcsize(word)])
    )
    return [
        name
        for names, entry in zip(_HWCAPS[arch], (_AT_HWCAP, _AT_HWCAP2), strict=True)
        for bit, name in enumerate(names.split())
        if entries.get(entry, 0) >> bit & 1
    ]


def timed_out(qemu: Qemu, core: str, seconds: float) -> WorkerTimedOut:
    """For a Python that hangs on an emulated core."""
    return WorkerTimedOut(
        f"Python on an emulated {core} did not finish within {seconds:.0f} seconds",
        f"It ran in {qemu.name} {qemu.version}.",
        "Try again when the machine has less to do, or with another version of QEMU.",
    )
