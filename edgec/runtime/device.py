"""What this machine is, and whether it can run an artifact."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import DeviceUnfit

_AT_HWCAP, _AT_HWCAP2 = 16, 26  # getauxval(3)

_ARM_FEATURES: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "aarch64": {
        "asimd": (_AT_HWCAP, 1 << 1),
        "neon": (_AT_HWCAP, 1 << 1),  # the name that people know; the kernel says asimd
        "fphp": (_AT_HWCAP, 1 << 9),
        "asimdhp": (_AT_HWCAP, 1 << 10),
        "asimddp": (_AT_HWCAP, 1 << 20),
        "sve": (_AT_HWCAP, 1 << 22),
        "sve2": (_AT_HWCAP2, 1 << 1),
        "i8mm": (_AT_HWCAP2, 1 << 13),
        "bf16": (_AT_HWCAP2, 1 << 14),
    },
    "armv7l": {
        "neon": (_AT_HWCAP, 1 << 12),
        "vfpv3": (_AT_HWCAP, 1 << 13),
        "vfpv4": (_AT_HWCAP, 1 << 16),
    },
}
"""Features by (auxiliary vector entry, bit), from the kernel's hwcap.h. An emulated CPU shows its own bits there, while
/proc/cpuinfo would show those of the machine that emulates it."""

_SAME_ARCH = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l"}
"""Other names of the same thing; armv8l is a 64-bit ARM core that runs a 32-bit system."""


def architecture() -> str:
    """ "x86_64", "aarch64", "armv7l", or what the system calls itself."""
    machine = platform.machine().lower()
    return _SAME_ARCH.get(machine, machine)


def cpu_features() -> frozenset[str] | None:
    """Instruction-set features, by their names in /proc/cpuinfo; None where the system does not tell."""
    bits = _ARM_FEATURES.get(architecture())
    if bits is not None:
        try:
            getauxval = ctypes.CDLL(None).getauxval
        except (OSError, AttributeError):
            return None
        getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
        return frozenset(name for name, (entry, bit) in bits.items() if getauxval(entry) & bit)
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return frozenset(value.split())
    return None


def check_device(manifest: Mapping[str, Any]) -> list[str]:
    """Whether this machine can run the artifact; returns what could not be checked.

    Raises DeviceUnfit for another architecture, or when the CPU lacks a feature that the artifact relies on: better
    now than an illegal instruction later.
    """
    here = architecture()
    if here != manifest["arch"]:
        raise DeviceUnfit(
            f"This artifact is for {manifest['arch']}, and this machine is {here}",
            f"It was built for the target {manifest['target']!r}.",
            "Build it for a target of this machine's architecture (`edgec targets` lists them).",
        )
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
