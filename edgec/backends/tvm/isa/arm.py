"""ARM's NEON: what all its instruction sets share. Vectors of 128 bits, int8 by int8, no order but the natural one.

Activations are stored as int8, those of uint8 tensors with 128 subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from edgec.backends.tvm.isa import lookups
from edgec.backends.tvm.isa.base import Lookup, StoredGrid
from edgec.targets import KNOWN_FEATURES, Target
from edgec.toolchain import llvm_features

BYTES = 16
"""Of a vector."""


@dataclass(frozen=True)
class Narrowing:
    """LLVM's names of the instructions that narrow and saturate: 4 x int32 to int16, and 8 x int16 to int8."""

    words: str
    bytes: str


AARCH64 = Narrowing("llvm.aarch64.neon.sqxtn.v4i16", "llvm.aarch64.neon.sqxtn.v8i8")
ARMV7 = Narrowing("llvm.arm.neon.vqmovns.v4i16", "llvm.arm.neon.vqmovns.v8i8")


def llvm_target(target: Target, default: str) -> Mapping[str, Any]:
    """The target in TVM's words: its core, which decides how instructions are scheduled, and which of them there are:
    NEON and the features that the target lists. Others are taken away, because a core may be one of two kinds in a
    device, and the other kind may lack them.

    default: the core of a target that names none.
    """
    known = llvm_features(replace(target, features=KNOWN_FEATURES[target.arch]))
    there = {"neon", *llvm_features(target)}
    attributes = [f"{'+' if name in there else '-'}{name}" for name in sorted({"neon", *known})]
    return {"kind": "llvm", "mtriple": target.triple, "mcpu": target.cpu or default, "mattr": attributes}


def natural_order(vectors: int) -> np.ndarray:
    """Narrowing keeps neighbours neighbours. int64 [vectors, 4]."""
    return np.arange(4 * vectors).reshape(vectors, 4)


def zipped(emitter: Emitter, a: Expr, b: Expr, size: int, half: int) -> Expr:
    """zip1 (half 0) or zip2 (half 1): elements of `size` bytes of a and b in turns."""
    lanes = []
    for element in range(BYTES // 2 // size):
        start = BYTES // 2 * half + element * size
        lanes += [vector * BYTES + start + byte for vector in (0, 1) for byte in range(size)]
    return emitter.bind(shuffle([a, b], lanes), "int8x16")


def words_loaded(emitter: Emitter, pointer: Pointer, offset: Expr, words: int) -> Expr:
    """4, 8 or 16 bytes, over and over until they fill a vector: int32x4."""
    loaded = reinterpret(f"int32x{words}" if words > 1 else "int32", emitter.load(pointer, offset, 4 * words))
    if words == 1:
        return emitter.bind(broadcast(loaded, 4), "int32x4")
    loaded = emitter.bind(loaded, f"int32x{words}")
    # TVM makes no vector that is longer than what it is made from.
    return loaded if words == 4 else emitter.bind(shuffle([loaded, loaded], range(4)), "int32x4")


def widened(emitter: Emitter, pointer: Pointer, offset: Expr, vectors: int) -> list[Expr]:
    """`InstructionSet.loaded`."""
    lanes = 4 * vectors
    stored = emitter.bind(emitter.load(pointer, offset, lanes), f"int8x{lanes}")
    made = []
    for v in range(vectors):
        part = shuffle([stored], range(4 * v, 4 * v + 4)) if vectors > 1 else stored
        made.append(emitter.bind(cast("int32x4", part), "int32x4"))
    return made


def narrowed(
    emitter: Emitter,
    by: Narrowing,
    group: Sequence[Expr],
    grid: StoredGrid,
    pointer: Pointer,
    offset: Expr,
    size: int,
) -> None:
    """`InstructionSet.narrowed`. The zero point is added to 16-bit integers, saturating: what was beyond them stays
    beyond 8 bits."""
    lanes = 4 * len(group)
    pairs = [group[at : at + 2] for at in range(0, len(group), 2)]
    bytes_ = []
    for pair in pairs:
        halves = [emitter.bind(intrinsic("int16x4", by.words, item), "int16x4") for item in pair]
        words = shuffle(halves if len(pair) == 2 else halves * 2, range(8))
        zero_point = broadcast(cast("int16", grid.zero_point), 8)
        moved = emitter.bind(intrinsic("int16x8", "llvm.sadd.sat.v8i16", words, zero_point), "int16x8")
        bytes_.append(emitter.bind(intrinsic("int8x8", by.bytes, moved), "int8x8"))
    packed = shuffle(bytes_, range(lanes)) if lanes != 8 else bytes_[0]
    if grid.low is not None:
        packed = maximum(packed, broadcast(cast("int8", grid.low), lanes))
    if grid.high is not None:
        packed = minimum(packed, broadcast(cast("int8", grid.high), lanes))
    if size in (0, lanes):
        emitter.store(pointer, offset, packed, lanes)
        return
    packed = emitter.bind(packed, f"int8x{lanes}")
    done = 0
    for part in (8, 4):
        if size - done >= part:
            emitter.store(pointer, offset + done, shuffle([packed], range(done, done + part)), part)
            done += part


def sums_apart(emitter: Emitter, multiply: str, sums: Sequence[Expr], taps: Sequence[tuple[Expr, Expr]]) -> list[Expr]:
    """`InstructionSet.apart`. multiply: LLVM's name of the instruction for 8 x int8 to int16."""
    made = list(sums)
    for half in (0, 1):
        products: Expr | None = None
        for pair in taps:
            parts = [shuffle([item], range(8 * half, 8 * half + 8)) for item in pair]
            product = intrinsic("int16x8", multiply, *parts)
            products = product if products is None else products + product
        assert products is not None
        products = emitter.bind(products, "int16x8")
        for quarter in (0, 1):
            widened = cast("int32x4", shuffle([products], range(4 * quarter, 4 * quarter + 4)))
            made[2 * half + quarter] = made[2 * half + quarter] + widened
    return made


class AArch64:
    """What all instruction sets of 64-bit ARM do alike: round, read and store."""

    def rounded(self, steps: Expr) -> Expr:
        return intrinsic("int32x4", "llvm.aarch64.neon.fcvtns.v4i32.v4f32", steps)

    def loaded(self, emitter: Emitter, pointer: Pointer, offset: Expr, vectors: int) -> list[Expr]:
        return widened(emitter, pointer, offset, vectors)

    def lookup(self, emitter: Emitter, table: Pointer) -> Lookup | None:
        return lookups.by_registers(emitter, table)

    def narrowed(
        self, emitter: Emitter, group: Sequence[Expr], grid: StoredGrid, pointer: Pointer, offset: Expr,
        size: int = 0, pixels: int = 1,
    ) -> None:  # fmt: skip
        narrowed(emitter, AARCH64, group, grid, pointer, offset, size)
