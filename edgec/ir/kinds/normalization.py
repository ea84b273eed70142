"""Operations that relate each element to the others along an axis."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.ir.kinds.base import Kind


@dataclass(frozen=True)
class Softmax(Kind):
    """x -> exp(x) / sum(exp(x)) along the last axis."""


@dataclass(frozen=True)
class LogSoftmax(Kind):
    """x -> x - log(sum(exp(x))) along the last axis."""


@dataclass(frozen=True)
class LayerNorm(Kind):
    """x, gain, offset (optional; both of the shape of the last dimensions) -> (x - mean) / sqrt(variance + epsilon)
    * gain + offset, over the last `dimensions` dimensions. Float only."""

    dimensions: int
    epsilon: float
