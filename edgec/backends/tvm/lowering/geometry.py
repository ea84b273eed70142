"""Where a product reads and writes, whatever it multiplies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edgec.backends.tvm.lowering.program_writer import ProgramWriter
from edgec.backends.tvm.phases import phases_of
from edgec.backends.tvm.program import Place
from edgec.backends.tvm.storage import Steps, Storage
from edgec.backends.tvm.tiles import is_upright
from edgec.ir import kinds
from edgec.ir.graph import Operation
from edgec.ir.kinds import Kind
from edgec.ir.kinds.windows import NO_PADDING, Padding2D


@dataclass(frozen=True)
class Geometry:
    """shape: images, rows, columns of the result. x, y: from one of its pixels to the next, where the window starts and
    where the result goes. taps: between those of the window. others: as y, of values that the result is combined with.
    wrap: pixels of a row of the result and of others, where x is one long row (of one image) and they are not.
    """

    shape: tuple[int, int, int]
    x: Steps
    y: Steps
    taps: Steps
    others: tuple[Steps, ...] = ()
    wrap: int = 0

    @classmethod
    def of(cls, kind: kinds.Conv2D, x: Storage, y: Storage, others: Sequence[Steps] = ()) -> Geometry:
        """A convolution of one value to another."""
        return cls(
            (y.shape[0], y.shape[1], y.shape[2]),
            Steps(x.steps.image, x.steps.row * kind.stride[0], x.pixel * kind.stride[1]),
            y.steps,
            Steps(0, x.steps.row * kind.dilation[0], x.pixel * kind.dilation[1]),
            tuple(others),
        )

    @property
    def turned(self) -> Geometry:
        """With rows for columns."""
        images, rows, columns = self.shape
        others = tuple(steps.turned for steps in self.others)
        return Geometry((images, columns, rows), self.x.turned, self.y.turned, self.taps.turned, others)

    @property
    def in_one_row(self) -> Geometry:
        """All pixels as one long row, where they lie like that everywhere: no tile ends before it has to. Only of
        windows of one pixel."""
        found = [self._one_step(steps) for steps in (self.x, self.y, *self.others)]
        merged = [Steps(0, 0, step) for step in found if step is not None]
        if len(merged) < len(found):
            return self
        images, rows, columns = self.shape
        return Geometry((1, 1, images * rows * columns), merged[0], merged[1], self.taps, tuple(merged[2:]))

    @property
    def wrapped(self) -> Geometry:
        """The pixels that are read as one long row, where only those lie like that. Only of windows of one pixel."""
        images, rows, columns = self.shape
        if images > 1 or self._one_step(self.x) is None or self.in_one_row is not self:
            return self
        return replace(self, shape=(1, 1, rows * columns), wrap=columns)

    def _one_step(self, steps: Steps) -> int | None:
        """The step from one pixel to the next, where it is the same from each to the next one; None where it is not."""
        every = zip(self.shape, (steps.image, steps.row, steps.column), strict=True)
        sizes = [(size, step) for size, step in every if size > 1]
        for (_, outer), (size, inner) in pairwise(sizes):
            if outer != size * inner:
                return None
        return sizes[-1][1] if sizes else 0


def arranged(geometry: Geometry, weights: np.ndarray) -> tuple[Geometry, np.ndarray]:
    """What a kernel that multiplies all channels with all has most neighbouring pixels of.

    weights: [O, KH, KW, C], with rows for columns where the pixels are.
    """
    if weights.shape[1:3] == (1, 1) and not geometry.wrap:
        geometry = geometry.in_one_row
    if is_upright(*geometry.shape[1:]):
        return geometry.turned, weights.swapaxes(1, 2)
    return geometry, weights


def as_convolution(kind: Kind) -> kinds.Conv2D:
    """A product as a convolution: that of a fully-connected layer has a window of one pixel."""
    assert isinstance(kind, kinds.Conv2D | kinds.FullyConnected)
    return kind if isinstance(kind, kinds.Conv2D) else kinds.Conv2D(activation=kind.activation)


@dataclass(frozen=True, eq=False)
class PhaseProduct:
    """One of the convolutions that a transposed one is computed as, see `phases.py`.

    weights: [O, KH, KW, C / groups], those of the whole one's that it sees. places: of x and of the result.
    """

    weights: np.ndarray
    geometry: Geometry
    places: tuple[Place, Place]


def phase_products(
    kind: kinds.TransposeConv2D, writer: ProgramWriter, operation: Operation, weights: np.ndarray
) -> Iterator[PhaseProduct]:
    """Those of a transposed convolution, whose result gets its place. weights: [O, KH, KW, C / groups]."""
    source, name = operation.inputs[0], operation.outputs[0]
    x, y = writer.storage(source), writer.declare(operation)
    for row, column in phases_of(kind, writer.type(operation.inputs[1]), writer.type(name)):
        if row.taps and column.taps:
            chosen = weights[:, row.taps][:, :, column.taps]
            start = Padding2D(top=-row.start, left=-column.start)
        else:
            # No tap of the kernel falls on these results. One of zeros does; what it sees has to be there, that is all.
            chosen, start = np.zeros_like(weights[:, :1, :1]), NO_PADDING
        geometry = Geometry(
            (y.shape[0], row.count, column.count),
            Steps(x.steps.image, x.steps.row, x.pixel),
            Steps(y.steps.image, y.steps.row * kind.stride[0], y.pixel * kind.stride[1]),
            Steps(0, x.steps.row * row.step, x.pixel * column.step),
        )
        result = writer.corner(name, Padding2D(top=-row.first, left=-column.first))
        yield PhaseProduct(chosen, geometry, (writer.corner(source, start), result))
