"""Windows and new grids over an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.kinds.windows import Padding2D
from edgec.ir.reference.dispatch import Tensor, compute
from edgec.ir.reference.grid import centred, limits, ratio, requantized, rounded, stored


@compute.register
def _(kind: kinds.MaxPool2D, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """Of integers the largest integer, requantized where the result is on another grid."""
    (x,) = operands
    lowest = -np.inf if x.type.dtype == "float32" else limits(x.type.dtype)[0]
    found: np.ndarray | None = None
    for seen in _seen(x.data, kind.kernel, kind.stride, kind.dilation, kind.padding, results[0].shape, lowest):
        found = seen if found is None else np.maximum(found, seen)
    assert found is not None
    return [np.ascontiguousarray(requantized(Tensor(found, x.type.of_shape(found.shape)), results[0]))]


@compute.register
def _(kind: kinds.AveragePool2D, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """Of integers: round(float32(sum(x - zx)) / float32(count) * (sx / sy)) + zy, each operation in float32."""
    (x,) = operands
    values = x.data if x.type.quantization is None else centred(x)
    window = (kind.kernel, kind.stride, (1, 1), kind.padding, results[0].shape)
    wide = values.astype(np.float64) if x.type.quantization is None else values
    total = np.asarray(sum(_seen(wide, *window, 0)))
    count = np.asarray(sum(_seen(np.ones((1, *values.shape[1:3], 1), np.int64), *window, 0)))
    if x.type.quantization is None:
        return [(total / count).astype(results[0].dtype)]
    mean = total.astype(np.float32) / count.astype(np.float32)
    return [rounded(mean * ratio(x.type, results[0]), results[0])]


def _seen(
    x: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding2D,
    shape: tuple[int, ...],
    filler: float,
) -> list[np.ndarray]:
    """What each position of the window sees: kernel[0] * kernel[1] views [N, OH, OW, C]."""
    if padding.any:
        around = ((0, 0), (padding.top, padding.bottom), (padding.left, padding.right), (0, 0))
        x = np.pad(x, around, constant_values=filler)
    rows, columns = (shape[1] - 1) * stride[0] + 1, (shape[2] - 1) * stride[1] + 1
    return [
        x[
            :,
            i * dilation[0] : i * dilation[0] + rows : stride[0],
            j * dilation[1] : j * dilation[1] + columns : stride[1],
        ]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]


@compute.register
def _(kind: kinds.ResizeNearest, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    x = requantized(operands[0], results[0])
    rows, columns = (nearest(x.shape[1 + axis], kind.size[axis], kind) for axis in (0, 1))
    return [np.ascontiguousarray(x[:, rows[:, None], columns])]


@compute.register
def _(kind: kinds.ResizeBilinear, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """Rows first, then columns: above * (1 - share) + below * share, in float32. Of integers, of x - zx, and then
    round(that * (sx / sy)) + zy."""
    (x,) = operands
    values = x.data if x.type.quantization is None else centred(x).astype(np.float32)
    above, below, share = between(values.shape[1], kind.size[0], kind)
    values = values[:, above] * (1 - share)[:, None, None] + values[:, below] * share[:, None, None]
    left, right, share = between(values.shape[2], kind.size[1], kind)
    values = values[:, :, left] * (1 - share)[:, None] + values[:, :, right] * share[:, None]
    if x.type.quantization is None:
        return [stored(values, results[0])]
    return [rounded(values * ratio(x.type, results[0]), results[0])]


def nearest(size: int, wanted: int, kind: kinds.ResizeNearest) -> np.ndarray:
    """The source of each row, int64 [wanted]: float32 arithmetic, as TFLite's."""
    scale = _scale(size, wanted, kind.align_corners)
    offset = np.float32(0.5 if kind.half_pixel_centers else 0)
    position = (np.arange(wanted, dtype=np.float32) + offset) * scale
    chosen = np.floor(position + np.float32(0.5)) if kind.align_corners else np.floor(position)
    return np.asarray(np.minimum(chosen.astype(np.int64), size - 1))


def between(size: int, wanted: int, kind: kinds.ResizeBilinear) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two sources of each row, int64 [wanted], and the share of the second, float32 [wanted]."""
    scale = _scale(size, wanted, kind.align_corners)
    index = np.arange(wanted, dtype=np.float32)
    half = np.float32(0.5)
    position = (index + half) * scale - half if kind.half_pixel_centers else index * scale
    position = np.clip(position, np.float32(0), np.float32(size - 1))
    first = np.floor(position).astype(np.int64)
    return first, np.minimum(first + 1, size - 1), position - first.astype(np.float32)


def _scale(size: int, wanted: int, align_corners: bool) -> np.float32:
    if align_corners and wanted > 1:
        return np.float32(size - 1) / np.float32(wanted - 1)
    return np.float32(size) / np.float32(wanted)
