"""What object files and libraries define and what they want, read without a tool of the system's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection


def defined(path: Path) -> set[str]:
    """Names that others can link to: of a library those that it exports."""
    return {name for name, section in _global(path) if section != "SHN_UNDEF"}


def wanted(path: Path) -> set[str]:
    """Names that others have to define. Weak ones, which nobody has to, are not among them."""
    return {name for name, section in _global(path) if section == "SHN_UNDEF"}


def _global(path: Path) -> Iterator[tuple[str, str]]:
    """Name and section of each global symbol, and of weak ones that are defined."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        wanted_table = ".dynsym" if elf["e_type"] == "ET_DYN" else ".symtab"
        table = elf.get_section_by_name(wanted_table)
        assert isinstance(table, SymbolTableSection), path
        for symbol in table.iter_symbols():
            binding, section = symbol["st_info"]["bind"], symbol["st_shndx"]
            if symbol.name and (binding == "STB_GLOBAL" or (binding == "STB_WEAK" and section != "SHN_UNDEF")):
                yield symbol.name, section
