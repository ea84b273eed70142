"""What Linux tells of processors in /proc/cpuinfo: of this machine's, or of a board's."""

from __future__ import annotations

import re

_ARM = 0x41
_PARTS = {
    0xC05: "cortex-a5",
    0xC07: "cortex-a7",
    0xC08: "cortex-a8",
    0xC09: "cortex-a9",
    0xC0D: "cortex-a17",
    0xC0F: "cortex-a15",
    0xD01: "cortex-a32",
    0xD03: "cortex-a53",
    0xD04: "cortex-a35",
    0xD05: "cortex-a55",
    0xD07: "cortex-a57",
    0xD08: "cortex-a72",
    0xD09: "cortex-a73",
    0xD0A: "cortex-a75",
    0xD0B: "cortex-a76",
    0xD0C: "neoverse-n1",
    0xD0D: "cortex-a77",
    0xD40: "neoverse-v1",
    0xD41: "cortex-a78",
    0xD46: "cortex-a510",
    0xD47: "cortex-a710",
    0xD49: "neoverse-n2",
}
"""LLVM's names of ARM's cores by their part numbers, from the MIDR_EL1 of each core's reference manual."""

CORES = frozenset(_PARTS.values())


def names(cpuinfo: str, machine: str) -> tuple[str, ...]:
    """What each processor calls itself, with its maker's numbers: ARM's have no names, and virtual machines show some
    that say little.

    machine: the name for those that tell nothing ("aarch64").
    """
    found = [
        _name(block, machine) for block in re.split(r"\n\s*\n", cpuinfo) if re.search(r"^processor\s*:", block, re.M)
    ]
    return tuple(found) or (machine,)


def _name(block: str, machine: str) -> str:
    lines = [line.partition(":") for line in block.splitlines()]
    said = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    numbers = [f"{key} {said[key]}" for key in ("cpu family", "model", "CPU implementer", "CPU part") if key in said]
    return ", ".join([said.get("model name", machine), *numbers])


def core_of(name: str) -> str:
    """LLVM's name of the core that a processor called so has; "" for one that is not an ARM core of this list."""
    found = re.search(r"CPU implementer (0x[0-9a-f]+), CPU part (0x[0-9a-f]+)", name)
    return _PARTS.get(int(found[2], 16), "") if found and int(found[1], 16) == _ARM else ""
