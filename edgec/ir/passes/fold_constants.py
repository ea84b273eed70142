"""Operations of constants become constants. So does what has no elements, whatever it is computed of.

A constant that is stored smaller than it is computed with, as integers behind a Dequantize or as float16 behind a
Cast, stays stored so: neither of the two is folded, and so nothing behind them is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgec.ir.builder import GraphBuilder, rebuilt
from edgec.ir.graph import Graph, Operation, Value
from edgec.ir.kinds import Cast, Dequantize
from edgec.ir.reference.executor import run

LARGEST_GROWTH = 1 << 20
"""Bytes by which constants may grow when an operation is folded: a Tile of a scalar to an image stays a Tile."""


def fold_constants(graph: Graph) -> Graph:
    """The graph without operations whose operands are all constant."""
    values = dict(graph.values)
    folding = replace(graph, values=values)
    kept = []
    for operation in graph.operations:
        results = folded(folding, operation)
        if results is None:
            kept.append(operation)
        else:
            values.update((name, _constant(folding, name, data)) for name, data in results.items())
    return rebuilt(folding, kept)


def fold_written(builder: GraphBuilder, start: int) -> None:
    """The same for what was written from the operation at position `start` on."""
    for operation in builder.graph.operations[start:]:
        if (results := folded(builder.graph, operation)) is not None:
            builder.replace(operation, [_constant(builder.graph, name, data) for name, data in results.items()])


def folded(graph: Graph, operation: Operation) -> dict[str, np.ndarray] | None:
    """The results of an operation by name; None where it is not to be folded."""
    results = list(graph.types_of(operation.outputs))
    if not any(of.size for of in results):
        return {name: np.zeros(of.shape, of.dtype) for name, of in zip(operation.outputs, results, strict=True)}
    operands = {name: graph.constant(name) for name in operation.inputs}
    known = {name: data for name, data in operands.items() if data is not None}
    if len(known) < len(operands) or _unfolds(graph, operation):
        return None
    before = sum(data.nbytes for data in known.values())
    after = sum(of.nbytes for of in results)
    if after > before + LARGEST_GROWTH:
        return None
    return dict(zip(operation.outputs, run(graph, operation, known), strict=True))


def _unfolds(graph: Graph, operation: Operation) -> bool:
    """Whether it makes larger elements of a constant that is stored in few bits."""
    stored_in_half = isinstance(operation.kind, Cast) and graph.type(operation.inputs[0]).dtype == "float16"
    return isinstance(operation.kind, Dequantize) or stored_in_half


def _constant(graph: Graph, name: str, data: np.ndarray) -> Value:
    of = graph.type(name)
    return Value(name, of, np.ascontiguousarray(data).reshape(of.shape))
