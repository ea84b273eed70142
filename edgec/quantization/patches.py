"""What the weights of a kernel are multiplied by, as the rows of a matrix; and the weights in the same order.

Every kernel that multiplies by constant weights is, for each of its groups, a matrix product

    outputs [P, M] = patches [P, K] @ rows [M, K].T

over output positions P. For a convolution K runs over the input channels of the group and the window (its im2col
matrix), for a transposed one as well, where most of a patch is zero under a stride. What lies on padding is zero.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from edgec.onnx_graph.graph import attribute
from edgec.quantization.windows import NOTHING, seen_positions

Values = np.ndarray
"""An array of dtype float32."""


@dataclass(frozen=True)
class Patches:
    """How the input of a kernel is cut into patches.

    groups, length: G and K. window: elements of a patch that belong to one input channel; K is channels times window.
    positions: output positions of one run. key: equal for kernels with the same patches of the same input.
    """

    groups: int
    length: int
    window: int
    positions: int
    key: Hashable
    _seen: npt.NDArray[np.int64] | None  # [positions of one picture, window]: flat spatial positions
    _transposed: bool

    @classmethod
    def of(cls, node: NodeProto, operand: int, weights: tuple[int, ...], shape: tuple[int, ...]) -> Patches:
        """node: a Conv, ConvTranspose, Gemm (without transA) or MatMul. operand: the position of its weights.

        weights, shape: the shapes of the weights and of the input. Raises ValueError where the kernel is no such
        product: weights that are a batch of matrices, or an input that is a vector.
        """
        if node.op_type in ("Gemm", "MatMul"):
            if len(weights) != 2 or len(shape) < 2:
                raise ValueError("its operands are not matrices")
            left = operand == 0
            length = shape[-2] if left else shape[-1]
            return cls(1, length, 1, math.prod(shape) // max(1, length), ("matrix", left), None, left)
        attributes = {item.name: attribute(node, item.name) for item in node.attribute}
        kernel, extents, groups = weights[2:], shape[2:], int(attributes.get("group", 1))
        seen = np.zeros((1, 1), np.int64)
        for axis, (size, extent) in enumerate(zip(kernel, extents, strict=True)):
            along = seen_positions(node.op_type, attributes, axis, len(kernel), size, extent)
            nothing = (seen[:, None, :, None] == NOTHING) | (along[None, :, None, :] == NOTHING)
            flat = np.where(nothing, NOTHING, seen[:, None, :, None] * extent + along[None, :, None, :])
            seen = flat.reshape(len(seen) * len(along), -1)
        window = seen.shape[1]
        key = (node.op_type, groups, kernel, *(tuple(attributes.get(name) or ()) for name in _GEOMETRY))
        key += (attributes.get("auto_pad", "NOTSET"),)
        return cls(groups, shape[1] // groups * window, window, shape[0] * len(seen), key, seen, False)

    def chosen(self, run: int, count: int) -> npt.NDArray[np.int64]:
        """At most `count` output positions of a run, drawn by chance, the same every time."""
        if self.positions <= count:
            return np.arange(self.positions)
        return np.array(sorted(random.Random(run).sample(range(self.positions), count)), np.int64)

    def cut(self, x: Values, positions: npt.NDArray[np.int64]) -> Values:
        """The patches of `x`, the kernel's input, at some output positions: float32 [G, P, K]."""
        if self._seen is None:
            rows: Values = (x.swapaxes(-1, -2) if self._transposed else x).reshape(-1, self.length)
            return rows[positions][None]
        channels, pictures = x.shape[1], x.shape[0]
        picture, place = np.divmod(positions, len(self._seen))
        seen = self._seen[place]  # [P, window]
        size = math.prod(x.shape[2:])
        flat = x.reshape(channels, size) if pictures == 1 else x.reshape(pictures, channels, size).swapaxes(0, 1)
        at = (picture[:, None] * size + seen).reshape(-1)
        found = np.take(flat.reshape(channels, -1), np.where(seen.reshape(-1) == NOTHING, 0, at), axis=1)
        if (seen == NOTHING).any():
            found *= (seen != NOTHING).reshape(-1)
        grouped = found.reshape(self.groups, channels // self.groups, len(positions), self.window)
        cut: Values = grouped.swapaxes(1, 2).reshape(self.groups, len(positions), self.length)
        return cut


_GEOMETRY = ("strides", "pads", "dilations", "output_padding", "output_shape")


def rows_of(node: NodeProto, operand: int, weights: Values) -> Values:
    """Weights, or what else has their shape, as [G, M, K]: what the patches of a group are multiplied by."""
    if node.op_type in ("Gemm", "MatMul"):
        units_first = operand == 0 or (node.op_type == "Gemm" and attribute(node, "transB", 0))
        return (weights if units_first else weights.T)[None]
    groups = int(attribute(node, "group", 1))
    if node.op_type == "Conv":
        return weights.reshape(groups, len(weights) // groups, -1)
    inputs, outputs = len(weights) // groups, weights.shape[1]
    apart = weights.reshape(groups, inputs, outputs, -1)  # [G, C/G, M/G, window]
    rows: Values = apart.swapaxes(1, 2).reshape(groups, outputs, -1)
    return rows


def from_rows(node: NodeProto, operand: int, rows: Values, shape: tuple[int, ...]) -> Values:
    """The inverse of `rows_of`: weights of `shape`."""
    if node.op_type in ("Gemm", "MatMul"):
        units_first = operand == 0 or (node.op_type == "Gemm" and attribute(node, "transB", 0))
        matrix: Values = rows[0] if units_first else rows[0].T
        return matrix
    inputs, outputs = shape[0] // len(rows), rows.shape[1]
    weights: Values = rows if node.op_type == "Conv" else rows.reshape(len(rows), outputs, inputs, -1).swapaxes(1, 2)
    found: Values = weights.reshape(shape)
    return found
