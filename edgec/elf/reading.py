"""An ELF file: what it needs to be loaded and run."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from edgec.elf import aarch64, arm
from edgec.elf.aarch64 import Use

MAGIC = b"\x7fELF"

_ARCHITECTURES = {"EM_AARCH64": "aarch64", "EM_ARM": "armv7l", "EM_X86_64": "x86_64"}
_SHF_EXECINSTR = 0x4
_ARM_HARD_FLOAT, _ARM_SOFT_FLOAT = 0x400, 0x200  # e_flags of 32-bit ARM
_VERSION = re.compile(r"GLIBC_(\d+(?:\.\d+)+)")
_RELATIVE_RELOCATIONS = "GLIBC_ABI_DT_RELR"  # what stands for them; glibc 2.36 was the first to know them
_WEAK = 0x2  # VER_FLG_WEAK: it loads without

FloatABI = Literal["hard", "soft", ""]


class Unreadable(Exception):
    """The file is not whole, or says less than is needed to judge it. The text says what, in words."""


@dataclass(frozen=True)
class Elf:
    """What an ELF file needs.

    arch: as targets call it, or the name of the ELF machine, "EM_RISCV"; with "big-endian" or "32-bit" where that is
        not the usual form.
    float_abi: of 32-bit ARM; "" elsewhere.
    needed: names of shared libraries.
    glibc: the least version, (2, 17); () where it asks for none.
    extensions: of AArch64, by their names in /proc/cpuinfo, with where they are used.
    features: of 32-bit ARM, by their names in /proc/cpuinfo, as the file itself tells.
    """

    arch: str
    float_abi: FloatABI = ""
    needed: tuple[str, ...] = ()
    glibc: tuple[int, ...] = ()
    extensions: Mapping[str, Use] = field(default_factory=dict)
    features: frozenset[str] = frozenset()


def is_elf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def read(path: Path) -> Elf:
    """Read an ELF file. Raises Unreadable."""
    from elftools.common.exceptions import ELFError

    content = path.read_bytes()
    try:
        return _read(content)
    except (ELFError, *_CONFUSED) as error:
        raise Unreadable(f"it is damaged ({type(error).__name__}: {error})") from error


_CONFUSED = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, TypeError, ValueError)
"""What pyelftools raises for a file that was cut off, beside its own errors."""


class _Tables:
    """A file's tables, followed no longer than its size allows: those of a damaged file may lead in circles."""

    def __init__(self, content: bytes) -> None:
        self._left = len(content)

    def all(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._left -= 1
            if self._left < 0:
                raise Unreadable("it is damaged (a table without an end)")
            yield item


def _read(content: bytes) -> Elf:
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(content))
    tables = _Tables(content)
    sections = list(tables.all(elf.iter_sections()))
    if not sections:
        raise Unreadable("it has no section headers, which tell where its code is; do not strip them")
    arch = _architecture(elf)
    attributes = _attributes(sections, tables) if arch == "armv7l" else {}
    return Elf(
        arch=_too_new(arch, attributes),
        float_abi=_float_abi(elf, attributes) if arch == "armv7l" else "",
        needed=tuple(sorted(_needed(sections, tables))),
        glibc=max(_glibc(sections, tables), default=()),
        extensions=_extensions(content, sections, tables) if arch == "aarch64" else {},
        features=frozenset(arm.features(attributes)),
    )


def _architecture(elf: Any) -> str:
    machine = elf["e_machine"]
    arch = _ARCHITECTURES.get(machine, str(machine))
    if not elf.little_endian:
        return f"{arch}, big-endian"
    if elf.elfclass == 32 and arch in ("aarch64", "x86_64"):
        return f"{arch}, 32-bit"
    return arch


def _attributes(sections: list[Any], tables: _Tables) -> dict[str, int]:
    """Build attributes of a 32-bit ARM file that are numbers."""
    from elftools.elf.sections import ARMAttributesSection

    return {
        attribute.tag: attribute.value
        for section in sections
        if isinstance(section, ARMAttributesSection)
        for subsection in tables.all(section.iter_subsections())
        for part in tables.all(subsection.iter_subsubsections())
        for attribute in tables.all(part.iter_attributes())
        if isinstance(attribute.value, int)
    }


def _too_new(arch: str, attributes: Mapping[str, int]) -> str:
    return "ARMv8, 32-bit" if attributes.get("TAG_CPU_ARCH", 0) > arm.MOST else arch


def _float_abi(elf: Any, attributes: Mapping[str, int]) -> FloatABI:
    """Linked files say it in their header, object files in their attributes."""
    flags = elf["e_flags"]
    if flags & _ARM_HARD_FLOAT or (not flags & _ARM_SOFT_FLOAT and arm.passes_floats_in_registers(attributes)):
        return "hard"
    return "soft"


def _needed(sections: list[Any], tables: _Tables) -> Iterator[str]:
    from elftools.elf.dynamic import DynamicSection

    for section in sections:
        if isinstance(section, DynamicSection):
            yield from (tag.needed for tag in tables.all(section.iter_tags()) if tag["d_tag"] == "DT_NEEDED")


def _glibc(sections: list[Any], tables: _Tables) -> Iterator[tuple[int, ...]]:
    """Every version of glibc that a symbol is asked of."""
    from elftools.elf.gnuversions import GNUVerNeedSection

    for section in sections:
        if not isinstance(section, GNUVerNeedSection):
            continue
        for library, versions in tables.all(section.iter_versions()):
            for version in tables.all(versions):
                if version["vna_flags"] & _WEAK:
                    continue
                if match := _VERSION.fullmatch(version.name):
                    yield tuple(map(int, match[1].split(".")))
                elif version.name == _RELATIVE_RELOCATIONS:
                    yield (2, 36)
                elif version.name.startswith("GLIBC_"):
                    raise Unreadable(f"it asks {library.name} for {version.name}, which no version of glibc promises")


def provided_glibc(path: Path) -> tuple[int, ...]:
    """The newest version that a C library provides, (2, 36); () where it is not a glibc. Raises Unreadable."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerDefSection

    content = path.read_bytes()
    tables = _Tables(content)
    try:
        names = [
            next(auxiliaries).name
            for section in tables.all(ELFFile(io.BytesIO(content)).iter_sections())
            if isinstance(section, GNUVerDefSection)
            for _, auxiliaries in tables.all(section.iter_versions())
        ]
    except (ELFError, *_CONFUSED) as error:
        raise Unreadable(f"it is damaged ({type(error).__name__}: {error})") from error
    versions = (match[1] for name in names if (match := _VERSION.fullmatch(name)))
    return max((tuple(map(int, text.split("."))) for text in versions), default=())


def _extensions(content: bytes, sections: list[Any], tables: _Tables) -> dict[str, Use]:
    found: dict[str, Use] = {}
    for address, code in _code(content, sections, tables):
        for name, use in aarch64.extensions(code, address).items():
            before = found.get(name)
            found[name] = Use(use.count + before.count, before.address) if before else use
    return dict(sorted(found.items()))


def _code(content: bytes, sections: list[Any], tables: _Tables) -> Iterator[tuple[int, bytes]]:
    """Where instructions are: (address, bytes).

    Where mapping symbols are left (ELF for the Arm 64-bit Architecture, IHI 0056), data among the code is left out:
    `$x` begins instructions, `$d` data.
    """
    marks = _mapping_symbols(sections, tables)
    left = len(content)
    for index, section in enumerate(sections):
        if not section["sh_flags"] & _SHF_EXECINSTR or section["sh_type"] == "SHT_NOBITS":
            continue
        start, offset, size = section["sh_addr"], section["sh_offset"], section["sh_size"]
        left -= size
        if offset + size > len(content) or left < 0:
            raise Unreadable(f"it is damaged (its section {section.name} is larger than the file)")
        borders = [(start, True), *sorted(marks.get(index, ())), (start + size, False)]
        for (begin, is_code), (end, _) in pairwise(borders):
            if is_code and start <= begin < end <= start + size:
                yield begin, content[offset + begin - start : offset + end - start]


def _mapping_symbols(sections: list[Any], tables: _Tables) -> dict[int, list[tuple[int, bool]]]:
    """Index of a section to (address, whether instructions begin there)."""
    from elftools.elf.sections import SymbolTableSection

    found: dict[int, list[tuple[int, bool]]] = {}
    for section in sections:
        if not isinstance(section, SymbolTableSection) or section["sh_type"] != "SHT_SYMTAB":
            continue
        for symbol in tables.all(section.iter_symbols()):
            if re.match(r"\$[xd](\.|$)", symbol.name) and isinstance(symbol["st_shndx"], int):
                found.setdefault(symbol["st_shndx"], []).append((symbol["st_value"], symbol.name[1] == "x"))
    return found
