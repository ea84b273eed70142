"""x86-64 with AVX-512 VNNI (Intel since 2019, AMD since Zen 4): vectors of 512 bits, 64 products at once."""

from __future__ import annotations

from edgec.backends.tvm.isa.x86 import X86, Vnni
from edgec.backends.tvm.tiles import even_width


def _tile(vectors: int, rows: int, columns: int, taps: int) -> tuple[int, int]:
    """A tile of m pixels and n vectors keeps m * n sums; each step loads n vectors of weights and m words of
    activations for m * n products. There are 32 registers. 7 x 4 is best although one sum is spilled, but in a loop
    over a window it is spilled in every iteration: 1.5 times slower."""
    if rows * columns == 1:
        return 1, min(vectors, 8)
    if vectors == 1:
        width, most = 28, 1
    elif taps > 1 and vectors > 2:
        width, most = (14, 2) if columns >= 14 else (7, 3)
    elif vectors == 2:
        width, most = (7 if taps > 1 else 14), 2
    else:
        width, most = 7, 3 if vectors == 3 or (vectors % 4 == 1 and vectors % 3 == 0) else 4
    return even_width(columns, width), most


AVX512_VNNI = X86("avx512_vnni", lanes=16, registers=32, products=Vnni(16), tile=_tile)
