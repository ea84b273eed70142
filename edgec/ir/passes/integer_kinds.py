"""What each kind does with the grids of quantized tensors.

A grid is a dtype and its quantization: the real numbers that a tensor can hold.
"""

from __future__ import annotations

import numpy as np

from edgec.ir import kinds
from edgec.ir.graph import Operation, TensorType
from edgec.ir.kinds import Kind
from edgec.ir.reference.dispatch import Tensor
from edgec.ir.reference.grid import real, stored

PRODUCTS = (kinds.Conv2D, kinds.TransposeConv2D, kinds.FullyConnected, kinds.BatchMatMul)
"""Kinds that multiply and accumulate. The third operand of those that have one is a bias."""

MOVES_ONE = (
    kinds.Reshape,
    kinds.Transpose,
    kinds.Slice,
    kinds.Tile,
    kinds.BroadcastTo,
    kinds.Reverse,
    kinds.DepthToSpace,
    kinds.SpaceToDepth,
)
"""Kinds whose one result holds elements of their one operand: quantizing before and after them is the same."""

_FIRST = (
    *MOVES_ONE,
    kinds.Split,
    kinds.Pad,
    kinds.Gather,
    kinds.GatherND,
    kinds.MaxPool2D,
    kinds.ResizeNearest,
    kinds.TopK,
)
_COMPUTES = (
    *PRODUCTS,
    kinds.AveragePool2D,
    kinds.ResizeBilinear,
    kinds.HardSigmoid,
    kinds.LeakyRelu,
    kinds.PRelu,
    kinds.Clip,
    kinds.Softmax,
    kinds.LogSoftmax,
    kinds.CumSum,
)
_ARITHMETIC = frozenset({"add", "sub", "mul", "div", "pow", "maximum", "minimum", "squared_difference"})


def tied_operands(operation: Operation) -> tuple[int, ...]:
    """Positions of the operands whose elements the results consist of; empty for a kind that computes new ones.

    Where all of them are on one grid, the results are on it too, and their integers are the kind of the operands'.
    """
    kind = operation.kind
    if isinstance(kind, kinds.Concat):
        return tuple(range(len(operation.inputs)))
    if isinstance(kind, kinds.Select):
        return (1, 2)
    if isinstance(kind, kinds.ScatterND):
        return (0, 2)
    if isinstance(kind, kinds.Binary):
        return (0, 1) if kind.function in ("maximum", "minimum") and kind.activation == "none" else ()
    if isinstance(kind, kinds.Reduce):
        return (0,) if kind.function in ("max", "min") else ()
    if isinstance(kind, kinds.Unary):
        return (0,) if kind.function == "relu" else ()
    return (0,) if isinstance(kind, _FIRST) else ()


def computes(kind: Kind) -> bool:
    """Whether a kind is defined on quantized tensors with a result on a grid of its own."""
    if isinstance(kind, kinds.Unary):
        return kind.function != "logical_not"
    if isinstance(kind, kinds.Binary):
        return kind.function in _ARITHMETIC
    if isinstance(kind, kinds.Reduce):
        return kind.function in ("mean", "sum", "product", "max", "min")
    return isinstance(kind, _COMPUTES)


def same_grid(one: TensorType, other: TensorType) -> bool:
    """Whether the integers of two quantized tensors stand for the same numbers. Both have one scale."""
    return one.dtype == other.dtype and one.quantization == other.quantization and one.quantization is not None


def stays_on(kind: Kind, of: TensorType) -> bool:
    """Whether what a kind adds of its own accord (the value of a padding) is a number of the grid."""
    if not isinstance(kind, kinds.Pad) or kind.mode != "constant":
        return True
    point = of.of_shape(())
    value = np.array(kind.value, np.float32)
    return bool(real(Tensor(stored(value, point), point)) == value)
