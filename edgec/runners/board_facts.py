"""What a board tells of itself, and whether a target's artifacts fit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgec import processors
from edgec.runtime.device import architecture_of, features_in
from edgec.targets import Target


@dataclass(frozen=True)
class Facts:
    """What a board tells of itself.

    architecture: of its programs, as targets name it ("armv7l" for a 32-bit system on a 64-bit core).
    features: of its processor, as /proc/cpuinfo has them; None where that does not tell.
    cores: what each of its processors is called (`edgec.processors.names`), by its number; several kinds where they
        differ.
    glibc: the C library's version; "" where it is another.
    python: whether there is a python3.
    """

    architecture: str
    features: frozenset[str] | None
    cores: tuple[str, ...]
    glibc: str
    python: bool

    def unfit(self, target: Target) -> str:
        """Why this board can't run what is built for `target`, in words; "" where it can, or does not tell."""
        if self.architecture != target.arch:
            return f"it is {self.architecture}, and the target is {target.arch}"
        lacking = set(target.features) - self.features if self.features is not None else set()
        if lacking:
            return f"its CPU lacks {', '.join(sorted(lacking))}, which the target has"
        if self.glibc and target.min_glibc and _version(self.glibc) < _version(target.min_glibc):
            return f"its C library is glibc {self.glibc}, and the target promises {target.min_glibc}"
        return ""

    def processors_of(self, target: Target) -> tuple[str, tuple[int, ...]]:
        """What the processors are called that `target` means, and the numbers of those; no numbers where all are alike.

        On a board with cores of several kinds they are those of the target's core, if it has any, else the first kind.
        """
        meant = [name for name in self.cores if processors.core_of(name) == target.cpu] or list(self.cores)
        numbers = tuple(number for number, name in enumerate(self.cores) if name == meant[0])
        return meant[0], numbers if len(set(self.cores)) > 1 else ()


def facts_from(told: Mapping[str, str]) -> Facts:
    """told: what the keeper of a session (`edgec.runners.ssh`) printed, by its first words."""
    machine, cpuinfo = told["machine"], told["cpuinfo"]
    architecture = architecture_of(machine, told["bits"] == "32")
    libc, _, version = told["libc"].partition(" ")
    return Facts(
        architecture,
        features_in(cpuinfo, architecture),
        processors.names(cpuinfo, machine),
        version if libc == "glibc" else "",
        bool(told["python"]),
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
