"""Tables of 256 bytes in vectors of bytes.

An instruction set loads a table once (`InstructionSet.lookup`) and gets a function that takes vectors of indices.
"""

from __future__ import annotations

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    constant,
    intrinsic,
    reinterpret,
    select,
    shuffle,
    vector,
)
from edgec.backends.tvm.isa.base import Lookup

_NIBBLE = 16
_SHUFFLES = {32: "llvm.x86.avx2.pshuf.b", 64: "llvm.x86.avx512.pshuf.b.512"}


def by_nibbles(emitter: Emitter, table: Pointer, size: int) -> Lookup:
    """x86-64: 16 tables of 16 entries, which pshufb looks up by the low 4 bits; the high 4 bits choose among the 16
    results, one bit after the other. size: bytes of a vector."""
    bytes_ = vector("int8", size)
    parts = []
    for part in range(0, 256, _NIBBLE):
        loaded = emitter.bind(emitter.load(table, part, _NIBBLE), vector(table.dtype, _NIBBLE))
        repeated = shuffle([loaded] * (size // _NIBBLE), [*range(_NIBBLE)] * (size // _NIBBLE))
        parts.append(emitter.bind(reinterpret(bytes_, repeated), bytes_))

    def looked_up(indices: Expr) -> Expr:
        index = emitter.bind(reinterpret(bytes_, indices), bytes_)
        low = emitter.bind(index & broadcast(constant(_NIBBLE - 1, "int8"), size), bytes_)
        found = [intrinsic(bytes_, _SHUFFLES[size], part, low) for part in parts]
        for bit in (16, 32, 64, -128):
            there = (index & broadcast(constant(bit, "int8"), size)) != broadcast(constant(0, "int8"), size)
            pairs = zip(found[::2], found[1::2], strict=True)
            found = [emitter.bind(select(there, other, one), bytes_) for one, other in pairs]
        return reinterpret(vector(table.dtype, size), found[0])

    return looked_up


def by_registers(emitter: Emitter, table: Pointer, size: int = 16) -> Lookup:
    """AArch64: four tables of 64 entries in four registers each. tbl gives 0 for indices beyond its table; tbx leaves
    what was there."""
    bytes_ = vector("int8", size)
    registers = []
    for part in range(0, 256, size):
        loaded = emitter.load(table, part, size)
        registers.append(emitter.bind(reinterpret(bytes_, loaded), bytes_))

    def looked_up(indices: Expr) -> Expr:
        index = emitter.bind(reinterpret(bytes_, indices), bytes_)
        found = intrinsic(bytes_, "llvm.aarch64.neon.tbl4.v16i8", *registers[:4], index)
        for first in (4, 8, 12):
            index = emitter.bind(index - broadcast(constant(4 * size, "int8"), size), bytes_)
            four = registers[first : first + 4]
            found = intrinsic(bytes_, "llvm.aarch64.neon.tbx4.v16i8", found, *four, index)
        return reinterpret(vector(table.dtype, size), found)

    return looked_up
