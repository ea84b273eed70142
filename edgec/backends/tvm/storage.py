"""How a value lies in memory.

Always as an image [N, H, W, C], channels last, whatever its rank: the last dimension is the channels, the two before it
are rows and columns, and all others together are the images (`image_shape`). Integers that stand for real numbers lie
in the dtype that the instruction set multiplies (`constants.StoredType`), everything else in its own.

A pixel takes a multiple of 16 bytes, so that whole vectors of channels can be written; or 4 bytes where there are no
more than 4 channels of 8 bits and the writer stores single pixels. What lies behind the last channel is not defined,
nor need it be a number: integer kernels multiply it with weights of 0, float kernels do not read it.

Around the image lies a border of zero points, as wide as the widest padding of those who read it through a window: no
kernel has code for edges. Behind it lie bytes that a reader of whole vectors may touch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ir.kinds.windows import NO_PADDING, Padding2D

ALIGNMENT = 64
"""Of every value in the arena and of every block of constants, in bytes: the longest vector, and a cache line."""

SLACK = 64
"""Bytes behind a value that may be read."""

_PIXEL_BYTES = 16
_SMALL_PIXEL = 4

Shape4 = tuple[int, int, int, int]
"""[N, H, W, C]."""


@dataclass(frozen=True)
class Steps:
    """Distances in elements: to the same place in the next image, in the next row, in the next column."""

    image: int
    row: int
    column: int

    @property
    def turned(self) -> Steps:
        """With rows for columns."""
        return Steps(self.image, self.column, self.row)


@dataclass(frozen=True)
class Storage:
    """shape: [N, H, W, C]. dtype: as it is stored. pixel: elements from one pixel to the next.
    border: pixels around the image."""

    shape: Shape4
    dtype: str
    pixel: int
    border: Padding2D = NO_PADDING

    @property
    def rows(self) -> int:
        """With the border."""
        return self.shape[1] + self.border.top + self.border.bottom

    @property
    def columns(self) -> int:
        """With the border."""
        return self.shape[2] + self.border.left + self.border.right

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.dtype).itemsize

    @property
    def steps(self) -> Steps:
        row = self.columns * self.pixel
        return Steps(self.rows * row, row, self.pixel)

    @property
    def inner(self) -> int:
        """Where the image itself begins, in elements from the border's first one."""
        return self.border.top * self.steps.row + self.border.left * self.pixel

    @property
    def size(self) -> int:
        """Bytes, slack and all."""
        return self.shape[0] * self.steps.image * self.itemsize + SLACK

    @property
    def is_flat(self) -> bool:
        """Whether all pixels lie one after the other."""
        return not self.border.any

    def strides(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Elements from one index to the next along every dimension of the value, whose own shape that is."""
        steps = self.steps
        return element_strides(shape, (steps.image, steps.row, steps.column, 1))


def element_strides(shape: tuple[int, ...], image: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Elements from one index to the next along every dimension of a value of any rank.

    image: from one image, row, column, channel to the next.
    """
    rank = len(shape)
    if rank == 2:
        return image[0], image[3]
    leading = [image[0] * math.prod(shape[axis + 1 : rank - 3]) for axis in range(rank - 3)]
    return (*leading, *image[max(1, 4 - rank) :])


def image_shape(of: TensorType) -> Shape4:
    """A type's shape as that of an image: [N, C] is N images of one pixel, [L, C] of a longer shape a row of pixels."""
    shape = of.shape
    if len(shape) == 2:
        return shape[0], 1, 1, shape[1]
    n, h, w, c = (1, 1, 1, 1, *shape)[-4:]
    return n * math.prod(shape[:-4]), h, w, c


def vector_pixel(channels: int, dtype: str = "int8") -> int:
    """Elements of a pixel that is written in whole vectors."""
    unit = _PIXEL_BYTES // np.dtype(dtype).itemsize
    return -(-channels // unit) * unit


def small_pixel(channels: int) -> int:
    """Bytes of a pixel of 8-bit integers that is written channel by channel."""
    return _SMALL_PIXEL if channels <= _SMALL_PIXEL else vector_pixel(channels)


def covering(paddings: list[Padding2D]) -> Padding2D:
    """The border that is wide enough for every padding."""
    sides = [(p.top, p.bottom, p.left, p.right) for p in (NO_PADDING, *paddings)]
    return Padding2D(*(max(side) for side in zip(*sides, strict=True)))
