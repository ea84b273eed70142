"""Weights that are numbers: one NaN in a checkpoint makes every later stage report nonsense."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgec.errors import ModelRefused
from edgec.onnx_graph.hollow import Weights, graphs, nested_tensors

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
_NEVER_INFINITE = frozenset(
    {
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "GRU",
        "Gemm",
        "InstanceNormalization",
        "LSTM",
        "LayerNormalization",
        "MatMul",
        "PRelu",
        "RNN",
    }
)
"""Readers whose weights can't be infinite. Elsewhere an infinity is a mask or a bound, and means what it says."""


def check_finite(model: onnx.ModelProto, weights: Weights) -> None:
    """Raises ModelRefused, naming the tensor, for NaN in any constant and for infinities in weights.

    model: hollow. Large weights are read once, piece by piece.
    """
    readers: dict[str, str] = {}
    for graph in graphs(model):
        for node in graph.node:
            if node.op_type in _NEVER_INFINITE:
                readers.update((name, node.name) for name in node.input)
    for tensor in (*model.graph.initializer, *nested_tensors(model)):
        if tensor.data_type not in _FLOATS:
            continue
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        large = weights.get(tensor.name) if tensor.data_location == TensorProto.EXTERNAL else None
        pieces = large.pieces() if large is not None else [_bytes(tensor)]
        at = 0
        for piece in pieces:
            values = np.frombuffer(piece, dtype)
            finite = np.isfinite(values)
            if not finite.all():
                nan = np.isnan(values)
                wrong = nan if nan.any() else ~finite if tensor.name in readers else None
                if wrong is not None:
                    raise _refused(tensor, "NaN" if nan.any() else "infinite", at + int(wrong.argmax()), readers)
            at += values.size


def _bytes(tensor: TensorProto) -> bytes:
    return tensor.raw_data if tensor.HasField("raw_data") else onnx.numpy_helper.to_array(tensor).tobytes()


def _refused(tensor: TensorProto, what: str, index: int, readers: dict[str, str]) -> ModelRefused:
    reader = f", which the node {readers[tensor.name]!r} reads" if tensor.name in readers else ""
    return ModelRefused(
        f"The weights of the model are damaged: {tensor.name!r} holds a value that is {what}",
        f"Its element {index:,} is {what}{reader}. The training diverged, or an export to float16 overflowed.",
        "Export the model from a checkpoint with finite weights; from float16 weights, export float32.",
        {"tensor": tensor.name, "element": index},
    )
