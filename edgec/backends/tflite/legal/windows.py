"""Windows: padding that is neither SAME nor VALID, and dilation of pools."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgec.backends.tflite.legal.products import padded
from edgec.backends.tflite.legal.rewriting import Place, replaced
from edgec.backends.tflite.writer.padding import scheme
from edgec.ir.graph import TensorType
from edgec.ir.kinds import AveragePool2D, Binary, MaxPool2D, Slice
from edgec.ir.kinds.windows import NO_PADDING


@replaced.register
def _(kind: MaxPool2D, place: Place) -> bool:
    known = scheme(place.type(0).shape[1:3], kind.kernel, kind.stride, kind.dilation, kind.padding)
    if kind.dilation == (1, 1) and known is not None:
        return False
    image = place.inputs[0]
    if kind.padding.any:  # with what never wins
        image = padded(place, kind.padding, lowest(place.type(0)))
    if kind.dilation == (1, 1):
        return place.finish(replace(kind, padding=NO_PADDING), [image])
    return _dilated(kind, place, image)


def lowest(of: TensorType) -> float:
    """The smallest number that a tensor can hold."""
    if of.quantization is None:
        return float(np.finfo(np.float32).min)
    return (float(np.iinfo(of.dtype).min) - of.quantization.zero_point[0]) * of.quantization.scale[0]


def _dilated(kind: MaxPool2D, place: Place, image: str) -> bool:
    """The largest of as many shifted images as the window has elements."""
    shape = place.result.shape
    shifted = []
    for row in range(kind.kernel[0]):
        for column in range(kind.kernel[1]):
            begin = (0, row * kind.dilation[0], column * kind.dilation[1], 0)
            stride = (1, *kind.stride, 1)
            end = tuple(b + (n - 1) * s + 1 for b, n, s in zip(begin, shape, stride, strict=True))
            shifted.append(place.add(Slice(begin, end, stride), [image], f"window.{row}.{column}"))
    while len(shifted) > 2:
        first, second, *rest = shifted
        shifted = [*rest, place.add(Binary("maximum"), [first, second], "largest")]
    return place.finish(Binary("maximum"), [shifted[0], shifted[-1]])


@replaced.register
def _(kind: AveragePool2D, place: Place) -> bool:
    x = place.type(0)
    if scheme(x.shape[1:3], kind.kernel, kind.stride, (1, 1), kind.padding) is not None:
        return False
    if x.quantization is not None:
        place.refuse("its padding is neither SAME nor VALID, and its divisor changes at the border")
    total = place.add(replace(kind, padding=NO_PADDING), [padded(place, kind.padding, 0.0)], "with_padding")
    return place.finish(Binary("mul"), [total, place.constant("share", _share(kind, x, place.result))])


def _share(kind: AveragePool2D, x: TensorType, result: TensorType) -> np.ndarray:
    """By what the mean over the whole window is to be multiplied, to be that over what lies inside of the image."""
    inside = []
    for i, before in ((0, kind.padding.top), (1, kind.padding.left)):
        start = np.arange(result.shape[1 + i]) * kind.stride[i] - before
        inside.append(np.minimum(start + kind.kernel[i], x.shape[1 + i]) - np.maximum(start, 0))
    counts = inside[0][:, None] * inside[1][None, :]
    share: np.ndarray = np.float32(kind.kernel[0] * kind.kernel[1]) / counts.astype(np.float32)
    return share.reshape(1, *share.shape, 1)
