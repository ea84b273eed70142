"""Operations that take many elements along axes and give fewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgec.ir.kinds.base import Kind


@dataclass(frozen=True)
class Reduce(Kind):
    """x -> one value for all elements along `axes` (ascending); those become 1 with `keepdims`, else vanish."""

    function: Literal["mean", "sum", "max", "min", "product", "any", "all"]
    axes: tuple[int, ...]
    keepdims: bool

    @property
    def label(self) -> str:
        return f"reduce_{self.function}"


@dataclass(frozen=True)
class ArgReduce(Kind):
    """x -> the position (int64; the first one) of the largest or smallest along `axis`, which vanishes."""

    function: Literal["max", "min"]
    axis: int
    dtype: Literal["int32", "int64"] = "int64"

    @property
    def label(self) -> str:
        return f"arg_{self.function}"


@dataclass(frozen=True)
class TopK(Kind):
    """x -> the k largest along the last axis in falling order, and their positions (int32)."""

    k: int


@dataclass(frozen=True)
class CumSum(Kind):
    """x -> sums of what comes before along `axis`, with the element itself unless `exclusive`."""

    axis: int
    exclusive: bool = False
    reverse: bool = False
