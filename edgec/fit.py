"""Whether the files that are to be shipped fit the target: its processor, its C library, its memory.

What is found out here would be an illegal instruction, a library that can't be loaded or a killed process there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.elf.reading import Elf, Unreadable, is_elf, read
from edgec.errors import DeviceError
from edgec.targets import Target

_MIB = 1 << 20
_C_LIBRARY = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "ld-linux")


@dataclass(frozen=True)
class Fit:
    """What a device must have for the files.

    min_glibc: the oldest version that all of them run with; "" where none holds machine code that asks for one.
    warnings: sentences on what may not be there.
    """

    min_glibc: str = ""
    warnings: tuple[str, ...] = ()


def require_fit(files: Mapping[str, Path], target: Target) -> Fit:
    """Compare the files of a payload, by name, with what `target` has.

    Raises DeviceError for machine code that the target can't run, and for more bytes than it has memory.
    """
    warnings = list(_memory(files, target))
    least: tuple[int, ...] = ()
    for name, path in files.items():
        if not is_elf(path):
            continue
        elf = _read(name, path)
        require_runnable(name, elf, target)
        least = max(least, elf.glibc)
        if foreign := list(_foreign(elf.needed, files)):
            warnings.append(f"{name} loads {', '.join(foreign)}, which the device has to have.")
    return Fit(version_text(least), tuple(warnings))


def require_runnable(name: str, elf: Elf, target: Target) -> None:
    """Raises DeviceError when `target` lacks what the machine code in the file called `name` needs."""
    _require_architecture(name, elf, target)
    _require_features(name, elf, target)
    if target.min_glibc and elf.glibc > version(target.min_glibc):
        raise DeviceError(
            f"{name} needs glibc {version_text(elf.glibc)}, and {target.name} promises {target.min_glibc} only",
            "It calls functions that an older C library does not have: a device with that one could not load it.",
            "Install a linker that takes the C library's version into account (pip install 'edgec[cross]'), or raise "
            f"min_glibc in the target, if all your devices have glibc {version_text(elf.glibc)}.",
            {"file": name, "needs_glibc": version_text(elf.glibc), "min_glibc": target.min_glibc},
        )


def version(text: str) -> tuple[int, ...]:
    """ "2.31" as (2, 31)."""
    return tuple(map(int, text.split(".")))


def version_text(numbers: Iterable[int]) -> str:
    return ".".join(map(str, numbers))


def _read(name: str, path: Path) -> Elf:
    try:
        return read(path)
    except Unreadable as error:
        raise DeviceError(
            f"{name} holds machine code that can't be checked",
            f"It is an ELF file, but {error}.",
            "Build it again with its section headers, and for the glibc of the target.",
            {"file": name},
        ) from error


def _require_architecture(name: str, elf: Elf, target: Target) -> None:
    if elf.arch != target.arch:
        raise DeviceError(
            f"{name} is machine code for {elf.arch}, and {target.name} is {target.arch}",
            "The device could not load it.",
            f"Compile it for {target.triple or target.arch}.",
            {"file": name, "arch": elf.arch},
        )
    if elf.float_abi == "soft":
        raise DeviceError(
            f"{name} passes floats in integer registers, and {target.name} passes them in those of its FPU",
            f"It was made for the soft-float ABI; {target.triple} is hard-float.",
            f"Compile it for {target.triple}.",
            {"file": name, "float_abi": elf.float_abi},
        )


def _require_features(name: str, elf: Elf, target: Target) -> None:
    missing = sorted((set(elf.extensions) | elf.features) - set(target.features))
    if not missing:
        return
    has = ", ".join(target.features) or "none"
    where = "; ".join(
        f"{use.count} instruction{'s' if use.count > 1 else ''} of {feature}, the first at address {use.address:#x}"
        for feature, use in elf.extensions.items()
        if feature in missing
    )
    raise DeviceError(
        f"{name} uses {', '.join(missing)}, which {target.name} does not have",
        f"{target.name} has {has}; the file has {where or 'more in its build attributes'}. "
        "The device would end it with an illegal instruction.",
        f"Compile it for {target.cpu or 'a core without them'}, or build for a target whose features name "
        f"{'it' if len(missing) == 1 else 'them'} (`edgec targets` lists them).",
        {"file": name, "missing": missing, "features": list(target.features)},
    )


def _memory(files: Mapping[str, Path], target: Target) -> Iterable[str]:
    """A warning for files that take more than half of the memory. Raises DeviceError where they take all of it."""
    if not target.memory_mib:
        return
    size = sum(path.stat().st_size for path in files.values())
    has = f"{target.name} has {target.memory_mib} MiB of memory"
    if size >= target.memory_mib * _MIB:
        raise DeviceError(
            f"The payload has {size / _MIB:.0f} MiB, and {has}",
            "An engine holds the whole payload in memory, besides what the model computes and the system itself.",
            "Build with a precision that needs less space (int8 needs a quarter of float), or choose a smaller model.",
            {"payload_bytes": size, "memory_mib": target.memory_mib},
        )
    if 2 * size > target.memory_mib * _MIB:
        yield (
            f"The payload has {size / _MIB:.0f} MiB, and {has}: "
            "with what the model computes and the system itself, it may not fit."
        )


def _foreign(needed: Iterable[str], files: Iterable[str]) -> Iterable[str]:
    """Libraries that are neither the C library's own nor in the payload."""
    shipped = {Path(name).name for name in files}
    return (name for name in needed if name not in shipped and not name.startswith(_C_LIBRARY))
