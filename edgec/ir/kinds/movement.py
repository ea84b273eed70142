"""Operations whose results are elements of their operands: integers pass through as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgec.ir.kinds.base import Kind


@dataclass(frozen=True)
class Reshape(Kind):
    """x -> the same elements, in row-major order, in another shape. Also what squeezes and unsqueezes."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Transpose(Kind):
    """x -> dimension i of the result is dimension permutation[i] of x."""

    permutation: tuple[int, ...]


@dataclass(frozen=True)
class Concat(Kind):
    """a, b, ... -> one after the other along `axis`."""

    axis: int


@dataclass(frozen=True)
class Split(Kind):
    """x -> as many results as there are sizes, along `axis`."""

    axis: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Slice(Kind):
    """x -> x[begin:end:stride] of every dimension. Strides may be negative; an end of -1 is then before the first."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Pad(Kind):
    """x -> x with elements around it: of one value (a real number), or mirrored (reflect: without the border itself;
    symmetric: with it), or the border repeated (edge)."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    mode: Literal["constant", "reflect", "symmetric", "edge"] = "constant"
    value: float = 0.0


@dataclass(frozen=True)
class Gather(Kind):
    """x, indices (int32 or int64, within bounds) -> x with `axis` replaced by the shape of the indices.

    The first `batch_dims` dimensions of both are the same, and gathered from one by one. A constant index is never
    negative.
    """

    axis: int
    batch_dims: int = 0


@dataclass(frozen=True)
class GatherND(Kind):
    """x, indices [..., D] -> elements (or slices) of x at the positions that the last dimension of indices names."""


@dataclass(frozen=True)
class ScatterND(Kind):
    """x, indices [..., D], updates -> x with `updates` at the positions that the indices name."""


@dataclass(frozen=True)
class Tile(Kind):
    """x -> x repeated along every dimension."""

    repeats: tuple[int, ...]


@dataclass(frozen=True)
class BroadcastTo(Kind):
    """x -> x spread to `shape` as numpy broadcasts."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class OneHot(Kind):
    """indices, constant on and off values (scalars) -> `depth` elements along a new `axis`, on where the index is.

    An index that is negative, or not below `depth`, is nowhere.
    """

    depth: int
    axis: int


@dataclass(frozen=True)
class Reverse(Kind):
    """x -> x with the order along `axes` turned round."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class DepthToSpace(Kind):
    """x [N, H, W, C] -> [N, H * block, W * block, C / block^2]; channels are ordered (row, column, channel)."""

    block: int


@dataclass(frozen=True)
class SpaceToDepth(Kind):
    """x [N, H, W, C] -> [N, H / block, W / block, C * block^2]; channels become (row, column, channel)."""

    block: int
