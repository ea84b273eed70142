"""x86-64 with AVX-512 VNNI: vpdpbusd multiplies uint8 by int8, 64 products at once."""

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
    constant,
    integer,
    intrinsic,
    maximum,
    minimum,
    reinterpret,
    shuffle,
)
from edgec.backends.tvm.isa.base import StoredGrid
from edgec.backends.tvm.tiles import even_width
from edgec.targets import Target

_BYTES = 64
_BLOCK = 16  # bytes of the 128-bit parts that packing and unpacking work on, each for itself
_CURRENT_ROUNDING = 4  # _MM_FROUND_CUR_DIRECTION: half to even, unless a program changed it

_LLVM_FEATURES = {"sse4_2": "sse4.2", "avx_vnni": "avxvnni", "avx512_vnni": "avx512vnni", "amx_int8": "amx-int8"}
"""Features that LLVM calls otherwise than /proc/cpuinfo does."""


@dataclass(frozen=True)
class Avx512Vnni:
    """512-bit vectors. Activations are stored as uint8, those of int8 tensors with 128 added."""

    name: str = "avx512_vnni"
    lanes: int = 16
    registers: int = 32
    stored: str = "uint8"
    weight_words: int = 16
    words: tuple[int, ...] = (1,)

    def tvm_target(self, target: Target) -> Mapping[str, Any]:
        return {
            "kind": "llvm",
            "mtriple": target.triple,
            "mcpu": target.cpu or "x86-64",
            "mattr": [f"+{_LLVM_FEATURES.get(feature, feature)}" for feature in sorted(target.features)],
        }

    def order(self, vectors: int) -> np.ndarray:
        lane = np.arange(self.lanes)
        within = 4 * vectors  # what packing takes from a 128-bit part of all vectors of a group
        return np.stack([lane // 4 * within + 4 * v + lane % 4 for v in range(vectors)])

    def dense_tile(self, vectors: int, rows: int, columns: int, taps: int) -> tuple[int, int]:
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

    def dot(self, sums: Expr, activations: Expr, weights: Expr) -> Expr:
        return intrinsic("int32x16", "llvm.x86.avx512.vpdpbusd.512", sums, activations, weights)

    def packed(self, weights: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(weights).view(np.int32)[..., 0]

    def weights(self, emitter: Emitter, pointer: Pointer, offset: Expr) -> Expr:
        return emitter.bind(reinterpret("int8x64", emitter.load(pointer, offset, self.lanes)), "int8x64")

    def repeated(self, emitter: Emitter, pointer: Pointer, offset: Expr, words: int) -> list[Expr]:
        made = []
        for word in range(words):
            loaded = reinterpret("int32", emitter.load(pointer, offset + 4 * word, 4))
            made.append(emitter.bind(reinterpret("int8x64", broadcast(loaded, 16)), "int8x64"))
        return made

    def interleaved(self, emitter: Emitter, columns: Sequence[Expr]) -> list[Expr]:
        a, b, c, d = columns
        low = _unpacked(emitter, a, b, 1, 0), _unpacked(emitter, c, d, 1, 0)
        high = _unpacked(emitter, a, b, 1, 1), _unpacked(emitter, c, d, 1, 1)
        made = [_unpacked(emitter, *pair, 2, half) for pair in (low, high) for half in (0, 1)]
        return [reinterpret("int8x64", item) for item in made]

    def rounded(self, steps: Expr) -> Expr:
        unused = broadcast(integer(0), 16), constant(-1, "int16"), integer(_CURRENT_ROUNDING)
        return intrinsic("int32x16", "llvm.x86.avx512.mask.cvtps2dq.512", steps, *unused)

    def loaded(self, emitter: Emitter, pointer: Pointer, offset: Expr, vectors: int) -> list[Expr]:
        lanes = 16 * vectors
        stored = emitter.bind(emitter.load(pointer, offset, lanes), f"uint8x{lanes}")
        if vectors == 1:
            return [emitter.bind(cast("int32x16", stored), "int32x16")]
        zero = broadcast(constant(0, "uint8"), _BYTES)
        if vectors == 2:
            words = [reinterpret("uint8x64", cast("uint16x32", stored))]
        else:
            words = [_unpacked(emitter, stored, zero, 1, half) for half in (0, 1)]
        made = [_unpacked(emitter, word, zero, 2, half) for word in words for half in (0, 1)]
        return [reinterpret("int32x16", item) for item in made]

    def narrowed(
        self, emitter: Emitter, group: Sequence[Expr], grid: StoredGrid, pointer: Pointer, offset: Expr, size: int = 0
    ) -> None:
        """The zero point is added to 16-bit integers, saturating: what was beyond them stays beyond 8 bits."""
        if len(group) == 1:
            low = integer(0) if grid.low is None else grid.low
            high = integer(255) if grid.high is None else grid.high
            limited = maximum(group[0] + broadcast(grid.zero_point, 16), broadcast(low, 16))
            limited = minimum(limited, broadcast(high, 16))
            emitter.store(pointer, offset, cast("uint8x16", limited), 16)
            return
        zero_point = broadcast(cast("int16", grid.zero_point), 32)
        words = []
        for a, b in zip(group[::2], group[1::2], strict=True):
            packed = intrinsic("int16x32", "llvm.x86.avx512.packssdw.512", a, b)
            words.append(emitter.bind(intrinsic("int16x32", "llvm.sadd.sat.v32i16", packed, zero_point), "int16x32"))
        if len(group) == 2:
            lanes = 32
            limited = maximum(words[0], broadcast(constant(0, "int16"), lanes))
            packed = cast("uint8x32", minimum(limited, broadcast(constant(255, "int16"), lanes)))
        else:
            lanes = _BYTES
            packed = reinterpret("uint8x64", intrinsic("int8x64", "llvm.x86.avx512.packuswb.512", *words))
        if grid.low is not None:
            packed = maximum(packed, broadcast(cast("uint8", grid.low), lanes))
        if grid.high is not None:
            packed = minimum(packed, broadcast(cast("uint8", grid.high), lanes))
        if size in (0, lanes):
            emitter.store(pointer, offset, packed, lanes)
            return
        packed = emitter.bind(packed, f"uint8x{lanes}")
        done = 0
        for part in (32, 16):
            if size - done >= part:
                emitter.store(pointer, offset + done, shuffle([packed], range(done, done + part)), part)
                done += part


def _unpacked(emitter: Emitter, a: Expr, b: Expr, size: int, half: int) -> Expr:
    """vpunpckl (half 0) or vpunpckh (half 1): elements of `size` bytes of a and b in turns, within 128-bit parts."""
    lanes = []
    for block in range(0, _BYTES, _BLOCK):
        for element in range(8 // size):
            start = block + 8 * half + element * size
            lanes += [vector * _BYTES + start + byte for vector in (0, 1) for byte in range(size)]
    return emitter.bind(shuffle([a, b], lanes), "uint8x64")
