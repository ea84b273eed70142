"""x86-64 with AVX-VNNI but no AVX-512 (Intel's Alder Lake, its N-series): vectors of 256 bits, 32 products at once."""

from __future__ import annotations

from edgec.backends.tvm.isa.avx512_vnni import DEPTHWISE
from edgec.backends.tvm.isa.x86 import X86, Vnni
from edgec.backends.tvm.tiles import even_width


def _tile(vectors: int, rows: int, columns: int, steps: int) -> tuple[int, int]:
    """There are 16 registers: 12 sums, 2 vectors of weights, a word of activations. Every larger tile spills."""
    if rows * columns == 1:
        return 1, min(vectors, 8)
    return even_width(columns, 6), 2


AVX_VNNI = X86(
    "avx_vnni", lanes=8, registers=16, products=Vnni(8), tile=_tile, depthwise=DEPTHWISE, without=("avx512",)
)
