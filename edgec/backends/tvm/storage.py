"""How a quantized value lies in memory.

Always as an image [N, H, W, C] of bytes, channels last. A pixel takes a multiple of 16 bytes, so that whole vectors of
channels can be written, or 4 where there are no more than 4 channels and the writer stores single pixels. What lies in
the bytes behind the last channel is not defined: weights for it are 0.

Around the image lies a border of zero points, as wide as the widest padding of those who read it through a window: no
kernel has code for edges. Behind it lie bytes that a reader of whole vectors may touch.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.ir.graph import TensorType
from edgec.ir.kinds.windows import NO_PADDING, Padding2D

ALIGNMENT = 64
"""Of every value in the arena and of every block of constants, in bytes: the longest vector, and a cache line."""

SLACK = 64
"""Bytes behind a value that may be read."""

_PIXEL = 16
_SMALL_PIXEL = 4


@dataclass(frozen=True)
class Steps:
    """Distances in bytes: to the same place in the next image, in the next row, in the next column."""

    image: int
    row: int
    column: int


@dataclass(frozen=True)
class Storage:
    """shape: [N, H, W, C]. pixel: bytes from one pixel to the next. border: pixels around the image."""

    shape: tuple[int, int, int, int]
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
    def steps(self) -> Steps:
        row = self.columns * self.pixel
        return Steps(self.rows * row, row, self.pixel)

    @property
    def inner(self) -> int:
        """Where the image itself begins, in bytes from the border's first one."""
        return self.border.top * self.steps.row + self.border.left * self.pixel

    @property
    def size(self) -> int:
        """Bytes, slack and all."""
        return self.shape[0] * self.steps.image + SLACK

    @property
    def is_flat(self) -> bool:
        """Whether all pixels lie one after the other."""
        return not self.border.any


def image_shape(of: TensorType) -> tuple[int, int, int, int] | None:
    """A type's shape as that of an image: [N, C] is N images of one pixel. None for other ranks."""
    if of.rank == 4:
        n, h, w, c = of.shape
        return n, h, w, c
    if of.rank == 2:
        return of.shape[0], 1, 1, of.shape[1]
    return None


def vector_pixel(channels: int) -> int:
    """Bytes of a pixel that is written in whole vectors."""
    return -(-channels // _PIXEL) * _PIXEL


def small_pixel(channels: int) -> int:
    """Bytes of a pixel that is written channel by channel."""
    return _SMALL_PIXEL if channels <= _SMALL_PIXEL else vector_pixel(channels)


def covering(paddings: list[Padding2D]) -> Padding2D:
    """The border that is wide enough for every padding."""
    sides = [(p.top, p.bottom, p.left, p.right) for p in (NO_PADDING, *paddings)]
    return Padding2D(*(max(side) for side in zip(*sides, strict=True)))
