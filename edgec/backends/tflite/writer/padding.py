"""TFLite knows two paddings, and computes how much each is: VALID is none, SAME is what gives ceil(size / stride)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgec.ir.kinds import Padding2D, TransposeConv2D

Scheme = Literal["SAME", "VALID"]


def scheme(
    image: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding2D,
) -> Scheme | None:
    """What TFLite calls this padding of an image of (height, width); None where it has no word for it."""
    if not padding.any:
        return "VALID"
    rows, columns = (same(image[i], kernel[i], stride[i], dilation[i]) for i in (0, 1))
    return "SAME" if (padding.top, padding.bottom, padding.left, padding.right) == (*rows, *columns) else None


def same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """SAME padding before and after: where it does not divide, the larger part comes after."""
    window = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def transposed_scheme(kind: TransposeConv2D, image: Sequence[int], kernel: Sequence[int]) -> Scheme | None:
    """What TFLite calls what a transposed convolution (without output padding) of an image of (height, width) cuts off.

    SAME is what leaves `stride` times the image; None where TFLite has no word for it.
    """
    if not kind.padding.any:
        return "VALID"
    rows, columns = (same(image[i] * kind.stride[i], kernel[i], kind.stride[i], 1) for i in (0, 1))
    padding = kind.padding
    reaches = all(kernel[i] >= kind.stride[i] for i in (0, 1))
    return (
        "SAME" if reaches and (padding.top, padding.bottom, padding.left, padding.right) == (*rows, *columns) else None
    )
