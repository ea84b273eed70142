"""AArch64 with the dot-product extension (ARMv8.2: Cortex-A55, A75, A76 ...): sdot multiplies int8 by int8."""

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

_DEPTHWISE = DepthwiseCosts(tile=0, product=1, interleaved=0.8, load=0, weights=0.6, result=55, beyond=0.5)
"""Instructions, counted: not cycles."""


@dataclass(frozen=True)
class NeonDotprod(arm.AArch64):
    """128-bit vectors. An operand of `dot` has the 4 bytes of each lane side by side."""

    name: str = "neon_dotprod"
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
        """20 sums, 4 vectors of weights and 5 of activations: 29 of 32 registers. Four vectors are stored at once.
        Chosen by counting instructions, not by time: 5 x 4 executes 8 % fewer than 6 x 4, which spills."""
        if rows * columns == 1:
            return 1, 8 if vectors % 8 == 0 else 4
        return even_width(columns, 5), 4

    def dot(self, sums: Expr, activations: Expr, weights: Expr, *, lowest: bool = True, used: Used = ALL) -> Expr:
        # Both are int8, so they may change places: only the last operand can be a lane that is taken for all.
        return intrinsic("int32x4", "llvm.aarch64.neon.sdot.v4i32.v16i8", sums, weights, activations)

    @property
    def apart(self) -> None:
        return None

    def packed(self, weights: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(weights).view(np.int32)[..., 0]

    def repacked(self, emitter: Emitter, words: Expr) -> list[Expr]:
        return [words]

    def weights(self, emitter: Emitter, pointer: Pointer, offset: Expr) -> Expr:
        return emitter.bind(reinterpret("int8x16", emitter.load(pointer, offset, self.lanes)), "int8x16")

    def repeated(self, emitter: Emitter, pointer: Pointer, offset: Expr, words: int) -> list[Expr]:
        """Lanes of one vector: sdot can take one of its operand's lanes for all, which saves the loads."""
        loaded = arm.words_loaded(emitter, pointer, offset, words)
        if words == 1:
            return [emitter.bind(reinterpret("int8x16", loaded), "int8x16")]
        return [reinterpret("int8x16", shuffle([loaded], [word] * 4)) for word in range(words)]

    def interleaved(self, emitter: Emitter, columns: Sequence[Expr]) -> list[Expr]:
        a, b, c, d = columns
        pairs = [(arm.zipped(emitter, a, b, 1, half), arm.zipped(emitter, c, d, 1, half)) for half in (0, 1)]
        return [arm.zipped(emitter, *pair, 2, half) for pair in pairs for half in (0, 1)]
