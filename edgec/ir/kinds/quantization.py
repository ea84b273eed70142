"""Operations between real numbers and the integers that stand for them."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.ir.kinds.base import Kind


@dataclass(frozen=True)
class Quantize(Kind):
    """x -> integers of the result's quantization: round(x / scale) half to even, + zero point, saturated.

    Of a tensor that has a quantization already it makes another one (requantize).
    """


@dataclass(frozen=True)
class Dequantize(Kind):
    """integers -> float32: (integer - zero_point) * scale."""
