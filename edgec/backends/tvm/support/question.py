"""What is asked of kernels, and the table of rules that answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation, TensorType
from edgec.ir.kinds import Kind
from edgec.ir.passes.integer_kinds import tied_operands

EIGHT_BITS = ("int8", "uint8")

_FLOAT_RESULTS = (kinds.Conv2D, kinds.TransposeConv2D, kinds.FullyConnected, kinds.BatchMatMul)
"""Kinds whose products of integers may be told in float32: that rounds the exact sums once, to nothing coarser."""


@dataclass(frozen=True)
class Question:
    """An operation on quantized tensors. graph: holds the operands, not the result."""

    graph: Graph
    operation: Operation
    inputs: tuple[TensorType, ...]
    output: TensorType


@dataclass(frozen=True)
class TVMKernels:
    """Answers `edgec.ir.passes.integers.IntegerKernels`."""

    def objection(
        self, graph: Graph, operation: Operation, inputs: tuple[TensorType, ...], output: TensorType
    ) -> str | None:
        """Why there is no kernel for an operation on integers; None where there is one."""
        x = inputs[next(iter(tied_operands(operation)), 0)]  # the condition of a choice is no quantized tensor
        real = output.dtype == "float32" and isinstance(operation.kind, _FLOAT_RESULTS)
        positions = isinstance(operation.kind, kinds.ArgReduce)
        if x.dtype not in EIGHT_BITS or not (output.dtype in EIGHT_BITS or real or positions):
            return f"there is no {operation.kind.label} kernel from {x.dtype} to {output.dtype}"
        return objection(operation.kind, Question(graph, operation, inputs, output))


@singledispatch
def objection(kind: Kind, asked: Question) -> str | None:
    """Why there is no kernel for a kind on integers; None where there is one."""
    return f"there is no {kind.label} kernel"
