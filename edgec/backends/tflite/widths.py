"""Tensors of 8 and of 16 bits beside each other.

TFLite's integer kernels read and write one width. Where quantization chose 16 bits for some tensors only, an operation
between the two gets operands and a result of 16 bits: an int8 tensor is widened on its own steps, which changes no
value, and a result that is wanted in 8 bits is rounded to 16 bits first, on steps more than 100 times finer.
"""

from __future__ import annotations

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Operation, Quantization, TensorType
from edgec.ir.passes.integer_kinds import PRODUCTS

WIDENED = (*PRODUCTS, kinds.Binary, kinds.LeakyRelu)
"""Kinds with kernels of 16 bits whose operands and results may differ in width."""

_LARGEST = 2**15 - 1


def one_width(graph: Graph) -> Graph:
    """The graph with 16 bits around every operation that has them on one side. Between Dequantize and Quantize all is
    float still."""
    producers, consumers = graph.producers(), graph.consumers()
    builder = GraphBuilder.over(graph)
    for operation in graph.operations:
        widths = _widths(graph, operation, producers, consumers)
        if set(widths) != {"int8", "int16"}:
            builder.graph.operations.append(operation)
            continue
        inputs = [
            _widened(builder, name, graph.type(producers[name].inputs[0]))
            if _is_read_in_int8(graph, name, producers) and not _is_stored(graph, operation, position, producers)
            else name
            for position, name in enumerate(operation.inputs)
        ]
        if widths[-1] == "int16":
            builder.graph.operations.append(
                Operation(operation.kind, tuple(inputs), operation.outputs, operation.origin)
            )
            continue
        (output,) = operation.outputs
        fine = builder.add(
            operation.kind, inputs, f"{output}/int16", types=[graph.type(output)], origin=operation.origin
        )
        grid = graph.type(consumers[output][0].outputs[0]).quantization
        assert grid is not None
        integers = builder.add(
            kinds.Quantize(), [fine], f"{output}/int16_quantized", quantization=_finer(grid), dtype="int16"
        )
        builder.graph.operations.append(Operation(kinds.Dequantize(), (integers,), (output,)))
    return builder.finish(graph.outputs)


def _widths(
    graph: Graph, operation: Operation, producers: dict[str, Operation], consumers: dict[str, list[Operation]]
) -> list[str]:
    """Widths of the activations that an operation reads, and of what it writes last; empty where it is not between
    integers."""
    if not isinstance(operation.kind, WIDENED) or len(operation.outputs) != 1:
        return []
    widths = []
    for position, name in enumerate(operation.inputs):
        if _is_stored(graph, operation, position, producers):
            continue
        producer = producers.get(name)
        if producer is None or not isinstance(producer.kind, kinds.Dequantize):
            return []
        widths.append(graph.type(producer.inputs[0]).dtype)
    readers = consumers[operation.outputs[0]]
    written = {graph.type(reader.outputs[0]) for reader in readers if isinstance(reader.kind, kinds.Quantize)}
    if len(written) != 1 or len(readers) != 1 or operation.outputs[0] in graph.outputs:
        return []
    return [*widths, written.pop().dtype]


def _is_stored(graph: Graph, operation: Operation, position: int, producers: dict[str, Operation]) -> bool:
    """Whether an operand is weights or a bias, which have widths of their own."""
    if not isinstance(operation.kind, PRODUCTS) or position == 0:
        return False
    name = operation.inputs[position]
    producer = producers.get(name)
    source = name if producer is None else producer.inputs[0]
    return graph.constant(source) is not None


def _is_read_in_int8(graph: Graph, name: str, producers: dict[str, Operation]) -> bool:
    producer = producers.get(name)
    return producer is not None and graph.type(producer.inputs[0]).dtype == "int8"


def _widened(builder: GraphBuilder, name: str, of: TensorType) -> str:
    """The same value through 16 bits: steps as they are, counted from zero."""
    assert of.quantization is not None
    grid = Quantization.per_tensor(of.quantization.scale[0], 0)
    integers = builder.add(kinds.Quantize(), [name], f"{name}/int16", quantization=grid, dtype="int16")
    return builder.add(kinds.Dequantize(), [integers], f"{name}/from_int16")


def _finer(grid: Quantization) -> Quantization:
    """Steps of int16 over at least the range of an int8 grid."""
    steps = max(abs(-128 - grid.zero_point[0]), abs(127 - grid.zero_point[0]))
    return Quantization.per_tensor(grid.scale[0] * steps / _LARGEST, 0)
