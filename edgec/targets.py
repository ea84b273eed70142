"""Targets: what a device can do, read from one TOML file each."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgec import processors, resources
from edgec.backends import BACKENDS
from edgec.cost import read_cost
from edgec.errors import UsageError
from edgec.runtime.device import ARM_FEATURES, cpu_features
from edgec.spec import check_name
from edgec.toml_schema import Table, did_you_mean

ARCHITECTURES = ("x86_64", "aarch64", "armv7l")

EMULATORS = {"aarch64": "qemu-aarch64", "armv7l": "qemu-arm"}
"""The emulator of each architecture that one can stand in for."""

TRIPLES = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu", "armv7l": "arm-linux-gnueabihf"}
"""What compilers call each architecture, with glibc and, on 32-bit ARM, floats passed in registers."""

X86_FEATURES = ("sse4_2", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "amx_int8")
"""The x86 features that decide how INT8 is computed, by their names in /proc/cpuinfo."""

KNOWN_FEATURES = {"x86_64": X86_FEATURES, **{arch: tuple(features) for arch, features in ARM_FEATURES.items()}}
"""What a target of each architecture may name as its features."""

_OTHER_NAMES = {"aarch64": {"neon": "asimd", "dotprod": "asimddp", "fp16": "asimdhp", "lse": "atomics", "crc": "crc32"}}
"""What people and compilers call features, where that is not close to their name in /proc/cpuinfo."""

ACCELERATORS = {"edgetpu": "Edge TPU"}
"""What people call them."""


_CORE = re.compile(r"(?!(?:native|host|max)$)[a-z0-9]+([-.][a-z0-9]+)*")
_GLIBC = re.compile(r"2\.\d{1,2}(\.\d{1,2})?")


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
class Performance:
    """What a device's processor could do at best, with all of the target's threads: the roofs of its roofline.

    float32_gmacs, int8_gmacs: 10^9 multiply-accumulates a second; of INT8, as its instructions compute it.
    memory_gb_per_s: 10^9 bytes a second to and from main memory. source: where the figures are from, in words.
    """

    float32_gmacs: float
    int8_gmacs: float
    memory_gb_per_s: float
    source: str


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
    performance: None where nobody said, and for this machine, where it is measured.
    here: it is described as whatever this machine is (arch = "host").
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
    performance: Performance | None = None
    here: bool = False

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


@cache
def cpu_name() -> str:
    """What this machine's (first) processor calls itself, with its maker's numbers."""
    return processors.names(_cpuinfo(), platform.machine())[0]


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def load_target(name: str) -> Target:
    """The target called `name`, or described by the TOML file at the path `name`.

    Raises UsageError for an unknown name (with the closest known one) or a file that does not describe a target.
    """
    path = resources.find("targets", name)
    if path is None and name.endswith(".toml"):
        raise UsageError(f"There is no file {name}", "A target that ends in .toml is a path.", "Check the path.")
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
    here = arch == "host"
    if here:
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
        triple=table.get("triple", str, TRIPLES.get(arch, "")),
        cpu=table.get("cpu", str, ""),
        min_glibc=table.get("min_glibc", str, ""),
        memory_mib=table.get("memory_mib", int, 0),
        emulator=_emulator(table.table("emulator"), arch),
        performance=_performance(table.table("performance")),
        here=here,
    )
    read_cost(table.table("cost"))  # prices are no part of a device: a change of them must not make builds anew
    table.done()
    check_name(target.name, "a target", f"Change it in {path}.")
    if not target.backends:
        raise table.error("backends is empty", "List at least one backend.", "backends")
    for backend in target.backends:
        if backend not in BACKENDS:
            fix = f"The backends are: {', '.join(BACKENDS)}.{did_you_mean(backend, BACKENDS)}"
            raise table.error(f"the backend {backend!r} is not known", fix, "backends")
    _check(target, table)
    return target


def _check(target: Target, table: Table) -> None:
    """Raises UsageError for values that are of the right type and can't be right."""
    known = KNOWN_FEATURES.get(target.arch, target.features)
    for feature in target.features:
        if feature not in known:
            other = _OTHER_NAMES.get(target.arch, {}).get(feature)
            meant = f" Did you mean {other!r}?" if other else did_you_mean(feature, known)
            fix = f"Known features: {', '.join(known)}.{meant}"
            raise table.error(f"the feature {feature!r} is not known", fix, "features")
    if target.threads < 0:
        raise table.error("threads is negative", "0 leaves their number to the engine.", "threads")
    if target.arch in TRIPLES and not _fits(target.triple, TRIPLES[target.arch]):
        fix = f"Write {TRIPLES[target.arch]!r}, or leave it out."
        raise table.error(f"triple is {target.triple!r}, which is not one of {target.arch}", fix, "triple")
    if target.cpu and not _CORE.fullmatch(target.cpu):
        fix = 'Name the core as LLVM and GCC do ("cortex-a72"), or leave it out for any of the architecture.'
        raise table.error(f"cpu is {target.cpu!r}, which is not the name of a core", fix, "cpu")
    if target.min_glibc and not _GLIBC.fullmatch(target.min_glibc):
        fix = 'Write the version that `ldd --version` shows on the oldest device, such as "2.31".'
        raise table.error(f"min_glibc is {target.min_glibc!r}, which is not a version of glibc", fix, "min_glibc")
    if target.memory_mib < 0:
        raise table.error("memory_mib is negative", "Write how many MiB the device has; 0 for unknown.", "memory_mib")


def _fits(triple: str, usual: str) -> bool:
    """Whether a triple is the usual one of an architecture, with or without a vendor ("aarch64-unknown-linux-gnu")."""
    machine, rest = usual.split("-", 1)
    return re.fullmatch(rf"{machine}(-\w+)?-{rest}", triple) is not None


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
    if not _CORE.fullmatch(found.cpu):
        fix = f'Name a core as `{found.qemu} -cpu help` does, such as "cortex-a72".'
        raise table.error(f"emulator.cpu is {found.cpu!r}, which is not the name of a core", fix, "cpu")
    return found


def _performance(table: Table | None) -> Performance | None:
    if table is None:
        return None
    figures = {key: table.get(key, float) for key in ("float32_gmacs", "int8_gmacs", "memory_gb_per_s")}
    found = Performance(**figures, source=table.get("source", str))
    table.done()
    for key, value in figures.items():
        if not 0 < value < float("inf"):
            raise table.error(f"performance.{key} is {value:g}", "It is a number above 0.", key)
    if not found.source.strip():
        raise table.error("performance.source is empty", "Say where the figures are from.", "source")
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
