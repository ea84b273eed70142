"""What kernels ask of an instruction set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgec.backends.tvm.emitter import Emitter, Expr, Pointer
from edgec.backends.tvm.tiles import DepthwiseCosts
from edgec.targets import Target

Operand = Any
"""What `dot` multiplies: a vector, or some where the instruction set has to widen bytes before."""


Lookup = Callable[[Expr], Expr]
"""A vector of 4 * lanes bytes to the entries of a table at them. Indices count as uint8, whatever their dtype."""


Used = tuple[bool, ...]
"""Which of 4 neighbouring elements have weights that are not 0."""

ALL: Used = (True,) * 4

Apart = Callable[[Emitter, Sequence[Expr], Sequence[tuple[Expr, Expr]]], list[Expr]]
"""4 vectors of sums, and one or two taps: a vector of bytes of activations, and one of weights. Makes the sums with the
products of each channel; in their order. Two taps only where no weight is -128: their sum has to fit into 16 bits."""


@dataclass(frozen=True)
class StoredGrid:
    """The grid of a result, as expressions of int32: what 0 is stored as, and the limits of what may be stored.

    low, high: None where they are those of the stored dtype, which every store keeps to anyway.
    """

    zero_point: Expr
    low: Expr | None = None
    high: Expr | None = None


class InstructionSet(Protocol):
    """How 8-bit integers are multiplied, rounded and stored by a family of processors.

    A *vector* holds `lanes` int32 or float32; a *group* is 1, 2 or 4 vectors of int32 that become bytes lying together.
    Narrowing keeps integers of a group in an order of its own, which `order` tells and weights are packed in.
    """

    @property
    def name(self) -> str: ...

    @property
    def lanes(self) -> int: ...

    @property
    def registers(self) -> int:
        """How many vectors it can hold at once: 32 or 16."""
        ...

    @property
    def stored(self) -> str:
        """dtype of activations in memory: what the instruction for products wants. "uint8" or "int8"."""
        ...

    def tvm_target(self, target: Target) -> Mapping[str, Any]:
        """The target in TVM's words. Nothing in it comes from the machine that compiles."""
        ...

    def order(self, vectors: int) -> np.ndarray:
        """Position in memory of each lane of a group: int64 [vectors, lanes]."""
        ...

    def dense_tile(self, vectors: int, rows: int, columns: int, steps: int) -> tuple[int, int]:
        """Pixels and vectors of output channels of a tile of a dense product, whose sums stay in registers.

        vectors: of all output channels. rows, columns: of the result. steps: fours of elements
        that each result is made of, in all of the window.
        """
        ...

    def dot(self, sums: Expr, activations: Operand, weights: Operand, *, lowest: bool = True, used: Used = ALL) -> Expr:
        """sums[i] + sum of the products of elements 4i ... 4i + 3: int32, wrapping around; activations are `stored`,
        weights int8.

        lowest: a weight may be -128. Two products with any others fit into 16 bits, which some sets gain by.
        used: what is 0 in all lanes need not be multiplied.
        """
        ...

    @property
    def weight_words(self) -> int:
        """int32 words that a vector's weights take: 4 for each lane."""
        ...

    def packed(self, weights: np.ndarray) -> np.ndarray:
        """Weights int8 [..., lanes, 4] as `weights` reads them: int32 [..., weight_words]."""
        ...

    def weights(self, emitter: Emitter, pointer: Pointer, offset: Expr) -> Operand:
        """A vector's weights for `dot`, from words of int32."""
        ...

    def repacked(self, emitter: Emitter, words: Expr) -> list[Expr]:
        """What `packed` makes of a vector's weights, computed as the model runs: int32 vectors, `weight_words` in all.

        words: the 4 weights of each lane.
        """
        ...

    @property
    def words(self) -> tuple[int, ...]:
        """How many times 4 activations `repeated` takes at once, the best number first; 1 is the last one."""
        ...

    def repeated(self, emitter: Emitter, pointer: Pointer, offset: Expr, words: int) -> list[Operand]:
        """4 neighbouring activations, for `dot`, in every lane; then the next 4, and so on."""
        ...

    def interleaved(self, emitter: Emitter, columns: Sequence[Expr]) -> list[Operand]:
        """4 vectors of bytes (one a column) to 4 operands of `dot`: lane i of vector v has the 4 columns' bytes of
        position order(4)[v, i]."""
        ...

    @property
    def depthwise(self) -> DepthwiseCosts:
        """What tiles of depthwise convolutions cost."""
        ...

    @property
    def apart(self) -> Apart | None:
        """Products of channels with their own weights, in natural order; None where interleaving is always better."""
        ...

    def rounded(self, steps: Expr) -> Expr:
        """float32 -> int32, half to even. Undefined beyond int32."""
        ...

    def loaded(self, emitter: Emitter, pointer: Pointer, offset: Expr, vectors: int) -> list[Expr]:
        """A group of stored integers, widened to int32."""
        ...

    def lookup(self, emitter: Emitter, table: Pointer) -> Lookup | None:
        """Load a table of 256 bytes, for whole vectors of indices; None where they are looked up one by one."""
        ...

    def narrowed(
        self, emitter: Emitter, group: Sequence[Expr], grid: StoredGrid, pointer: Pointer, offset: Expr,
        size: int = 0, pixels: int = 1,
    ) -> None:  # fmt: skip
        """Store a group: integers + zero point, saturated to the limits.

        size: bytes to be stored, a multiple of `lanes`; 0 for all of them.
        pixels: how many neighbouring pixels the vectors are of, each a smaller group of its own.
        """
        ...
