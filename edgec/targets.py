"""Targets: what a device can do, read from one TOML file each."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgec import resources
from edgec.backends import BACKENDS
from edgec.errors import UsageError
from edgec.runtime.device import cpu_features
from edgec.spec import check_name
from edgec.toml_schema import Table, did_you_mean

ARCHITECTURES = ("x86_64", "aarch64", "armv7l")

EMULATORS = {"aarch64": "qemu-aarch64", "armv7l": "qemu-arm"}
"""The emulator of each architecture that one can stand in for."""

_TRIPLES = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu", "armv7l": "arm-linux-gnueabihf"}

X86_FEATURES = ("sse4_2", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "amx_int8")
"""The x86 features that decide how INT8 is computed, by their names in /proc/cpuinfo."""


ACCELERATORS = {"edgetpu": "Edge TPU"}
"""What people call them."""


@dataclass(frozen=True)
class Accelerator:
    """A chip beside the CPU.

    name: one of ACCELERATORS. runtime: the lowest version of its runtime that the device may have.
    """

    name: str
    runtime: int

    @property
    def title(self) -> str:
        return ACCELERATORS[self.name]


@dataclass(frozen=True)
class Emulator:
    """What stands in for the device during a build.

    qemu: the user-mode emulator's name ("qemu-aarch64"). cpu: the core that it is to be, by the emulator's own name.
    """

    qemu: str
    cpu: str


@dataclass(frozen=True)
class Target:
    """A device.

    features: instruction-set features that the artifact may rely on, by their names in /proc/cpuinfo.
    threads: what the device's runtime should use; 0 leaves it to the engine.
    backends: in the order of preference.
    triple: for compilers: "aarch64-linux-gnu". cpu: the core, by LLVM's name; "" where any of the architecture may do.
    min_glibc: the oldest C library that a device may have; "" where nothing is promised.
    memory_mib: what the device has; 0 where it is not known.
    emulator: None where nothing can stand in for the device.
    """

    name: str
    title: str
    arch: str
    features: tuple[str, ...]
    threads: int
    backends: tuple[str, ...]
    accelerator: Accelerator | None = None
    triple: str = ""
    cpu: str = ""
    min_glibc: str = ""
    memory_mib: int = 0
    emulator: Emulator | None = None

    @property
    def saturates_int8_products(self) -> bool:
        """Whether sums of two uint8*int8 products saturate at 16 bits (VPMADDUBSW: x86 without VNNI).

        Weights then keep to [-64, 63], so that no pair of products can exceed 32767.
        """
        return self.arch == "x86_64" and not {"avx_vnni", "avx512_vnni"} & set(self.features)


@cache
def host_features() -> tuple[str, ...]:
    """Which of the features that matter this machine has."""
    features = cpu_features() or frozenset()
    return tuple(sorted(features & set(X86_FEATURES) if platform.machine() == "x86_64" else features))


def load_target(name: str) -> Target:
    """The target called `name`, or described by the TOML file at the path `name`.

    Raises UsageError for an unknown name (with the closest known one) or a file that does not describe a target.
    """
    path = resources.find("targets", name)
    if path is None:
        known = resources.declared("targets")
        raise UsageError(
            f"There is no target called {name!r}.{did_you_mean(name, known)}",
            f"Known targets: {', '.join(sorted(known))}.",
            "Choose one of them, or describe your device in targets/NAME.toml (see docs/targets.md).",
        )
    return _read(path)


def _read(path: Path) -> Target:
    table = Table.read(path)
    arch = table.get("arch", str, choices=("host", *ARCHITECTURES))
    features = table.list_of("features", str, ())
    if arch == "host":
        arch = platform.machine()
        features = host_features()
    target = Target(
        name=table.get("name", str),
        title=table.get("title", str),
        arch=arch,
        features=features,
        threads=table.get("threads", int, 0),
        backends=table.list_of("backends", str),
        accelerator=_accelerator(table.table("accelerator")),
        triple=table.get("triple", str, _TRIPLES.get(arch, "")),
        cpu=table.get("cpu", str, ""),
        min_glibc=table.get("min_glibc", str, ""),
        memory_mib=table.get("memory_mib", int, 0),
        emulator=_emulator(table.table("emulator"), arch),
    )
    table.done()
    check_name(target.name, "a target", f"Change it in {path}.")
    if not target.backends:
        raise table.error("backends is empty", "List at least one backend.", "backends")
    for backend in target.backends:
        if backend not in BACKENDS:
            fix = f"The backends are: {', '.join(BACKENDS)}.{did_you_mean(backend, BACKENDS)}"
            raise table.error(f"the backend {backend!r} is not known", fix, "backends")
    for feature in target.features if target.arch == "x86_64" else ():
        if feature not in X86_FEATURES:
            fix = f"Features that decide something: {', '.join(X86_FEATURES)}.{did_you_mean(feature, X86_FEATURES)}"
            raise table.error(f"the feature {feature!r} is not known", fix, "features")
    return target


def _emulator(table: Table | None, arch: str) -> Emulator | None:
    if table is None:
        return None
    if arch not in EMULATORS:
        raise table.error(f"there is an [emulator] for {arch}", "Only ARM targets are emulated: remove that table.")
    found = Emulator(qemu=table.get("qemu", str, choices=(EMULATORS[arch],)), cpu=table.get("cpu", str))
    table.done()
    if found.cpu == "max":
        fix = "Name the core that the device has: `max` has instructions that no device has all of."
        raise table.error("emulator.cpu is 'max'", fix, "cpu")
    return found


def _accelerator(table: Table | None) -> Accelerator | None:
    if table is None:
        return None
    found = Accelerator(
        name=table.get("name", str, choices=tuple(ACCELERATORS)),
        runtime=table.get("min_runtime_version", int),
    )
    table.done()
    if found.runtime < 1:
        raise table.error("min_runtime_version is not positive", "Versions are counted from 1.", "min_runtime_version")
    return found
