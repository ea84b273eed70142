"""Products with one-hot rows become looked-up rows.

Exporters write an embedding as a comparison with 0, 1, 2 ... and a product:

    Equal(indices [..., 1], [0 ... depth)) -> Cast -> FullyConnected -> Gelu

Each row of the result is a function of one index. The reference executor computes it for every index there is, and for
one that is none, and the model only looks it up: the same numbers, without depth * O multiplications for each index.
What computes each element for itself before or behind the product is part of the function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder, rebuilt
from edgec.ir.graph import Graph, Operation, TensorType, Value
from edgec.ir.reference.dispatch import Tensor, compute

_OF_ONE = (
    kinds.Unary, kinds.Clip, kinds.HardSigmoid, kinds.LeakyRelu, kinds.Cast, kinds.Quantize, kinds.Dequantize,
)  # fmt: skip
"""Kinds that compute each element for itself, of one operand."""

_INDEX_DTYPES = ("int32", "int64")

LARGEST_GROWTH = 1 << 20
"""Bytes by which a table of rows may be larger than the weights."""


@dataclass(frozen=True)
class _Embedding:
    """indices: the value that is looked up, [..., 1] or (of OneHot) [...]. depth: of the one-hot rows.
    operations: from the one-hot rows to the last one that is part of the function."""

    indices: str
    depth: int
    operations: tuple[Operation, ...]


def one_hot_products(graph: Graph) -> Graph:
    """The graph with rows looked up where a product has one-hot rows as an operand."""
    writers, readers = graph.producers(), graph.consumers()
    found: dict[str, _Embedding] = {}
    for operation in graph.operations:
        if isinstance(operation.kind, kinds.FullyConnected):
            embedding = _embedding(graph, operation, writers, readers)
            if embedding is not None:
                found[embedding.operations[-1].outputs[0]] = embedding
    if not found:
        return graph
    builder = GraphBuilder.over(graph)
    operations: list[Operation] = []
    extra: list[Value] = []
    for operation in graph.operations:
        embedding = found.get(operation.outputs[0])
        if embedding is None:
            operations.append(operation)
            continue
        made, values = _looked_up(graph, builder, embedding)
        operations += made
        extra += values
    return rebuilt(graph, operations, extra)


def _embedding(
    graph: Graph,
    product: Operation,
    writers: Mapping[str, Operation],
    readers: Mapping[str, Sequence[Operation]],
) -> _Embedding | None:
    if any(graph.constant(name) is None for name in product.inputs[1:]):
        return None
    chain = [product]
    while True:
        before = writers.get(chain[0].inputs[0])
        if before is None:
            return None
        chain.insert(0, before)
        if (rows := _one_hot(graph, before)) is not None:
            break
        if not isinstance(before.kind, _OF_ONE):
            return None
    while True:
        name = chain[-1].outputs[0]
        if name in graph.outputs or len(readers[name]) != 1 or not isinstance(readers[name][0].kind, _OF_ONE):
            break
        chain.append(readers[name][0])
    indices, depth = rows
    grown = (depth + 2) * graph.type(chain[-1].outputs[0]).nbytes // max(1, graph.type(indices).size)
    if grown > graph.type(product.inputs[1]).nbytes + LARGEST_GROWTH:
        return None
    return _Embedding(indices, depth, tuple(chain))


def _one_hot(graph: Graph, operation: Operation) -> tuple[str, int] | None:
    """The indices and the depth of one-hot rows along the last dimension."""
    result = graph.type(operation.outputs[0])
    depth = result.shape[-1] if result.shape else 0
    if isinstance(operation.kind, kinds.OneHot):
        constant = all(graph.constant(name) is not None for name in operation.inputs[1:])
        last = operation.kind.axis == result.rank - 1
        usable = graph.type(operation.inputs[0]).dtype in _INDEX_DTYPES
        return (operation.inputs[0], depth) if constant and last and usable else None
    if not (isinstance(operation.kind, kinds.Binary) and operation.kind.function == "equal"):
        return None
    for own, other in (operation.inputs, operation.inputs[::-1]):
        of, numbers = graph.type(own), graph.constant(other)
        if numbers is None or of.dtype not in _INDEX_DTYPES or of.shape != (*result.shape[:-1], 1):
            continue
        if numbers.size == depth and np.array_equal(numbers.reshape(-1), np.arange(depth)):
            return own, depth
    return None


def _looked_up(graph: Graph, builder: GraphBuilder, embedding: _Embedding) -> tuple[list[Operation], list[Value]]:
    """Indices that are none become -1 or depth, which both are rows of zeros: Gather counts -1 from the end."""
    last = embedding.operations[-1]
    result = graph.type(last.outputs[0])
    origin = tuple(dict.fromkeys(node for operation in embedding.operations for node in operation.origin))
    of = graph.type(embedding.indices)
    flat = of.of_shape(result.shape[:-1])
    rows = _rows(graph, embedding)
    table = Value(
        builder.fresh(f"{last.outputs[0]}/rows"), TensorType(rows.shape, result.dtype, result.quantization), rows
    )
    limited = Value(builder.fresh(f"{last.outputs[0]}/limited"), of)
    indices = Value(builder.fresh(f"{last.outputs[0]}/indices"), flat)
    operations = [
        Operation(kinds.Clip(-1, embedding.depth), (embedding.indices,), (limited.name,), origin),
        Operation(kinds.Reshape(flat.shape), (limited.name,), (indices.name,), origin),
        Operation(kinds.Gather(0), (table.name, indices.name), last.outputs, origin),
    ]
    return operations, [table, limited, indices]


def _rows(graph: Graph, embedding: _Embedding) -> np.ndarray:
    """What the function gives for each index, and for two that are none: [depth + 2, O]."""
    depth = embedding.depth
    first = embedding.operations[0]
    indices = np.array([*range(depth), -1, -1], graph.type(embedding.indices).dtype)
    if isinstance(first.kind, kinds.Binary):
        data = np.asarray(indices[:, None] == np.arange(depth))
    else:
        of = graph.type(first.outputs[0])
        operands = [
            Tensor(indices, graph.type(first.inputs[0]).of_shape(indices.shape)),
            *(_constant(graph, name) for name in first.inputs[1:]),
        ]
        (data,) = compute(kinds.OneHot(depth, 1), operands, [of.of_shape((depth + 2, depth))])
    for operation in embedding.operations[1:]:
        of, made = graph.type(operation.inputs[0]), graph.type(operation.outputs[0])
        operands = [
            Tensor(data, of.of_shape(data.shape)), *(_constant(graph, name) for name in operation.inputs[1:]),
        ]  # fmt: skip
        (data,) = compute(operation.kind, operands, [made.of_shape((depth + 2, made.shape[-1]))])
    return data


def _constant(graph: Graph, name: str) -> Tensor:
    data = graph.constant(name)
    assert data is not None, name
    return Tensor(data, graph.type(name))
