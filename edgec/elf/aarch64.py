"""Which extensions of the A64 instruction set a piece of machine code uses.

Every A64 instruction is one little-endian word of four bytes, and an extension's instructions are those whose word has
certain bits: `word & mask == value`. Masks and values are those of the encoding diagrams in chapters C6 (base), C7
(Advanced SIMD and floating point) and C8 (SVE) of the Arm Architecture Reference Manual for A-profile, DDI 0487. The
classes of SVE2 lie scattered among those of SVE: their list is a decision tree over the bits by which LLVM's
disassembler tells one from the other. An extension is called as Linux calls it in /proc/cpuinfo
(Documentation/arch/arm64/elf_hwcaps.rst).

Known are the extensions that compilers use unasked where the core has them, and those that hand-written kernels use.
Not known are memory tagging, FRINT32 and its kin, SM3 and SM4, manipulation of flags (FEAT_FlagM), memory copies
(FEAT_MOPS), and what SVE has beyond SVE2 (its own i8mm, bf16, AES): a file with these is found out where it is
executed under the target's core. Pointer authentication and branch targets are mostly hints, which older cores skip.

A word is taken as an instruction wherever code may be, so constants among the code can look like one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Encoding:
    """A class of instructions: those words with `word & mask == value`, but none that one of `but` matches."""

    value: int
    mask: int
    but: tuple[Encoding, ...] = ()

    def matches(self, words: np.ndarray) -> np.ndarray:
        """words: uint32 [n]. Returns bool [n]."""
        found: np.ndarray = (words & np.uint32(self.mask)) == np.uint32(self.value)
        if self.but and found.any():
            for other in self.but:
                found &= ~other.matches(words)
        return found


# Fields that the diagrams leave open, as masks of the bits that are fixed in the whole of a class:
#   vector, three registers         0 Q U 01110 ss 0 Rm . .... . Rn Rd     Q: bit 30, U: 29, size: 23-22, Rm: 20-16
#   vector, by element              0 Q U 01111 ss L M Rm .... H 0 Rn Rd   L: 21, M: 20, Rm: 19-16, H: 11
#   scalar instead of vector        Q is 1 and bit 28 is 1

_HALF_CONVERSIONS = (
    Encoding(0x1EE24000, 0xFFFFFC00),  # FCVT Sd, Hn: every core has it
    Encoding(0x1EE2C000, 0xFFFFFC00),  # FCVT Dd, Hn
)

_LDAPR = Encoding(0x38BFC000, 0x3FFFFC00)

A64: Mapping[str, tuple[Encoding, ...]] = {
    "asimddp": (  # FEAT_DotProd
        Encoding(0x0E809400, 0x9FE0FC00),  # SDOT, UDOT (vector)
        Encoding(0x0F80E000, 0x9FC0F400),  # SDOT, UDOT (by element)
    ),
    "i8mm": (  # FEAT_I8MM
        Encoding(0x4E80A400, 0xDFE0FC00),  # SMMLA, UMMLA
        Encoding(0x4E80AC00, 0xFFE0FC00),  # USMMLA
        Encoding(0x0E809C00, 0xBFE0FC00),  # USDOT (vector)
        Encoding(0x0F80F000, 0xBFC0F400),  # USDOT (by element)
        Encoding(0x0F00F000, 0xBFC0F400),  # SUDOT (by element)
    ),
    "bf16": (  # FEAT_BF16
        Encoding(0x2E40FC00, 0xBFE0FC00),  # BFDOT (vector)
        Encoding(0x0F40F000, 0xBFC0F400),  # BFDOT (by element)
        Encoding(0x2EC0FC00, 0xBFE0FC00),  # BFMLALB, BFMLALT (vector)
        Encoding(0x0FC0F000, 0xBFC0F400),  # BFMLALB, BFMLALT (by element)
        Encoding(0x6E40EC00, 0xFFE0FC00),  # BFMMLA
        Encoding(0x0EA16800, 0xBFFFFC00),  # BFCVTN, BFCVTN2
        Encoding(0x1E634000, 0xFFFFFC00),  # BFCVT
    ),
    "fphp": (  # FEAT_FP16, scalar; ftype (bits 23-22) is 11
        Encoding(0x1EE00000, 0x7FE00000, _HALF_CONVERSIONS),  # 1 and 2 sources, compare, select, FMOV, integers
        Encoding(0x1EC00000, 0x7FE00000),  # to and from fixed point
        Encoding(0x1FC00000, 0xFFC00000),  # 3 sources: FMADD and its kin
    ),
    "asimdhp": (  # FEAT_FP16, Advanced SIMD
        Encoding(0x0E400400, 0x9F60C400),  # three registers
        Encoding(0x5E400400, 0xDF60C400),  # three registers, scalar
        Encoding(0x0E780800, 0x9F7E0C00),  # two registers
        Encoding(0x5E780800, 0xDF7E0C00),  # two registers, scalar
        Encoding(0x0E30C800, 0xBF7FFC00),  # FMAXNMV, FMINNMV
        Encoding(0x0E30F800, 0xBF7FFC00),  # FMAXV, FMINV
        Encoding(0x5E30C800, 0xFF7FFC00),  # FMAXNMP, FMINNMP (scalar)
        Encoding(0x5E30D800, 0xFFFFFC00),  # FADDP (scalar)
        Encoding(0x5E30F800, 0xFF7FFC00),  # FMAXP, FMINP (scalar)
        Encoding(0x0F00FC00, 0xBFF8FC00),  # FMOV (vector, immediate)
        Encoding(0x0F10E400, 0x9FF0FC00),  # SCVTF, UCVTF (fixed point)
        Encoding(0x0F10FC00, 0x9FF0FC00),  # FCVTZS, FCVTZU (fixed point)
        Encoding(0x5F10E400, 0xDFF0FC00),  # SCVTF, UCVTF (fixed point, scalar)
        Encoding(0x5F10FC00, 0xDFF0FC00),  # FCVTZS, FCVTZU (fixed point, scalar)
        Encoding(0x0F001000, 0xBFC0B400),  # FMLA, FMLS (by element)
        Encoding(0x5F001000, 0xFFC0B400),  # FMLA, FMLS (by element, scalar)
        Encoding(0x0F009000, 0x9FC0F400),  # FMUL, FMULX (by element)
        Encoding(0x5F009000, 0xDFC0F400),  # FMUL, FMULX (by element, scalar)
    ),
    "asimdfhm": (  # FEAT_FHM
        Encoding(0x0E20EC00, 0xBF60FC00),  # FMLAL, FMLSL (vector)
        Encoding(0x2E20CC00, 0xBF60FC00),  # FMLAL2, FMLSL2 (vector)
        Encoding(0x0F800000, 0xBFC0B400),  # FMLAL, FMLSL (by element)
        Encoding(0x2F808000, 0xBFC0B400),  # FMLAL2, FMLSL2 (by element)
    ),
    "asimdrdm": (  # FEAT_RDM: SQRDMLAH, SQRDMLSH
        Encoding(0x2E008400, 0xBF20F400),
        Encoding(0x7E008400, 0xFF20F400),
        Encoding(0x2F00D000, 0xBF00D400),
        Encoding(0x7F00D000, 0xFF00D400),
    ),
    "fcma": (  # FEAT_FCMA
        Encoding(0x2E00C400, 0xBF20E400),  # FCMLA (vector)
        Encoding(0x2E00E400, 0xBF20EC00),  # FCADD
        Encoding(0x2F401000, 0xBFC09400),  # FCMLA (by element, half)
        Encoding(0x2F801000, 0xBFC09400),  # FCMLA (by element, single)
    ),
    "jscvt": (Encoding(0x1E7E0000, 0xFFFFFC00),),  # FEAT_JSCVT: FJCVTZS
    "atomics": (  # FEAT_LSE
        Encoding(0x08A07C00, 0x3FA07C00),  # CAS and its kin
        Encoding(0x08207C00, 0xBFA07C00),  # CASP and its kin
        Encoding(0x38200000, 0x3F208C00),  # LDADD, LDCLR, LDEOR, LDSET, LD{S,U}{MAX,MIN}
        Encoding(0x38208000, 0x3F20FC00),  # SWP
    ),
    "lrcpc": (_LDAPR,),  # FEAT_LRCPC
    "ilrcpc": (Encoding(0x19000000, 0x3F200C00),),  # FEAT_LRCPC2: LDAPUR, STLUR
    "crc32": (Encoding(0x1AC04000, 0x7FE0E000),),  # FEAT_CRC32
    "aes": (Encoding(0x4E284800, 0xFFFFCC00),),  # FEAT_AES
    "pmull": (Encoding(0x0EE0E000, 0xBFE0FC00),),  # FEAT_PMULL: PMULL, PMULL2 of 64 bits
    "sha1": (  # FEAT_SHA1
        Encoding(0x5E000000, 0xFFE0CC00),  # SHA1C, SHA1P, SHA1M, SHA1SU0
        Encoding(0x5E280800, 0xFFFFEC00),  # SHA1H, SHA1SU1
    ),
    "sha2": (  # FEAT_SHA256
        Encoding(0x5E004000, 0xFFE0EC00),  # SHA256H, SHA256H2
        Encoding(0x5E006000, 0xFFE0FC00),  # SHA256SU1
        Encoding(0x5E282800, 0xFFFFFC00),  # SHA256SU0
    ),
    "sha512": (  # FEAT_SHA512
        Encoding(0xCE608000, 0xFFE0F800),  # SHA512H, SHA512H2
        Encoding(0xCE608800, 0xFFE0FC00),  # SHA512SU1
        Encoding(0xCEC08000, 0xFFFFFC00),  # SHA512SU0
    ),
    "sha3": (  # FEAT_SHA3
        Encoding(0xCE000000, 0xFFC08000),  # EOR3, BCAX
        Encoding(0xCE608C00, 0xFFE0FC00),  # RAX1
        Encoding(0xCE800000, 0xFFE00000),  # XAR
    ),
    "sve": (Encoding(0x04000000, 0x1E000000),),  # FEAT_SVE: all of the space that SVE and SVE2 share
    "sve2": (  # FEAT_SVE2
        Encoding(0x04068000, 0xFE36C000),
        Encoding(0x040C8000, 0xFE3EC000),
        Encoding(0x04202400, 0xFF20E400),
        Encoding(0x04202800, 0xFF20EC00),
        Encoding(0x04206000, 0xFF20E000),
        Encoding(0x05202800, 0xFF20F800),
        Encoding(0x052D8000, 0xFF2DC000),
        Encoding(0x05600000, 0xFF60E000),
        Encoding(0x25200000, 0xFF20A400),
        Encoding(0x25203000, 0xFF20B400),
        Encoding(0x44000800, 0xFE001800),
        Encoding(0x44001000, 0xFE001000),
        Encoding(0x44002000, 0xFE00F800),
        Encoding(0x44004000, 0xFE005800),
        Encoding(0x44008000, 0xFE00D800),
        Encoding(0x45000000, 0xFF00F800),
        Encoding(0x6400A000, 0xFF30A000),
        Encoding(0x64108000, 0xFF308000),
        Encoding(0x64204000, 0xFF20C400),
        Encoding(0x64204400, 0xFF20C400),
        Encoding(0x64208000, 0xFF208000),
        Encoding(0x65008000, 0xFFE08000),
        Encoding(0x84008000, 0xBE60C000),
        Encoding(0xA4400000, 0xBE60C000),
        Encoding(0xC400C000, 0xFE60E000),
        Encoding(0xE4002000, 0xFE60E000),
    ),
    "sme": (Encoding(0x80000000, 0x9E000000),),  # FEAT_SME
}
"""Extension to its instructions."""

_AT_ONCE = 1 << 15  # words that stay in a processor's cache while all classes are compared with them

_CBZ_W16 = Encoding(0x34000010, 0xFF00001F)
_RET = 0xD65F03C0


@dataclass(frozen=True)
class Use:
    """An extension's instructions in a file: how many, and the address of the first one in its section's terms."""

    count: int
    address: int


def extensions(code: bytes, address: int = 0) -> dict[str, Use]:
    """The extensions that `code` uses, by name.

    code: A64 machine code, which begins at `address`; what does not fill a last word is left out.
    """
    words = np.frombuffer(code, "<u4", len(code) // 4)
    found: dict[str, Use] = {}
    for start in range(0, len(words), _AT_ONCE):
        piece = words[start : start + _AT_ONCE]
        for name, classes in A64.items():
            used = np.zeros(len(piece), bool)
            for each in classes:
                used |= each.matches(piece)
            if name == "atomics" and used.any():
                used &= ~_asks_first(words)[start : start + _AT_ONCE]
            if used.any():
                first = Use(0, address + 4 * (start + int(used.argmax())))
                before = found.get(name, first)
                found[name] = Use(before.count + int(used.sum()), before.address)
    return found


def _asks_first(words: np.ndarray) -> np.ndarray:
    """Which instructions run only where the core has them, as the compilers' helper functions for atomics see to.

    __aarch64_ldadd4_relax and its kin in libgcc and compiler-rt branch around their one instruction:
    `cbz w16, without; ldadd ...; ret`. words: uint32 [n]. Returns bool [n].
    """
    asks = np.zeros(len(words), bool)
    asks[1:-1] = _CBZ_W16.matches(words[:-2]) & (words[2:] == _RET)
    return asks
