"""x86-64: what all its instruction sets share, whatever their vectors' length.

They differ in how they multiply (`Products`) and in the tiles that suit their registers. Activations are stored as
uint8, those of int8 tensors with 128 added, because that is what the instructions for products take.

Vectors of more than 16 bytes are rows of 128-bit parts to the instructions that pack and unpack: each part for itself.
Unpacking 4 vectors of bytes, or packing into bytes, therefore puts elements into an order of its own (`X86.order`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
from edgec.backends.tvm.isa import lookups
from edgec.backends.tvm.isa.base import ALL, Lookup, Operand, StoredGrid, Used
from edgec.backends.tvm.tiles import DepthwiseCosts
from edgec.targets import Target
from edgec.toolchain import llvm_features

_PART = 16  # bytes of the 128-bit parts that packing and unpacking work on, each for itself
_CURRENT_ROUNDING = 4  # _MM_FROUND_CUR_DIRECTION: half to even, unless a program changed it

DenseTile = Callable[[int, int, int, int], tuple[int, int]]
"""`InstructionSet.dense_tile`."""


class Products(Protocol):
    """How bytes are multiplied."""

    @property
    def weight_words(self) -> int:
        """As in `InstructionSet`."""
        ...

    def packed(self, weights: np.ndarray) -> np.ndarray:
        """As in `InstructionSet`."""
        ...

    def weights(self, emitter: Emitter, pointer: Pointer, offset: Expr) -> Operand:
        """As in `InstructionSet`."""
        ...

    def repacked(self, emitter: Emitter, words: Expr) -> list[Expr]:
        """As in `InstructionSet`."""
        ...

    def operand(self, emitter: Emitter, activations: Expr) -> Operand:
        """A vector of stored activations, 4 neighbours in each lane, for `dot`."""
        ...

    def dot(self, sums: Expr, activations: Operand, weights: Operand, used: Used) -> Expr:
        """As in `InstructionSet`."""
        ...


@dataclass(frozen=True)
class Vnni:
    """vpdpbusd: 4 products of uint8 by int8 a lane, added up without saturation."""

    lanes: int

    @property
    def weight_words(self) -> int:
        return self.lanes

    def packed(self, weights: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(weights).view(np.int32)[..., 0]

    def weights(self, emitter: Emitter, pointer: Pointer, offset: Expr) -> Expr:
        dtype = f"int8x{4 * self.lanes}"
        return emitter.bind(reinterpret(dtype, emitter.load(pointer, offset, self.lanes)), dtype)

    def operand(self, emitter: Emitter, activations: Expr) -> Expr:
        dtype = f"int8x{4 * self.lanes}"  # to LLVM; the instruction takes them as uint8
        return emitter.bind(reinterpret(dtype, activations), dtype)

    def repacked(self, emitter: Emitter, words: Expr) -> list[Expr]:
        return [words]

    def dot(self, sums: Expr, activations: Expr, weights: Expr, used: Used) -> Expr:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"  # of 256 bits it is AVX-VNNI's where AVX-512 is not there
        return intrinsic(f"int32x{self.lanes}", name, sums, activations, weights)


@dataclass(frozen=True)
class X86:
    """An instruction set of x86-64. features: those of LLVM that it never uses, whatever the target has.

    tile: its rule for `dense_tile`. depthwise: cycles.
    """

    name: str
    lanes: int
    registers: int
    products: Products
    tile: DenseTile
    depthwise: DepthwiseCosts
    without: tuple[str, ...] = ()
    stored: str = "uint8"
    words: tuple[int, ...] = (1,)

    @property
    def weight_words(self) -> int:
        return self.products.weight_words

    @property
    def bytes(self) -> int:
        """Of a vector."""
        return 4 * self.lanes

    def tvm_target(self, target: Target) -> Mapping[str, Any]:
        features = [f"+{name}" for name in llvm_features(target) if not name.startswith(self.without)]
        return {"kind": "llvm", "mtriple": target.triple, "mcpu": target.cpu or "x86-64", "mattr": features}

    def order(self, vectors: int) -> np.ndarray:
        lane = np.arange(self.lanes)
        within = 4 * vectors  # what packing takes from a 128-bit part of all vectors of a group
        return np.stack([lane // 4 * within + 4 * v + lane % 4 for v in range(vectors)])

    def dense_tile(self, vectors: int, rows: int, columns: int, steps: int) -> tuple[int, int]:
        return self.tile(vectors, rows, columns, steps)

    @property
    def apart(self) -> None:
        return None

    def packed(self, weights: np.ndarray) -> np.ndarray:
        return self.products.packed(weights)

    def weights(self, emitter: Emitter, pointer: Pointer, offset: Expr) -> Operand:
        return self.products.weights(emitter, pointer, offset)

    def dot(self, sums: Expr, activations: Operand, weights: Operand, *, lowest: bool = True, used: Used = ALL) -> Expr:
        return self.products.dot(sums, activations, weights, used)

    def repacked(self, emitter: Emitter, words: Expr) -> list[Expr]:
        return self.products.repacked(emitter, words)

    def repeated(self, emitter: Emitter, pointer: Pointer, offset: Expr, words: int) -> list[Operand]:
        made = []
        for word in range(words):
            loaded = reinterpret("int32", emitter.load(pointer, offset + 4 * word, 4))
            spread = reinterpret(f"uint8x{self.bytes}", broadcast(loaded, self.lanes))
            made.append(self.products.operand(emitter, spread))
        return made

    def interleaved(self, emitter: Emitter, columns: Sequence[Expr]) -> list[Operand]:
        a, b, c, d = columns
        low = self._unpacked(emitter, a, b, 1, 0), self._unpacked(emitter, c, d, 1, 0)
        high = self._unpacked(emitter, a, b, 1, 1), self._unpacked(emitter, c, d, 1, 1)
        made = [self._unpacked(emitter, *pair, 2, half) for pair in (low, high) for half in (0, 1)]
        return [self.products.operand(emitter, item) for item in made]

    def rounded(self, steps: Expr) -> Expr:
        if self.lanes == 8:
            return intrinsic("int32x8", "llvm.x86.avx.cvt.ps2dq.256", steps)
        unused = broadcast(integer(0), 16), constant(-1, "int16"), integer(_CURRENT_ROUNDING)
        return intrinsic("int32x16", "llvm.x86.avx512.mask.cvtps2dq.512", steps, *unused)

    def loaded(self, emitter: Emitter, pointer: Pointer, offset: Expr, vectors: int) -> list[Expr]:
        lanes, words = self.lanes * vectors, f"int32x{self.lanes}"
        stored = emitter.bind(emitter.load(pointer, offset, lanes), f"uint8x{lanes}")
        if vectors == 1:
            return [emitter.bind(cast(words, stored), words)]
        zero = broadcast(constant(0, "uint8"), self.bytes)
        if vectors == 2:
            halves = [reinterpret(f"uint8x{self.bytes}", cast(f"uint16x{lanes}", stored))]
        else:
            halves = [self._unpacked(emitter, stored, zero, 1, half) for half in (0, 1)]
        made = [self._unpacked(emitter, item, zero, 2, half) for item in halves for half in (0, 1)]
        return [reinterpret(words, item) for item in made]

    def lookup(self, emitter: Emitter, table: Pointer) -> Lookup | None:
        return lookups.by_nibbles(emitter, table, self.bytes)

    def narrowed(
        self, emitter: Emitter, group: Sequence[Expr], grid: StoredGrid, pointer: Pointer, offset: Expr,
        size: int = 0, pixels: int = 1,
    ) -> None:  # fmt: skip
        """The zero point is added to 16-bit integers, saturating: what was beyond them stays beyond 8 bits."""
        lanes = self.lanes * len(group)
        if len(group) == 1:
            low = integer(0) if grid.low is None else grid.low
            high = integer(255) if grid.high is None else grid.high
            limited = maximum(group[0] + broadcast(grid.zero_point, lanes), broadcast(low, lanes))
            limited = minimum(limited, broadcast(high, lanes))
            emitter.store(pointer, offset, cast(f"uint8x{lanes}", limited), lanes)
            return
        count = 2 * self.lanes  # of 16-bit integers in a vector
        zero_point, wide = broadcast(cast("int16", grid.zero_point), count), f"int16x{count}"
        words = []
        for a, b in zip(group[::2], group[1::2], strict=True):
            packed = intrinsic(wide, self._intrinsic("packssdw"), a, b)
            words.append(emitter.bind(intrinsic(wide, f"llvm.sadd.sat.v{count}i16", packed, zero_point), wide))
        if len(group) == 2:
            limited = maximum(words[0], broadcast(constant(0, "int16"), lanes))
            packed = cast(f"uint8x{lanes}", minimum(limited, broadcast(constant(255, "int16"), lanes)))
        else:
            packed = intrinsic(f"int8x{lanes}", self._intrinsic("packuswb"), *words)
            packed = reinterpret(f"uint8x{lanes}", packed)
        if grid.low is not None:
            packed = maximum(packed, broadcast(cast("uint8", grid.low), lanes))
        if grid.high is not None:
            packed = minimum(packed, broadcast(cast("uint8", grid.high), lanes))
        if pixels > 1:
            in_words = f"int32x{lanes // 4}"
            packed = emitter.bind(reinterpret(in_words, packed), in_words)
            packed = reinterpret(f"uint8x{lanes}", shuffle([packed], self._apart(len(group), pixels)))
        if size in (0, lanes):
            emitter.store(pointer, offset, packed, lanes)
            return
        packed = emitter.bind(packed, f"uint8x{lanes}")
        done = 0
        for part in (32, 16, 8):
            if size - done >= part:
                emitter.store(pointer, offset + done, shuffle([packed], range(done, done + part)), part)
                done += part

    def _apart(self, vectors: int, pixels: int) -> list[int]:
        """Words of a packed group of several pixels' vectors, in the order in which each pixel would be packed alone:
        packing puts those of all pixels into each 128-bit part."""
        of_pixel, parts = vectors // pixels, self.lanes // 4
        return [
            part * vectors + pixel * of_pixel + vector
            for pixel in range(pixels)
            for part in range(parts)
            for vector in range(of_pixel)
        ]

    def _intrinsic(self, name: str) -> str:
        """One of those that AVX-512 took over from AVX2."""
        return f"llvm.x86.avx512.{name}.512" if self.lanes == 16 else f"llvm.x86.avx2.{name}"

    def _unpacked(self, emitter: Emitter, a: Expr, b: Expr, size: int, half: int) -> Expr:
        """vpunpckl (half 0) or vpunpckh (half 1): elements of `size` bytes of a and b in turns, within the parts."""
        lanes = []
        for part in range(0, self.bytes, _PART):
            for element in range(8 // size):
                start = part + 8 * half + element * size
                lanes += [vector * self.bytes + start + byte for vector in (0, 1) for byte in range(size)]
        return emitter.bind(shuffle([a, b], lanes), f"uint8x{self.bytes}")
