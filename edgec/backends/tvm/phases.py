"""A transposed convolution as convolutions.

With a stride of s, the results in rows r, r + s, r + 2s ... see every s-th row of the kernel only, and always the same
ones: they are a convolution with those, of stride 1, whose results lie s rows apart. So s * s convolutions compute all
of it, and nothing is multiplied with zeros in between ("sub-pixel convolution": Shi et al., arXiv:1609.07009).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgec.ir.graph import TensorType
from edgec.ir.kinds import TransposeConv2D
from edgec.ir.kinds.windows import Padding2D


@dataclass(frozen=True)
class Phase:
    """Results of one convolution, along rows or columns.

    first: the first result, the others are `stride` apart; count: of results. taps: which of the kernel's each of the
    window's is; none where the kernel has no tap for these results, which are the bias alone then.
    start: of x, what the window of the first result sees first. step: of x, from tap to tap.
    """

    first: int
    count: int
    taps: tuple[int, ...]
    start: int
    step: int

    @property
    def last(self) -> int:
        """Of x, what the last result's window sees last."""
        return self.start + (len(self.taps) - 1) * self.step + self.count - 1


def phases(results: int, taps: int, stride: int, dilation: int, padding: int) -> list[Phase]:
    """All phases along an axis. taps: of the kernel. padding: what is cut off before the first result.

    Tap i of the kernel takes x[j] to result j * stride + i * dilation - padding.
    """
    found = []
    for rest in range(stride):
        first = (rest - padding) % stride
        count = len(range(first, results, stride))
        if not count:
            continue
        chosen = [tap for tap in range(taps) if tap * dilation % stride == rest]
        shifts = [(tap * dilation - rest) // stride for tap in chosen]
        here = (first + padding) // stride
        # A later tap sees what lies before: the window's order is the reverse of the kernel's.
        start = here - shifts[-1] if shifts else 0
        step = shifts[1] - shifts[0] if len(shifts) > 1 else 1
        found.append(Phase(first, count, tuple(reversed(chosen)), start, step))
    return found


def phases_of(kind: TransposeConv2D, weights: TensorType, y: TensorType) -> Iterator[tuple[Phase, Phase]]:
    """Along rows and along columns, of each convolution."""
    (top, left), (_, height, width, _) = (kind.padding.top, kind.padding.left), weights.shape
    columns = phases(y.shape[2], width, kind.stride[1], kind.dilation[1], left)
    for row in phases(y.shape[1], height, kind.stride[0], kind.dilation[0], top):
        for column in columns:
            yield row, column


def border_for(kind: TransposeConv2D, x: TensorType, weights: TensorType, y: TensorType) -> Padding2D:
    """How far the windows reach beyond x."""
    before, behind = [0, 0], [0, 0]
    for pair in phases_of(kind, weights, y):
        if all(phase.taps for phase in pair):
            for axis, phase in enumerate(pair):
                before[axis] = max(before[axis], -phase.start)
                behind[axis] = max(behind[axis], phase.last - (x.shape[1 + axis] - 1))
    return Padding2D(before[0], behind[0], before[1], behind[1])
