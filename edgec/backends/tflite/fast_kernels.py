"""Which of TFLite's integer kernels are worth it on a processor.

XNNPACK, which computes what is fast in TFLite, has not all of its integer kernels. For the others TFLite falls back to
plain loops, and the graph is cut there. An operation in float between DEQUANTIZE and QUANTIZE stays in XNNPACK, is
several times faster, and computes just what the quantized model says. `benchmarks/tflite_kernels.py` measures both.
"""

from __future__ import annotations

from functools import singledispatch

from edgec.backends.tflite.kernels import TFLiteKernels
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation, TensorType
from edgec.ir.kinds import Kind

SLOW_UNARY = frozenset({"abs", "exp", "gelu", "gelu_tanh", "hard_swish", "relu", "relu6", "rsqrt", "square"})
"""Functions of one operand that XNNPACK computes in float only."""


FASTER_IN_FLOAT = "XNNPACK has no INT8 kernel for it, and TFLite's own is slower than float between integers"


class FastKernels:
    """TFLite's integer kernels without those that XNNPACK lacks and would be faster in float."""

    def objection(
        self, graph: Graph, operation: Operation, inputs: tuple[TensorType, ...], output: TensorType
    ) -> str | None:
        """Why an operation is not computed in integers, in words for the user; None where it is."""
        reason = TFLiteKernels().objection(graph, operation, inputs, output)
        if reason is not None or not _slow(operation.kind, graph, operation):
            return reason
        return FASTER_IN_FLOAT


@singledispatch
def _slow(kind: Kind, graph: Graph, operation: Operation) -> bool:
    return False


@_slow.register
def _(kind: kinds.Unary, graph: Graph, operation: Operation) -> bool:
    return kind.function in SLOW_UNARY


@_slow.register
def _(kind: kinds.Binary, graph: Graph, operation: Operation) -> bool:
    return kind.function == "squared_difference"


@_slow.register
def _(kind: kinds.BatchMatMul, graph: Graph, operation: Operation) -> bool:
    return graph.constant(operation.inputs[1]) is None


@_slow.register(kinds.AveragePool2D)
@_slow.register(kinds.PRelu)
@_slow.register(kinds.Softmax)
@_slow.register(kinds.LogSoftmax)
def _(kind: Kind, graph: Graph, operation: Operation) -> bool:
    return True
