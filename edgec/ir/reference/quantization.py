"""Quantize and Dequantize."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.reference.dispatch import Tensor, compute
from edgec.ir.reference.grid import real, stored


@compute.register
def _(kind: kinds.Quantize, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """round(real / scale) + zero point, in float32; of integers, of the float32 numbers that they stand for."""
    return [stored(real(operands[0]), results[0])]


@compute.register
def _(kind: kinds.Dequantize, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    return [real(operands[0])]
