"""Operations that multiply and accumulate: where the work is."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.ir.kinds.base import Activation, Kind
from edgec.ir.kinds.windows import NO_PADDING, Padding2D


@dataclass(frozen=True)
class Conv2D(Kind):
    """x [N, H, W, C], weights [O, KH, KW, C / groups], bias [O] (optional) -> [N, OH, OW, O].

    Padding is with zeros (the zero point, for integers), and written out. Output channels of a group lie together:
    output channel o reads the input channels of group o // (O / groups).
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Padding2D = NO_PADDING
    groups: int = 1
    activation: Activation = "none"


@dataclass(frozen=True)
class TransposeConv2D(Kind):
    """x [N, H, W, C], weights [O, KH, KW, C / groups], bias [O] (optional) -> [N, OH, OW, O].

    The full result has (H - 1) * stride + (KH - 1) * dilation + 1 rows; `padding` is cut off from it, and
    `output_padding` rows and columns are added at the end: they are computed where the window reaches them.
    With several groups the weights are those of the groups after each other along O.
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Padding2D = NO_PADDING
    output_padding: tuple[int, int] = (0, 0)
    groups: int = 1
    activation: Activation = "none"


@dataclass(frozen=True)
class FullyConnected(Kind):
    """x [..., K], constant weights [O, K], bias [O] (optional) -> [..., O]."""

    activation: Activation = "none"


@dataclass(frozen=True)
class BatchMatMul(Kind):
    """a [..., M, K], b [..., K, N] -> [..., M, N]; leading dimensions broadcast.

    With `transpose_a` (`transpose_b`) the last two dimensions of a (b) are stored the other way round.
    """

    transpose_a: bool = False
    transpose_b: bool = False
