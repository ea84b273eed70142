"""What this machine is, and whether it can run an artifact."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import DeviceUnfit

_AT_HWCAP, _AT_HWCAP2 = 16, 26  # getauxval(3)

ARM_FEATURES: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "aarch64": {
        "fp": (_AT_HWCAP, 1 << 0),
        "asimd": (_AT_HWCAP, 1 << 1),
        "aes": (_AT_HWCAP, 1 << 3),
        "pmull": (_AT_HWCAP, 1 << 4),
        "sha1": (_AT_HWCAP, 1 << 5),
        "sha2": (_AT_HWCAP, 1 << 6),
        "crc32": (_AT_HWCAP, 1 << 7),
        "atomics": (_AT_HWCAP, 1 << 8),
        "fphp": (_AT_HWCAP, 1 << 9),
        "asimdhp": (_AT_HWCAP, 1 << 10),
        "asimdrdm": (_AT_HWCAP, 1 << 12),
        "jscvt": (_AT_HWCAP, 1 << 13),
        "fcma": (_AT_HWCAP, 1 << 14),
        "lrcpc": (_AT_HWCAP, 1 << 15),
        "sha3": (_AT_HWCAP, 1 << 17),
        "asimddp": (_AT_HWCAP, 1 << 20),
        "sha512": (_AT_HWCAP, 1 << 21),
        "sve": (_AT_HWCAP, 1 << 22),
        "asimdfhm": (_AT_HWCAP, 1 << 23),
        "ilrcpc": (_AT_HWCAP, 1 << 26),
        "sve2": (_AT_HWCAP2, 1 << 1),
        "i8mm": (_AT_HWCAP2, 1 << 13),
        "bf16": (_AT_HWCAP2, 1 << 14),
        "sme": (_AT_HWCAP2, 1 << 23),
    },
    "armv7l": {
        "neon": (_AT_HWCAP, 1 << 12),
        "vfpv3": (_AT_HWCAP, 1 << 13),
        "vfpv4": (_AT_HWCAP, 1 << 16),
        "idiva": (_AT_HWCAP, 1 << 17),
        "idivt": (_AT_HWCAP, 1 << 18),
        "vfpd32": (_AT_HWCAP, 1 << 19),
    },
}
"""Features by (auxiliary vector entry, bit), from Linux's arch/{arm64,arm}/include/uapi/asm/hwcap.h; the names are
those of /proc/cpuinfo. An emulated CPU shows its own bits there, while /proc/cpuinfo may be that of the
machine around it."""

_SAME_ARCH = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l"}
"""Other names of the same thing; armv8l is a 64-bit ARM core that runs a 32-bit system."""

_IN_32_BITS = {"aarch64": "armv7l", "x86_64": "i686"}
"""What a 32-bit process is on these."""

_CPUINFO = Path("/proc/cpuinfo")


def architecture() -> str:
    """ "x86_64", "aarch64", "armv7l", or what the system calls itself.

    A 64-bit ARM kernel that runs a 32-bit system (the usual one on Raspberry Pis) calls the machine aarch64 all the
    same: what counts is what this process is.
    """
    return architecture_of(platform.machine(), sys.maxsize < 1 << 32)


def architecture_of(machine: str, in_32_bits: bool) -> str:
    """The architecture of programs of 32 or 64 bits on what its kernel calls `machine`."""
    here = _SAME_ARCH.get(machine.lower(), machine.lower())
    return _IN_32_BITS.get(here, here) if in_32_bits else here


def cpu_features() -> frozenset[str] | None:
    """Instruction-set features, by their names in /proc/cpuinfo; None where the system does not tell."""
    here = architecture()
    if here in ARM_FEATURES:
        return _of_auxiliary_vector(ARM_FEATURES[here]) or _of_cpuinfo(here)
    return _of_cpuinfo(here)


def _of_auxiliary_vector(bits: Mapping[str, tuple[int, int]]) -> frozenset[str] | None:
    """What the kernel told this process when it started; None where that can't be read."""
    try:
        import ctypes  # some builds of Python have none

        getauxval = ctypes.CDLL(None).getauxval
    except (ImportError, OSError, AttributeError):
        return None
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return frozenset(name for name, (entry, bit) in bits.items() if getauxval(entry) & bit)


def _of_cpuinfo(here: str) -> frozenset[str] | None:
    try:
        return features_in(_CPUINFO.read_text(encoding="ascii", errors="replace"), here)
    except OSError:
        return None


def features_in(cpuinfo: str, arch: str) -> frozenset[str] | None:
    """The features that the text of /proc/cpuinfo names of a machine of `arch`; None where it names none."""
    key = "Features" if arch in ARM_FEATURES else "flags"
    for line in cpuinfo.splitlines():
        title, _, value = line.partition(":")
        if title.strip() == key:
            names = frozenset(value.split())
            # A 64-bit kernel may list what 64-bit programs have: nothing that a 32-bit one could compare itself with.
            return None if arch == "armv7l" and "asimd" in names else names
    return None


def glibc() -> tuple[int, ...] | None:
    """The C library's version, (2, 36); None where it is another one (musl), or does not tell."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        return tuple(map(int, version.split("."))) if name == "glibc" else None
    except (AttributeError, ValueError, OSError):
        return None


def check_device(manifest: Mapping[str, Any]) -> list[str]:
    """Whether this machine can run the artifact; returns what could not be checked. Loads nothing.

    Raises DeviceUnfit for another architecture, or when the CPU lacks a feature that the artifact relies on, or when
    the C library is too old: better now than an illegal instruction or a missing symbol later.
    """
    here = architecture()
    if here != manifest["arch"]:
        emulated = ""
        if manifest["arch"] in ARM_FEATURES:
            emulated = f", or emulated where edgec is: edgec emulator run {manifest['target']} FILE.edgec selftest"
        raise DeviceUnfit(
            f"This artifact is for {manifest['arch']}, and this machine is {here}",
            f"It was built for the target {manifest['target']!r}.",
            "For this machine, build it for a target of its architecture (`edgec targets` lists them). "
            f"This one runs on its device{emulated}.",
        )
    return [*_check_features(manifest), *_check_glibc(manifest)]


def _check_features(manifest: Mapping[str, Any]) -> Iterable[str]:
    needed: Iterable[str] = manifest["cpu_features"]
    present = cpu_features()
    if present is None:
        return ["This system does not tell which CPU features it has, so it is not known whether all needed are there."]
    if missing := sorted(set(needed) - present):
        raise DeviceUnfit(
            f"This CPU lacks what the artifact relies on: {', '.join(missing)}",
            f"It was built for the target {manifest['target']!r}, whose CPU has {', '.join(sorted(needed))}.",
            "Build it for a target that this CPU satisfies (`edgec targets` lists them).",
        )
    return []


def _check_glibc(manifest: Mapping[str, Any]) -> Iterable[str]:
    """Only an artifact with machine code of its own asks for a version: what its engine needs, the engine says."""
    least = manifest.get("min_glibc")
    if least is None:
        return []
    here = glibc()
    if here is None:
        return [f"The artifact needs glibc {least}, and this system's C library does not say which version it is."]
    if here < tuple(map(int, least.split("."))):
        raise DeviceUnfit(
            f"This system has glibc {'.'.join(map(str, here))}, and the artifact needs {least}",
            "Its machine code calls functions that an older C library does not have.",
            "Use a newer system on the device, or build for a target whose min_glibc is this system's.",
        )
    return []
