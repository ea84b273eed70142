"""x86-64 with AVX-512 VNNI (Intel since 2019, AMD since Zen 4): vectors of 512 bits, 64 products at once."""

from __future__ import annotations

from edgec.backends.tvm.isa.x86 import X86, Vnni
from edgec.backends.tvm.tiles import Core, DepthwiseCosts, cheapest_tile

_CORE = Core(
    registers=32,
    products=2,
    loads=1.28,
    weights=1.23,
    latency=4.6,
    step=0.3,
    results=(2.5, 6.8, 10.1),
    together=(14.7, 4.8),
    tile=2.2,
    sums=0.36,
    beyond=4.9,
)
"""Zen 5, fitted to the times of 50 layers of 4 models, each with some 20 tiles (benchmarks/tvm_tiles.py)."""

DEPTHWISE = DepthwiseCosts(tile=0, product=0.5, interleaved=0, load=3, weights=0.5, result=12, beyond=2.2)
"""Fitted to the times of 20 layers, each with some 30 tiles. Loads weigh so much because few of them lie within one
cache line: pixels are multiples of 16 bytes. Shuffling costs nothing beside, it is done by other units."""


def _tile(vectors: int, rows: int, columns: int, steps: int) -> tuple[int, int]:
    return (1, min(vectors, 8)) if rows * columns == 1 else cheapest_tile(_CORE, vectors, columns, steps)


AVX512_VNNI = X86("avx512_vnni", lanes=16, registers=32, products=Vnni(16), tile=_tile, depthwise=DEPTHWISE)
