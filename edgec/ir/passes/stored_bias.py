"""A bias that is stored as integers and added behind a product becomes part of it: a MatMul's, mostly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgec.ir import kinds
from edgec.ir.builder import rebuilt
from edgec.ir.graph import Graph, Operation, Quantization, TensorType, Value
from edgec.ir.kinds import Conv2D, FullyConnected, TransposeConv2D


def fuse_stored_bias(graph: Graph) -> Graph:
    """x -> product -> Add(Dequantize(int32 constant)) becomes one product with a bias, where nobody else reads it.

    The constant has one value for each channel. It stays int32 and behind a Dequantize.
    """
    producers, consumers = graph.producers(), graph.consumers()
    operations: list[Operation] = []
    extra: list[Value] = []
    for operation in graph.operations:
        found = _product_and_bias(graph, operation, producers, consumers)
        if found is None:
            operations.append(operation)
            continue
        product, maker = found
        bias, added = _vector(graph, maker, graph.type(product.outputs[0]).shape[-1])
        if added is not None:
            dequantize, values = added
            operations.append(dequantize)
            extra += values
        assert isinstance(operation.kind, kinds.Binary)
        assert isinstance(product.kind, Conv2D | TransposeConv2D | FullyConnected)
        operations.append(
            Operation(
                replace(product.kind, activation=operation.kind.activation),
                (*product.inputs, bias),
                operation.outputs,
                tuple(dict.fromkeys((*product.origin, *operation.origin))),
            )
        )
    return rebuilt(graph, operations, extra)


def _product_and_bias(
    graph: Graph, add: Operation, producers: dict[str, Operation], consumers: dict[str, list[Operation]]
) -> tuple[Operation, Operation] | None:
    """The product that an addition reads, and the Dequantize that makes its bias."""
    if not isinstance(add.kind, kinds.Binary) or add.kind.function != "add":
        return None
    for name, other in (add.inputs, add.inputs[::-1]):
        product, maker = producers.get(name), producers.get(other)
        if product is None or not isinstance(product.kind, Conv2D | TransposeConv2D | FullyConnected):
            continue
        taken = len(product.inputs) > 2 or product.kind.activation != "none"
        if taken or len(consumers[name]) > 1 or name in graph.outputs or name == other:
            continue
        if maker is None or not isinstance(maker.kind, kinds.Dequantize):
            continue
        stored, channels = graph.values[maker.inputs[0]], graph.type(name).shape[-1]
        one_each = stored.type.shape[-1:] == (channels,) and stored.type.size == channels
        spreads = graph.type(add.outputs[0]).shape == graph.type(name).shape
        if stored.is_constant and stored.type.dtype == "int32" and one_each and spreads:
            return product, maker
    return None


def _vector(graph: Graph, maker: Operation, channels: int) -> tuple[str, tuple[Operation, list[Value]] | None]:
    """The bias with one dimension, and what has to be written for that."""
    stored = graph.values[maker.inputs[0]]
    if stored.type.rank == 1:
        return maker.outputs[0], None
    assert stored.data is not None and stored.type.quantization is not None
    own = stored.type.quantization
    quantization = own if own.axis is None else Quantization(own.scale, own.zero_point, 0)
    if own.axis is not None and len(own.scale) != channels:
        quantization = Quantization(own.scale * channels, own.zero_point * channels, 0)
    data = np.ascontiguousarray(stored.data.reshape(channels))
    names = [_fresh(graph, f"{name}/vector") for name in (stored.name, maker.outputs[0])]
    values = [
        Value(names[0], TensorType((channels,), "int32", quantization), data),
        Value(names[1], TensorType((channels,), "float32")),
    ]
    return names[1], (Operation(maker.kind, (names[0],), (names[1],), maker.origin), values)


def _fresh(graph: Graph, name: str) -> str:
    wanted, count = name, 0
    while wanted in graph.values:
        count += 1
        wanted = f"{name}.{count}"
    return wanted
