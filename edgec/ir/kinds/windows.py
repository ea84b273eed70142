"""Operations that slide a window over an image, or lay a new grid over it: NHWC."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.ir.kinds.base import Kind


@dataclass(frozen=True)
class Padding2D:
    """Rows above and below, columns left and right."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def any(self) -> bool:
        return bool(self.top or self.bottom or self.left or self.right)


NO_PADDING = Padding2D()


@dataclass(frozen=True)
class MaxPool2D(Kind):
    """x [N, H, W, C] -> [N, OH, OW, C]. Padding never wins. Ceil mode is written out as padding."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    padding: Padding2D = NO_PADDING


@dataclass(frozen=True)
class AveragePool2D(Kind):
    """x [N, H, W, C] -> [N, OH, OW, C]. The divisor counts only what lies inside of the image: where padding is to be
    counted, a Pad comes before. Padding, also that which ceil mode implies, is written out.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding2D = NO_PADDING


@dataclass(frozen=True)
class ResizeNearest(Kind):
    """x [N, H, W, C] -> [N, size, C].

    The source of row i, with scale = H / OH, or (H - 1) / (OH - 1) with `align_corners` and OH > 1, and
    offset = 0.5 with `half_pixel_centers`, else 0: min(floor((i + offset) * scale), H - 1), rounded (half away from
    zero) instead of floored with `align_corners`. In float32, as TFLite computes it.
    """

    size: tuple[int, int]
    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True)
class ResizeBilinear(Kind):
    """x [N, H, W, C] -> [N, size, C].

    The source of row i is i * scale, or (i + 0.5) * scale - 0.5 with `half_pixel_centers`; scale as in ResizeNearest.
    Rows outside are those at the border.
    """

    size: tuple[int, int]
    align_corners: bool = False
    half_pixel_centers: bool = False
