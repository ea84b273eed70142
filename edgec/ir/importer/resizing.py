"""Which elements a Resize reads, along one axis, as the ONNX operator and TFLite's two kernels define it.

Sizes are static, so that everything that a Resize computes along an axis is a list of positions (nearest) or a matrix
(linear, cubic), whatever the mode that describes it. Coordinates are float32 (half_pixel_symmetric: rounded to it at
the end), as ONNX Runtime computes them: where a coordinate lies between two elements, its rounding decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ONE = np.float32(1)
_HALF = np.float32(0.5)


@dataclass(frozen=True)
class Axis:
    """A dimension of `size` elements that gets `resized` elements; `scale` is the ratio that the model says.

    begin, end: the part of it that tf_crop_and_resize takes.
    """

    size: int
    resized: int
    scale: float
    begin: float = 0.0
    end: float = 1.0


def coordinates(axis: Axis, transformation: str) -> np.ndarray:
    """The place in the original of every element of the result: float32 [resized]."""
    position = np.arange(axis.resized, dtype=np.float32)
    scale, size = np.float32(axis.scale), np.float32(axis.size)
    if transformation == "asymmetric":
        return position / scale
    if transformation == "half_pixel" or (transformation == "pytorch_half_pixel" and axis.resized > 1):
        return (position + _HALF) / scale - _HALF
    if transformation == "pytorch_half_pixel" or (transformation == "align_corners" and axis.resized == 1):
        return np.zeros(axis.resized, np.float32)
    if transformation == "align_corners":
        return position * (size - _ONE) / np.float32(axis.resized - 1)
    if transformation == "half_pixel_symmetric":
        adjustment = np.float32(axis.resized) / (scale * size)
        offset = size / np.float32(2) * (_ONE - adjustment)
        return (offset + (position + 0.5).astype(np.float64) / scale - 0.5).astype(np.float32)
    if transformation == "tf_crop_and_resize":
        begin, end = np.float32(axis.begin), np.float32(axis.end)
        if axis.resized == 1:
            return np.full(1, _HALF * (begin + end) * (size - _ONE), np.float32)
        return begin * (size - _ONE) + position * (end - begin) * (size - _ONE) / np.float32(axis.resized - 1)
    raise ValueError(transformation)


def nearest_positions(place: np.ndarray, size: int, rounding: str) -> np.ndarray:
    """The elements that coordinates stand for: int64 [resized], within the axis."""
    if rounding == "round_prefer_floor":
        found = np.ceil(place - _HALF)
    elif rounding == "round_prefer_ceil":
        found = _half_up(place)
    elif rounding == "floor":
        found = np.floor(place)
    elif rounding == "ceil":
        found = np.ceil(place)
    else:
        raise ValueError(rounding)
    return np.asarray(np.clip(found, 0, size - 1).astype(np.int64))


def _half_up(place: np.ndarray) -> np.ndarray:
    """Rounded, halves up, without an addition that rounds itself."""
    low = np.floor(place)
    return np.asarray(np.where(place - low >= _HALF, low + 1, low))


def linear_matrix(place: np.ndarray, size: int) -> np.ndarray:
    """What each element of the result takes of each element: float32 [resized, size]."""
    inside = np.clip(place, 0, np.float32(size - 1))
    low = np.floor(inside).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    share = (inside - low).astype(np.float32)
    matrix = np.zeros((len(place), size), np.float32)
    rows = np.arange(len(place))
    np.add.at(matrix, (rows, low), _ONE - share)
    np.add.at(matrix, (rows, high), share)
    return matrix


def cubic_matrix(place: np.ndarray, size: int, a: float, exclude_outside: bool) -> np.ndarray:
    """As linear_matrix, by the cubic convolution of Keys (1981) with the coefficient `a`."""
    low = np.floor(place).astype(np.int64)
    share = place.astype(np.float64) - low
    near, far = share, 1 - share
    taps = np.stack(
        [
            ((a * (near + 1) - 5 * a) * (near + 1) + 8 * a) * (near + 1) - 4 * a,
            ((a + 2) * near - (a + 3)) * near * near + 1,
            ((a + 2) * far - (a + 3)) * far * far + 1,
            ((a * (far + 1) - 5 * a) * (far + 1) + 8 * a) * (far + 1) - 4 * a,
        ]
    )
    matrix = np.zeros((len(place), size), np.float64)
    rows = np.arange(len(place))
    for tap, weight in enumerate(taps):
        where = low + tap - 1
        if exclude_outside:
            weight = np.where((where >= 0) & (where < size), weight, 0.0)
        np.add.at(matrix, (rows, np.clip(where, 0, size - 1)), weight)
    if exclude_outside:
        matrix /= matrix.sum(axis=1, keepdims=True)
    return np.asarray(matrix.astype(np.float32))


# --- what TFLite's kernels do ---


def kernel_coordinates(axis: Axis, align_corners: bool, half_pixel_centers: bool) -> np.ndarray:
    """The place in the original of every element of ResizeBilinear: float32 [resized]."""
    scale = _kernel_scale(axis, align_corners)
    position = np.arange(axis.resized, dtype=np.float32)
    return (position + _HALF) * scale - _HALF if half_pixel_centers else position * scale


def kernel_positions(axis: Axis, align_corners: bool, half_pixel_centers: bool) -> np.ndarray:
    """The elements that ResizeNearest takes: int64 [resized]."""
    offset = _HALF if half_pixel_centers else np.float32(0)
    place = (np.arange(axis.resized, dtype=np.float32) + offset) * _kernel_scale(axis, align_corners)
    found = _half_up(place) if align_corners else np.floor(place)
    return np.asarray(np.minimum(found, axis.size - 1).astype(np.int64))


def _kernel_scale(axis: Axis, align_corners: bool) -> np.float32:
    if align_corners and axis.resized > 1:
        return np.float32(axis.size - 1) / np.float32(axis.resized - 1)
    return np.float32(axis.size) / np.float32(axis.resized)
