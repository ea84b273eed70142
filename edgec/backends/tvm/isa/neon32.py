"""ARMv7 with NEON (Cortex-A7, A9, A15 ...): vmull and vmlal to 16 bits, vpadal to 32, as in `neon.py`; 16 registers.

There is no instruction that rounds to the nearest integer; adding 1.5 * 2^23 does, because the sum of a number below
2^22 and that has no bits behind the point: its last bits are the integer, half to even as every sum is rounded.

NEON on ARMv7 takes and gives 0 for numbers below 2^-126, whatever the control register says. Numbers of steps are
rounded to integers, and so small they are 0 either way. So are sums of real numbers, unless the scale of a result is
that small itself; division is done one by one by the VFP, which keeps small numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    constant,
    exactly,
    integer,
    intrinsic,
    reinterpret,
    shuffle,
)
from edgec.backends.tvm.isa import arm
from edgec.backends.tvm.isa.base import ALL, Lookup, StoredGrid, Used
from edgec.backends.tvm.isa.neon import PAIRS
from edgec.backends.tvm.tiles import DepthwiseCosts, even_width
from edgec.targets import Target

_LARGE = np.float32(1.5 * 2**23)

Halves = tuple[Expr, Expr]
"""An operand of `dot`: the first two bytes of 4 lanes, and the others."""


_DEPTHWISE = DepthwiseCosts(tile=0, product=1, interleaved=0, load=0.1, weights=0, result=0, beyond=5.7)
"""Instructions, counted: not cycles."""


@dataclass(frozen=True)
class Neon32:
    """128-bit vectors, each of two registers of 64 bits that can be used by themselves."""

    name: str = "neon32"
    lanes: int = 4
    registers: int = 16
    stored: str = "int8"
    weight_words: int = 4
    depthwise: DepthwiseCosts = _DEPTHWISE
    words: tuple[int, ...] = (2, 1)

    def tvm_target(self, target: Target) -> Mapping[str, Any]:
        made = dict(arm.llvm_target(target, "generic"))
        made["mattr"] = ["+armv7-a", *made["mattr"]]
        return {**made, "mfloat-abi": "hard"}

    def order(self, vectors: int) -> np.ndarray:
        return arm.natural_order(vectors)

    def dense_tile(self, vectors: int, rows: int, columns: int, steps: int) -> tuple[int, int]:
        """8 sums, and what is left of 16 registers for two words of activations, weights and products. Chosen by
        counting instructions, not by time: 4 x 2 executes 2 % fewer than 2 x 4, 4 to 15 % fewer than what spills."""
        if rows * columns == 1:
            return 1, 8 if vectors % 8 == 0 else 4
        return even_width(columns, 4), 2

    def dot(self, sums: Expr, activations: Halves, weights: Halves, *, lowest: bool = True, used: Used = ALL) -> Expr:
        first, second = (
            intrinsic("int16x8", "llvm.arm.neon.vmulls.v8i16", *pair) for pair in zip(activations, weights, strict=True)
        )
        for products in (first, second) if lowest else (first + second,):
            sums = intrinsic("int32x4", "llvm.arm.neon.vpadals.v4i32.v8i16", sums, products)
        return sums

    def packed(self, weights: np.ndarray) -> np.ndarray:
        lanes, bytes_ = zip(*PAIRS, strict=True)
        return np.ascontiguousarray(weights[..., lanes, bytes_]).view(np.int32)

    def repacked(self, emitter: Emitter, words: Expr) -> list[Expr]:
        bytes_ = emitter.bind(reinterpret("int8x16", words), "int8x16")
        return [reinterpret("int32x4", shuffle([bytes_], [4 * lane + which for lane, which in PAIRS]))]

    def weights(self, emitter: Emitter, pointer: Pointer, offset: Expr) -> Halves:
        loaded = emitter.bind(reinterpret("int8x16", emitter.load(pointer, offset, 4)), "int8x16")
        return _half(loaded, 0), _half(loaded, 1)

    def repeated(self, emitter: Emitter, pointer: Pointer, offset: Expr, words: int) -> list[Halves]:
        loaded = emitter.bind(reinterpret("int16x8", arm.words_loaded(emitter, pointer, offset, words)), "int16x8")
        pairs = [reinterpret("int8x8", shuffle([loaded], [pair] * 4)) for pair in range(2 * words)]
        pairs = [emitter.bind(pair, "int8x8") for pair in pairs]
        return list(zip(pairs[::2], pairs[1::2], strict=True))

    def interleaved(self, emitter: Emitter, columns: Sequence[Expr]) -> list[Halves]:
        a, b, c, d = columns
        pairs = [(arm.zipped(emitter, a, b, 1, half), arm.zipped(emitter, c, d, 1, half)) for half in (0, 1)]
        return [(_half(first, half), _half(second, half)) for first, second in pairs for half in (0, 1)]

    def apart(self, emitter: Emitter, sums: Sequence[Expr], taps: Sequence[tuple[Expr, Expr]]) -> list[Expr]:
        return arm.sums_apart(emitter, "llvm.arm.neon.vmulls.v8i16", sums, taps)

    def rounded(self, steps: Expr) -> Expr:
        """Steps of 2^22 and more become integers that are as far or farther, on the same side: their bits, less those
        of 1.5 * 2^23, saturating. No grid of 8 bits reaches there."""
        moved = reinterpret("int32x4", exactly("float32x4", steps) + broadcast(constant(float(_LARGE), "float32"), 4))
        return intrinsic("int32x4", "llvm.ssub.sat.v4i32", moved, broadcast(integer(_LARGE.view(np.int32)), 4))

    def loaded(self, emitter: Emitter, pointer: Pointer, offset: Expr, vectors: int) -> list[Expr]:
        return arm.widened(emitter, pointer, offset, vectors)

    def lookup(self, emitter: Emitter, table: Pointer) -> Lookup | None:
        return None

    def narrowed(
        self, emitter: Emitter, group: Sequence[Expr], grid: StoredGrid, pointer: Pointer, offset: Expr,
        size: int = 0, pixels: int = 1,
    ) -> None:  # fmt: skip
        arm.narrowed(emitter, arm.ARMV7, group, grid, pointer, offset, size)


def _half(vector: Expr, half: int) -> Expr:
    return shuffle([vector], range(8 * half, 8 * half + 8))
