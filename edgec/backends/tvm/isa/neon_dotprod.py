"""AArch64 with the dot-product extension (ARMv8.2: Cortex-A55, A75, A76 ...): sdot multiplies int8 by int8."""

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
    cast,
    intrinsic,
    maximum,
    minimum,
    reinterpret,
    shuffle,
)
from edgec.backends.tvm.isa.base import StoredGrid
from edgec.backends.tvm.tiles import even_width
from edgec.targets import Target

_BYTES = 16


@dataclass(frozen=True)
class NeonDotprod:
    """128-bit vectors. Activations are stored as int8, those of uint8 tensors with 128 subtracted.

    Narrowing keeps neighbours neighbours: a group is in its natural order.
    """

    name: str = "neon_dotprod"
    lanes: int = 4
    registers: int = 32
    stored: str = "int8"
    weight_words: int = 4
    words: tuple[int, ...] = (4, 2, 1)

    def tvm_target(self, target: Target) -> Mapping[str, Any]:
        core = target.cpu or "generic"
        return {"kind": "llvm", "mtriple": target.triple, "mcpu": core, "mattr": ["+neon", "+dotprod"]}

    def order(self, vectors: int) -> np.ndarray:
        return np.arange(vectors * self.lanes).reshape(vectors, self.lanes)

    def dense_tile(self, vectors: int, rows: int, columns: int, taps: int) -> tuple[int, int]:
        """20 sums, 4 vectors of weights and 5 of activations: 29 of 32 registers. Four vectors are stored at once.
        Chosen by counting instructions, not by time: 5 x 4 executes 8 % fewer than 6 x 4, which spills."""
        if rows * columns == 1:
            return 1, 8 if vectors % 8 == 0 else 4
        return even_width(columns, 5), 4

    def dot(self, sums: Expr, activations: Expr, weights: Expr) -> Expr:
        # Both are int8, so they may change places: only the last operand can be a lane that is taken for all.
        return intrinsic("int32x4", "llvm.aarch64.neon.sdot.v4i32.v16i8", sums, weights, activations)

    def packed(self, weights: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(weights).view(np.int32)[..., 0]

    def weights(self, emitter: Emitter, pointer: Pointer, offset: Expr) -> Expr:
        return emitter.bind(reinterpret("int8x16", emitter.load(pointer, offset, self.lanes)), "int8x16")

    def repeated(self, emitter: Emitter, pointer: Pointer, offset: Expr, words: int) -> list[Expr]:
        """Lanes of one vector: sdot can take one of its operand's lanes for all, which saves the loads."""
        if words == 1:
            word = reinterpret("int32", emitter.load(pointer, offset, 4))
            return [emitter.bind(reinterpret("int8x16", broadcast(word, 4)), "int8x16")]
        loaded = reinterpret(f"int32x{words}", emitter.load(pointer, offset, 4 * words))
        loaded = emitter.bind(loaded, f"int32x{words}")
        source = [loaded] * (4 // words)  # TVM makes no vector that is longer than what it is made from
        return [reinterpret("int8x16", shuffle(source, [word] * 4)) for word in range(words)]

    def interleaved(self, emitter: Emitter, columns: Sequence[Expr]) -> list[Expr]:
        a, b, c, d = columns
        low = _zipped(emitter, a, b, 1, 0), _zipped(emitter, c, d, 1, 0)
        high = _zipped(emitter, a, b, 1, 1), _zipped(emitter, c, d, 1, 1)
        return [_zipped(emitter, *pair, 2, half) for pair in (low, high) for half in (0, 1)]

    def rounded(self, steps: Expr) -> Expr:
        return intrinsic("int32x4", "llvm.aarch64.neon.fcvtns.v4i32.v4f32", steps)

    def loaded(self, emitter: Emitter, pointer: Pointer, offset: Expr, vectors: int) -> list[Expr]:
        lanes = 4 * vectors
        stored = emitter.bind(emitter.load(pointer, offset, lanes), f"int8x{lanes}")
        made = []
        for v in range(vectors):
            part = shuffle([stored], range(4 * v, 4 * v + 4)) if vectors > 1 else stored
            made.append(emitter.bind(cast("int32x4", part), "int32x4"))
        return made

    def narrowed(
        self, emitter: Emitter, group: Sequence[Expr], grid: StoredGrid, pointer: Pointer, offset: Expr, size: int = 0
    ) -> None:
        """The zero point is added to 16-bit integers, saturating: what was beyond them stays beyond 8 bits."""
        assert len(group) == 4 and size in (0, _BYTES), "pixels are 16 bytes long, or longer"
        zero_point = broadcast(cast("int16", grid.zero_point), 8)
        bytes_ = []
        for a, b in zip(group[::2], group[1::2], strict=True):
            halves = [
                emitter.bind(intrinsic("int16x4", "llvm.aarch64.neon.sqxtn.v4i16", item), "int16x4") for item in (a, b)
            ]
            words = intrinsic("int16x8", "llvm.sadd.sat.v8i16", shuffle(halves, range(8)), zero_point)
            bytes_.append(emitter.bind(intrinsic("int8x8", "llvm.aarch64.neon.sqxtn.v8i8", words), "int8x8"))
        packed = shuffle(bytes_, range(_BYTES))
        if grid.low is not None:
            packed = maximum(packed, broadcast(cast("int8", grid.low), _BYTES))
        if grid.high is not None:
            packed = minimum(packed, broadcast(cast("int8", grid.high), _BYTES))
        emitter.store(pointer, offset, packed, _BYTES)


def _zipped(emitter: Emitter, a: Expr, b: Expr, size: int, half: int) -> Expr:
    """zip1 (half 0) or zip2 (half 1): elements of `size` bytes of a and b in turns."""
    lanes = []
    for element in range(_BYTES // 2 // size):
        start = _BYTES // 2 * half + element * size
        lanes += [vector * _BYTES + start + byte for vector in (0, 1) for byte in range(size)]
    return emitter.bind(shuffle([a, b], lanes), "int8x16")
