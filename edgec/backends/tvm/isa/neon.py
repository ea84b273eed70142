"""AArch64 without dot products (ARMv8.0: Cortex-A53, A57, A72 ...): smull and smlal to 16 bits, sadalp to 32.

A word of 4 neighbours is multiplied as 2 x 2: smull takes the first two of each of 4 lanes, smlal2 adds the products of
the others to theirs, and sadalp adds pairs of these 16-bit sums to 32 bits: 16 products in 3 instructions. Two products
of int8 fit into 16 bits, |a w| + |b v| <= 2 * 128 * 127 = 32512, unless both weights are -128: then every product is
widened by itself, in 4 instructions. edgec's own quantizer makes no weight of -128.

(By lanes of 16 bits, smlal does 4 products; with operands that are widened before.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.backends.tvm.emitter import Emitter, Expr, Pointer, intrinsic, reinterpret, shuffle
from edgec.backends.tvm.isa import arm
from edgec.backends.tvm.isa.base import ALL, Used
from edgec.backends.tvm.tiles import DepthwiseCosts, even_width
from edgec.targets import Target

PAIRS = [(lane, which) for half in (0, 2) for lane in range(4) for which in (half, half + 1)]
"""Where a vector's bytes come from: which lane, and which of its 4 bytes. First two of each lane, then the others."""


_DEPTHWISE = DepthwiseCosts(tile=0, product=1, interleaved=0, load=0.1, weights=0, result=0, beyond=5.7)
"""Instructions, counted: not cycles."""


@dataclass(frozen=True)
class Neon(arm.AArch64):
    """128-bit vectors. An operand of `dot` is a vector of bytes in the order of `PAIRS`."""

    name: str = "neon"
    lanes: int = 4
    registers: int = 32
    stored: str = "int8"
    weight_words: int = 4
    depthwise: DepthwiseCosts = _DEPTHWISE
    words: tuple[int, ...] = (4, 2, 1)

    def tvm_target(self, target: Target) -> Mapping[str, Any]:
        return arm.llvm_target(target, "generic")

    def order(self, vectors: int) -> np.ndarray:
        return arm.natural_order(vectors)

    def dense_tile(self, vectors: int, rows: int, columns: int, steps: int) -> tuple[int, int]:
        """16 sums, 4 vectors of weights, 4 of activations and 4 tables for tbl: 28 of 32 registers."""
        if rows * columns == 1:
            return 1, 8 if vectors % 8 == 0 else 4
        return even_width(columns, 4), 4

    def dot(self, sums: Expr, activations: Expr, weights: Expr, *, lowest: bool = True, used: Used = ALL) -> Expr:
        halves = [[shuffle([item], range(at, at + 8)) for item in (activations, weights)] for at in (0, 8)]
        first, second = (intrinsic("int16x8", "llvm.aarch64.neon.smull.v8i16", *pair) for pair in halves)
        if lowest:
            return sums + _added(first) + _added(second)
        return sums + _added(first + second)

    def packed(self, weights: np.ndarray) -> np.ndarray:
        lanes, bytes_ = zip(*PAIRS, strict=True)
        return np.ascontiguousarray(weights[..., lanes, bytes_]).view(np.int32)

    def repacked(self, emitter: Emitter, words: Expr) -> list[Expr]:
        bytes_ = emitter.bind(reinterpret("int8x16", words), "int8x16")
        return [reinterpret("int32x4", shuffle([bytes_], [4 * lane + which for lane, which in PAIRS]))]

    def weights(self, emitter: Emitter, pointer: Pointer, offset: Expr) -> Expr:
        return emitter.bind(reinterpret("int8x16", emitter.load(pointer, offset, 4)), "int8x16")

    def repeated(self, emitter: Emitter, pointer: Pointer, offset: Expr, words: int) -> list[Expr]:
        loaded = emitter.bind(reinterpret("int8x16", arm.words_loaded(emitter, pointer, offset, words)), "int8x16")
        taken = [[4 * word + which for _, which in PAIRS] for word in range(words)]
        return [emitter.bind(shuffle([loaded], lanes), "int8x16") for lanes in taken]

    def interleaved(self, emitter: Emitter, columns: Sequence[Expr]) -> list[Expr]:
        a, b, c, d = columns
        pairs = [(arm.zipped(emitter, a, b, 1, half), arm.zipped(emitter, c, d, 1, half)) for half in (0, 1)]
        return [arm.zipped(emitter, *pair, 8, half) for pair in pairs for half in (0, 1)]

    def apart(self, emitter: Emitter, sums: Sequence[Expr], taps: Sequence[tuple[Expr, Expr]]) -> list[Expr]:
        return arm.sums_apart(emitter, "llvm.aarch64.neon.smull.v8i16", sums, taps)


def _added(products: Expr) -> Expr:
    """Sums of neighbours, widened: int16x8 to int32x4."""
    return intrinsic("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", products)
