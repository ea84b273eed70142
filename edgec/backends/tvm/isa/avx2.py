"""x86-64 with AVX2 but no VNNI (Intel since 2013, AMD since 2015): products of 16-bit integers.

vpmaddubsw multiplies bytes, but its sums of two products saturate at 16 bits. vpmaddwd does not: it multiplies int16
and adds up two products to an int32. So activations are widened as they are read: of the 4 bytes of a lane, those at
even places are what a mask leaves of each half, those at odd places come from a shift. Weights are stored as int16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.emitter import Emitter, Expr, Pointer, broadcast, constant, intrinsic, reinterpret
from edgec.backends.tvm.isa.base import Used
from edgec.backends.tvm.isa.x86 import X86
from edgec.backends.tvm.tiles import Core, DepthwiseCosts, cheapest_tile

_LANES = 8
_PAIRS = f"int16x{2 * _LANES}"

Pairs = tuple[Expr, Expr]
"""Bytes 0 and 2 of each lane, and bytes 1 and 3, as int16."""


@dataclass(frozen=True)
class Madd:
    """vpmaddwd."""

    weight_words: int = 2 * _LANES

    def packed(self, weights: np.ndarray) -> np.ndarray:
        pairs = weights.astype(np.int16).reshape(*weights.shape[:-1], 2, 2)  # [..., lane, pair, even or odd]
        order = (*range(weights.ndim - 2), weights.ndim, weights.ndim - 2, weights.ndim - 1)
        apart = np.ascontiguousarray(pairs.transpose(order)).view(np.int32)  # [..., even or odd, lane, 1]
        return apart.reshape(*weights.shape[:-2], self.weight_words)

    def weights(self, emitter: Emitter, pointer: Pointer, offset: Expr) -> Pairs:
        even, odd = (
            emitter.bind(reinterpret(_PAIRS, emitter.load(pointer, place, _LANES)), _PAIRS)
            for place in (offset, offset + _LANES)
        )
        return even, odd

    def repacked(self, emitter: Emitter, words: Expr) -> list[Expr]:
        halves = emitter.bind(reinterpret(_PAIRS, words), _PAIRS)
        byte = broadcast(constant(8, "int16"), 2 * _LANES)
        return [reinterpret(f"int32x{_LANES}", item) for item in ((halves << byte) >> byte, halves >> byte)]

    def operand(self, emitter: Emitter, activations: Expr) -> Pairs:
        halves = emitter.bind(reinterpret(f"u{_PAIRS}", activations), f"u{_PAIRS}")
        mask, byte = (broadcast(constant(value, "uint16"), 2 * _LANES) for value in (255, 8))
        even, odd = (emitter.bind(reinterpret(_PAIRS, item), _PAIRS) for item in (halves & mask, halves >> byte))
        return even, odd

    def dot(self, sums: Expr, activations: Pairs, weights: Pairs, used: Used) -> Expr:
        for pair, there in zip(zip(activations, weights, strict=True), (used[::2], used[1::2]), strict=True):
            if any(there):
                sums = sums + intrinsic(f"int32x{_LANES}", "llvm.x86.avx2.pmadd.wd", *pair)
        return sums


_CORE = Core(
    registers=16,
    products=0.5,
    loads=0.48,
    weights=2.9,
    latency=5.7,
    step=1.3,
    results=(3, 5, 6.5),
    together=(2.1, 6.4),
    tile=1.7,
    sums=1.7,
    beyond=0.01,
)
"""Zen 5 without its VNNI, fitted as that of AVX-512 was. Sums that are spilled cost less than the words of activations
that smaller tiles would widen."""


def _tile(vectors: int, rows: int, columns: int, steps: int) -> tuple[int, int]:
    return (1, min(vectors, 8)) if rows * columns == 1 else cheapest_tile(_CORE, vectors, columns, steps)


_DEPTHWISE = DepthwiseCosts(
    tile=5.7, product=0.5, interleaved=0, load=0.33, weights=0.25, result=9.3, beyond=0.14, pairs=True
)
"""Fitted to the times of 20 layers, each with some 30 tiles."""

AVX2 = X86("avx2", lanes=_LANES, registers=16, products=Madd(), tile=_tile, depthwise=_DEPTHWISE, without=("avx512",))
