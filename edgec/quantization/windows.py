"""Which input positions an output position of a convolution sees, along one spatial axis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

NOTHING = -1
"""Stands where a window lies over padding, or between the positions that a transposed convolution spreads out."""

Positions = npt.NDArray[np.int64]


def seen_positions(
    op_type: str, attributes: Mapping[str, Any], axis: int, rank: int, size: int, extent: int
) -> Positions:
    """int64 [outputs, size]: the input position that each kernel index is multiplied by, or NOTHING.

    op_type: Conv or ConvTranspose. attributes: of the node, with ONNX's names and defaults; auto_pad is honoured.
    axis: the spatial axis, of `rank`. size: of the kernel along it. extent: of the input along it.
    """
    stride = _along(attributes, "strides", axis, 1)
    dilation = _along(attributes, "dilations", axis, 1)
    if op_type == "Conv":
        outputs, before = _conv(attributes, axis, rank, extent, stride, (size - 1) * dilation + 1)
        seen = np.arange(outputs)[:, None] * stride - before + np.arange(size) * dilation
    else:
        full = (extent - 1) * stride + (size - 1) * dilation + 1 + _along(attributes, "output_padding", axis, 0)
        outputs, before = _transposed(attributes, axis, rank, extent, stride, full)
        reached = np.arange(outputs)[:, None] + before - np.arange(size) * dilation  # = input position * stride
        seen = np.where(reached % stride == 0, reached // stride, NOTHING)
    return np.where((seen >= 0) & (seen < extent), seen, NOTHING)


def _conv(attributes: Mapping[str, Any], axis: int, rank: int, extent: int, stride: int, span: int) -> tuple[int, int]:
    """Output positions, and padding before the first input position."""
    auto = attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        outputs = math.ceil(extent / stride)
        return outputs, _share(auto, max(0, (outputs - 1) * stride + span - extent))
    before, after = _pads(attributes, axis, rank)
    return (extent + before + after - span) // stride + 1, before


def _transposed(
    attributes: Mapping[str, Any], axis: int, rank: int, extent: int, stride: int, full: int
) -> tuple[int, int]:
    """Output positions, and how many of the `full` ones are cut off before the first."""
    auto = attributes.get("auto_pad", "NOTSET")
    asked = attributes.get("output_shape")
    if asked or auto in ("SAME_UPPER", "SAME_LOWER"):
        outputs = int(asked[len(asked) - rank + axis]) if asked else extent * stride
        return outputs, _share(auto, max(0, full - outputs))
    before, after = _pads(attributes, axis, rank)
    return full - before - after, before


def _share(auto: str, total: int) -> int:
    """How much of a padding that follows from the sizes lies before the first position."""
    return total // 2 if auto == "SAME_UPPER" else total - total // 2


def _pads(attributes: Mapping[str, Any], axis: int, rank: int) -> tuple[int, int]:
    pads = [] if attributes.get("auto_pad", "NOTSET") == "VALID" else attributes.get("pads") or []
    return (int(pads[axis]), int(pads[axis + rank])) if pads else (0, 0)


def _along(attributes: Mapping[str, Any], name: str, axis: int, default: int) -> int:
    values = attributes.get(name)
    return int(values[axis]) if values else default
