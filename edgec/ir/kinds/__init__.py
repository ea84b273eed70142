"""What operations there are: one frozen dataclass a kind, whose fields are all that is not a tensor.

Dimensions of what slides over an image are N, H, W, C, always: a 1-D operation has H = 1. Everything else works on any
rank and any order. Axes are never negative. Nothing is implied: defaults of ONNX are written out by the importer.

A backend, the reference executor and the inference of types each dispatch on the class of the kind
(`functools.singledispatch`), so that whoever adds a kind is told where it is missing.
"""

from __future__ import annotations

from edgec.ir.kinds.base import Activation, Kind
from edgec.ir.kinds.elementwise import (
    BINARY_FUNCTIONS,
    UNARY_FUNCTIONS,
    Binary,
    Cast,
    Clip,
    HardSigmoid,
    LeakyRelu,
    PRelu,
    Select,
    Unary,
)
from edgec.ir.kinds.movement import (
    BroadcastTo,
    Concat,
    DepthToSpace,
    Gather,
    GatherND,
    OneHot,
    Pad,
    Reshape,
    Reverse,
    ScatterND,
    Slice,
    SpaceToDepth,
    Split,
    Tile,
    Transpose,
)
from edgec.ir.kinds.normalization import LayerNorm, LogSoftmax, Softmax
from edgec.ir.kinds.products import BatchMatMul, Conv2D, FullyConnected, TransposeConv2D
from edgec.ir.kinds.quantization import Dequantize, Quantize
from edgec.ir.kinds.reductions import ArgReduce, CumSum, Reduce, TopK
from edgec.ir.kinds.windows import AveragePool2D, MaxPool2D, Padding2D, ResizeBilinear, ResizeNearest

__all__ = [
    "BINARY_FUNCTIONS",
    "UNARY_FUNCTIONS",
    "Activation",
    "ArgReduce",
    "AveragePool2D",
    "BatchMatMul",
    "Binary",
    "BroadcastTo",
    "Cast",
    "Clip",
    "Concat",
    "Conv2D",
    "CumSum",
    "DepthToSpace",
    "Dequantize",
    "FullyConnected",
    "Gather",
    "GatherND",
    "HardSigmoid",
    "Kind",
    "LayerNorm",
    "LeakyRelu",
    "LogSoftmax",
    "MaxPool2D",
    "OneHot",
    "PRelu",
    "Pad",
    "Padding2D",
    "Quantize",
    "Reduce",
    "Reshape",
    "ResizeBilinear",
    "ResizeNearest",
    "Reverse",
    "ScatterND",
    "Select",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Tile",
    "TopK",
    "Transpose",
    "TransposeConv2D",
    "Unary",
]
