"""The mean of what a weight is multiplied by, from per-channel and per-axis means.

Quantizing weights W to Wq shifts the mean of an output channel by (Wq - W) . E[patch], where a patch is the window of
the input that one output position sees, zeros of the padding included. Taking that shift out of the bias is analytic
bias correction (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section
4.2).

A window element (kh, kw) sees, over all output positions, the input positions R x C: rows R and columns C that fall
inside the input. Its expectation is |R||C| / (OH OW) times the mean of the input over R x C. With the mean along each
axis known, that mean is taken as mean(R) + mean(C) - mean: exact where R or C covers its axis whole, for one spatial
axis, and wherever rows and columns do not interact. The error is confined to the corners of padded inputs and to
interaction of row phase and column phase under a stride.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgec.quantization.statistics import TensorStatistics
from edgec.quantization.windows import NOTHING, seen_positions

Array = npt.NDArray[np.float64]


def expected_patch(
    statistics: TensorStatistics, op_type: str, attributes: Mapping[str, Any], weight_shape: Sequence[int]
) -> Array:
    """E[patch] of the data input of a MAC node.

    attributes: of the node, with ONNX's names and defaults (auto_pad is honoured).
    weight_shape: of its constant weight.

    Returns float64 [C, *kernel] for Conv and ConvTranspose, over all C input channels whatever the groups: group g
    reads channels [g C/G, (g+1) C/G). Returns [K] for Gemm and MatMul. For ConvTranspose it is the mean over output
    positions of what the kernel element at that index is multiplied by.

    Raises ValueError when the statistics hold no mean, or the shapes do not fit.
    """
    if statistics.mean is None or statistics.shape is None:
        raise ValueError("no mean was collected for this tensor")
    mean = statistics.mean.astype(np.float64)
    if op_type in ("Gemm", "MatMul"):
        return mean
    if op_type not in ("Conv", "ConvTranspose"):
        raise ValueError(f"{op_type} multiplies nothing by a window")
    kernel, extents = tuple(weight_shape[2:]), statistics.shape[2:]
    if len(kernel) != len(extents) or len(mean) != statistics.shape[1]:
        raise ValueError(f"weights {list(weight_shape)} do not fit an input {list(statistics.shape)}")
    shares, deviations = [], []
    for axis, (size, extent) in enumerate(zip(kernel, extents, strict=True)):
        matrix = _visits(op_type, attributes, axis, len(extents), size, extent)
        share = matrix.sum(axis=1)
        shares.append(share)
        if axis < len(statistics.axis_means):
            along = statistics.axis_means[axis].astype(np.float64) @ matrix.T / np.where(share > 0, share, 1.0)
            deviations.append(along - mean[:, None])
        else:
            deviations.append(np.zeros((len(mean), size)))
    patch = np.broadcast_to(mean.reshape(-1, *[1] * len(kernel)), (len(mean), *kernel)).copy()
    for axis, deviation in enumerate(deviations):
        patch += deviation.reshape(len(mean), *_along(axis, kernel))
    for axis, share in enumerate(shares):
        patch *= share.reshape(_along(axis, kernel))
    return patch


def _along(axis: int, kernel: Sequence[int]) -> tuple[int, ...]:
    """The shape that broadcasts a vector along one axis of the kernel."""
    return tuple(size if index == axis else 1 for index, size in enumerate(kernel))


def mean_shift(
    statistics: TensorStatistics, op_type: str, attributes: Mapping[str, Any], change: npt.NDArray[np.floating[Any]]
) -> Array:
    """The shift of each output channel's mean when the node's weights change by `change` (their shape): float64 [M].

    Subtract it from the bias. MatMul weights have shape [K, M]; Gemm's transB and alpha, and groups, are honoured.
    """
    patch = expected_patch(statistics, op_type, attributes, change.shape)
    change = change.astype(np.float64)
    if op_type in ("Gemm", "MatMul"):
        if op_type == "Gemm" and attributes.get("transB", 0):
            change = change.T
        return float(attributes.get("alpha", 1.0)) * np.tensordot(patch, change, axes=([0], [change.ndim - 2]))
    groups = int(attributes.get("group", 1))
    grouped = patch.reshape(groups, -1, *patch.shape[1:])
    if op_type == "Conv":
        weights = change.reshape(groups, -1, *change.shape[1:])  # [G, M/G, C/G, *kernel]
        shift = np.einsum("gmk,gk->gm", weights.reshape(*weights.shape[:2], -1), grouped.reshape(groups, -1))
    else:
        weights = change.reshape(groups, -1, *change.shape[1:])  # [G, C/G, M/G, *kernel]
        flat = weights.reshape(*weights.shape[:3], -1)
        shift = np.einsum("gcmk,gck->gm", flat, grouped.reshape(*grouped.shape[:2], -1))
    return np.asarray(shift.reshape(-1))


def _visits(op_type: str, attributes: Mapping[str, Any], axis: int, rank: int, size: int, extent: int) -> Array:
    """float64 [kernel, extent]: for each kernel index, the share of output positions that see each input position."""
    seen = seen_positions(op_type, attributes, axis, rank, size, extent)
    matrix = np.zeros((size, extent))
    for index in range(size):
        matrix[index, seen[seen[:, index] != NOTHING, index]] = 1.0 / len(seen)
    return matrix
