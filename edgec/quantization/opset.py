"""Raising a model's opset, where what is to be written needs a newer one.

By onnx's own converter, which takes every operator along. That of canonicalization leaves the model as it is when a
node can't follow (GridSample, DFT): there the newer opset is for an operator that has another form, and here for
integers of 16 bits, which have none.
"""

from __future__ import annotations

import onnx
from onnx import version_converter

from edgec.onnx_graph.operators import default_opset

OPSET_OF_INT16 = 21
"""The first whose QuantizeLinear gives int16."""

IR_VERSION = 10
"""The IR version of ONNX 1.16, which brought that opset."""


def raised(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model with at least this opset; tensors and nodes keep their names."""
    if default_opset(model) >= opset:
        return model
    result = version_converter.convert_version(model, opset)
    result.ir_version = max(result.ir_version, IR_VERSION)
    return result
