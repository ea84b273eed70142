"""What a graph computes, and how much of it in integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation


@dataclass(frozen=True)
class Product:
    """An operation that multiplies and accumulates.

    result: its result. macs: multiplications with an addition. integers: whether it computes with integers.
    """

    label: str
    result: str
    origin: tuple[str, ...]
    macs: int
    integers: bool


@dataclass(frozen=True)
class Accounting:
    """All products of a graph, in order."""

    products: tuple[Product, ...]

    @property
    def macs(self) -> int:
        """Of the whole graph."""
        return sum(item.macs for item in self.products)

    @property
    def integer_share(self) -> float:
        """The share of all MACs that integers are multiplied in: 0 to 1. 1 where there are none."""
        return sum(item.macs for item in self.products if item.integers) / self.macs if self.macs else 1.0

    @property
    def in_float(self) -> tuple[Product, ...]:
        """The products in float."""
        return tuple(item for item in self.products if not item.integers)


def account(graph: Graph) -> Accounting:
    """The products of a graph."""
    found = []
    for operation in graph.operations:
        if macs := macs_of(graph, operation):
            integers = graph.type(operation.inputs[0]).quantization is not None
            found.append(Product(operation.kind.label, operation.outputs[0], operation.origin, macs, integers))
    return Accounting(tuple(found))


def macs_of(graph: Graph, operation: Operation) -> int:
    """Multiplications with an addition in one operation: 0 for what is no product. Padding counts as if it were
    multiplied."""
    kind = operation.kind
    if not isinstance(kind, kinds.Conv2D | kinds.TransposeConv2D | kinds.FullyConnected | kinds.BatchMatMul):
        return 0
    x, weights = (graph.type(name) for name in operation.inputs[:2])
    size = graph.type(operation.outputs[0]).size
    if isinstance(kind, kinds.TransposeConv2D):
        return x.size * int(np.prod(weights.shape[:3])) // kind.groups
    if isinstance(kind, kinds.BatchMatMul):
        return size * x.shape[-2 if kind.transpose_a else -1]
    return size * int(np.prod(weights.shape[1:], dtype=np.int64))
