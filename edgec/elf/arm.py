"""What a 32-bit ARM file says that it needs: its build attributes.

Source: Addenda to, and Errata in, the ABI for the Arm Architecture (IHI 0045), section "Build attributes". The tools
that compile and link write them; instructions are not looked at, because A32 and T32 share a file and a table.
"""

from __future__ import annotations

from collections.abc import Mapping

MOST = 10
"""Tag_CPU_arch of ARMv7; larger values are of ARMv8, or of microcontrollers."""

_FP = {
    3: ("vfpd32",),  # VFPv3; with 16 registers (4), it is what the hard-float ABI takes for granted
    5: ("vfpd32", "vfpv4"),
    6: ("vfpv4",),
    7: ("fp-armv8",),
    8: ("fp-armv8",),
}
"""Value of Tag_FP_arch to features."""

_SIMD = {1: ("neon",), 2: ("neon", "vfpv4"), 3: ("neon-armv8",), 4: ("neon-armv8",)}
"""Value of Tag_Advanced_SIMD_arch to features. Who has NEON has 32 registers."""

_DIVIDES = 2  # Tag_DIV_use: uses the instructions, where 0 and 1 leave it to the architecture


def features(attributes: Mapping[str, int]) -> set[str]:
    """Features by their names in /proc/cpuinfo; "fp-armv8" and "neon-armv8" are of none that ARMv7 has.

    attributes: by pyelftools' names, such as "TAG_FP_ARCH".
    """
    needed = {
        *_SIMD.get(attributes.get("TAG_ADVANCED_SIMD_ARCH", 0), ()),
        *_FP.get(attributes.get("TAG_FP_ARCH", 0), ()),
    }
    if attributes.get("TAG_DIV_USE") == _DIVIDES:
        needed.add("idiva")
    return needed - {"vfpd32"} if "neon" in needed else needed


def passes_floats_in_registers(attributes: Mapping[str, int]) -> bool:
    """Whether the file was made for the hard-float ABI (Tag_ABI_VFP_args)."""
    return attributes.get("TAG_ABI_VFP_ARGS") == 1
