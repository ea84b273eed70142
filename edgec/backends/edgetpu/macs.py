"""Multiply-accumulates of the operators of a .tflite file."""

from __future__ import annotations

import numpy as np

from edgec.backends.edgetpu.network import Operator, Tensor


def macs(operator: Operator) -> int:
    """Multiply-accumulates of one run; 0 for what is no product."""
    weights, result = operator.input(1), operator.outputs[0] if operator.outputs else None
    if weights is None or result is None or not weights.shape:
        return 0
    if operator.name in ("CONV_2D", "FULLY_CONNECTED"):
        return result.size * _elements(weights.shape[1:])
    if operator.name == "DEPTHWISE_CONV_2D":
        return result.size * _elements(weights.shape[1:3])
    if operator.name == "TRANSPOSE_CONV" and (image := operator.input(2)) is not None:
        return image.size * _elements((weights.shape[0], *weights.shape[1:3]))
    if operator.name == "BATCH_MATMUL" and (left := operator.input(0)) is not None:
        return result.size * _depth(left, bool(operator.option("adjX", False)))
    return 0


def _depth(left: Tensor, transposed: bool) -> int:
    return left.shape[-2 if transposed else -1]


def _elements(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
