"""What a layer's kernel reads besides its operands: one block of int32 words a step, all of them one after the other.

    [header: HEADER words][bias of each lane][multiplier of each lane][weights]

Lanes and weights are in the order of the kernel's `packed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import HEADER, Word, bits
from edgec.backends.tvm.planning import aligned
from edgec.ir.graph import TensorType
from edgec.ir.kinds import Activation
from edgec.ir.reference.grid import limits
from edgec.ir.reference.products import activation_limits

Number = int | float | np.float32
Words = Mapping[Word, Number]
"""Numbers of a header."""

SAFE_STEPS = 2.0**30
"""Numbers of steps below this are within int32, zero point and all."""


def is_stored_by_grid(of: TensorType) -> bool:
    """Whether a type is of 8-bit integers that stand for real numbers: those are stored as `StoredType` says."""
    return of.quantization is not None and of.dtype in ("int8", "uint8")


@dataclass(frozen=True)
class StoredType:
    """A quantized tensor as it is stored: integer + shift, in the dtype that the instruction set multiplies."""

    type: TensorType
    shift: int

    @classmethod
    def of(cls, of: TensorType, isa: InstructionSet) -> StoredType:
        return cls(of, limits(isa.stored)[0] - limits(of.dtype)[0])

    @property
    def zero_point(self) -> int:
        """What 0 is stored as."""
        assert self.type.quantization is not None
        return self.type.quantization.zero_point[0] + self.shift

    @property
    def scale(self) -> np.float32:
        assert self.type.quantization is not None
        return np.float32(self.type.quantization.scale[0])

    def limits(self, activation: Activation = "none") -> tuple[int, int]:
        """The least and the largest integer that an activation leaves, as they are stored."""
        low, high = activation_limits(self.type, activation)
        return low + self.shift, high + self.shift

    def is_limited(self, activation: Activation) -> bool:
        """Whether an activation leaves less than the dtype holds."""
        return self.limits(activation) != self.limits()


def header(words: Words) -> np.ndarray:
    """The header: int32 [HEADER]; floats as their bits."""
    made = np.zeros(HEADER, np.int32)
    for word, value in words.items():
        made[word] = value if isinstance(value, int) else bits(value)
    return made


def result_words(of: StoredType, activation: Activation = "none") -> dict[Word, Number]:
    """The grid of a result."""
    low, high = of.limits(activation)
    return {Word.ZERO_POINT: of.zero_point, Word.LOW: low, Word.HIGH: high}


def folded_bias(weights: np.ndarray, bias: np.ndarray, zero_point: int) -> np.ndarray:
    """bias[o] - zero_point * sum over w[o]: int32 [O], wrapping around as the sums do.

    weights: int8 [O, ...]. zero_point: of the activations as they are stored.
    """
    sums = weights.reshape(len(weights), -1).astype(np.int64).sum(axis=1)
    return np.asarray(bias.astype(np.int64) - zero_point * sums).astype(np.int32)


def may_be_far(factor: np.float32, count: int = 1) -> bool:
    """Whether a sum of differences of 8-bit integers, in steps of the result, can come near the limits of int32.

    factor: steps of the result in one of theirs. count: how many are added up.
    """
    return 255 * float(factor) * count >= SAFE_STEPS


def reaches_far(weights: np.ndarray, bias: np.ndarray, x: StoredType, factors: np.ndarray) -> bool:
    """Whether a sum, in steps of the result, can come near the limits of int32."""
    low, high = x.limits()
    distance = max(high - x.zero_point, x.zero_point - low)
    most = np.abs(weights.reshape(len(weights), -1).astype(np.int64)).sum(axis=1) * distance
    most = np.minimum(most + np.abs(bias.astype(np.int64)), 2**31)
    return bool((most.astype(np.float64) * np.abs(factors).astype(np.float64)).max(initial=0) >= SAFE_STEPS)


def product_block(
    words: np.ndarray, bias: np.ndarray, factors: np.ndarray, channels: np.ndarray, weights: np.ndarray
) -> bytes:
    """The constants of a product.

    bias: int32 [O]; factors: float32 [O]; channels: which of them each lane has, -1 for none; weights: packed.
    """
    there = channels >= 0
    lanes = np.where(there, bias[channels], 0).astype(np.int32)
    scales = np.where(there, factors[channels], 0).astype(np.float32)
    return b"".join(part.tobytes() for part in (words, lanes, scales, weights))


@dataclass
class Constants:
    """All blocks, in the writing. Equal ones are kept once."""

    content: bytearray = field(default_factory=bytearray)
    places: dict[bytes, int] = field(default_factory=dict)

    def add(self, block: bytes) -> int:
        """Where a block begins: a multiple of ALIGNMENT."""
        if block not in self.places:
            self.places[block] = len(self.content)
            self.content += block.ljust(aligned(len(block)), b"\0")
        return self.places[block]
