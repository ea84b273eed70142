"""Integers at the inputs and outputs of a graph."""

from __future__ import annotations

from dataclasses import replace

from edgec.ir import kinds
from edgec.ir.builder import rebuilt
from edgec.ir.graph import Graph, Operation, TensorType, Value
from edgec.ir.passes.integer_kinds import same_grid


def boundary_integers(graph: Graph) -> Graph:
    """The graph with quantized inputs and outputs, under their own names, where that changes no integer inside.

    An input becomes quantized when all that reads it is a Quantize to one grid; an output, when it is a Dequantize's
    result that nobody else reads, of integers that are not an input or an output themselves.
    """
    for name in graph.inputs:
        graph = _input(graph, name)
    for name in graph.outputs:
        graph = _output(graph, name)
    return graph


def boundary_bytes(graph: Graph) -> Graph:
    """As boundary_integers, with uint8 where that gives int8: each integer is 128 more, on a grid that is moved as far.

    Inside everything stays int8, behind a Quantize from grid to grid, which adds and subtracts the 128.
    """
    made = boundary_integers(graph)
    for name in (*made.inputs, *made.outputs):
        if graph.type(name).quantization is None and made.type(name).dtype == "int8":
            made = _unsigned(made, name)
    return made


def _unsigned(graph: Graph, name: str) -> Graph:
    signed = graph.type(name)
    assert signed.quantization is not None
    grid = replace(signed.quantization, zero_point=tuple(point + 128 for point in signed.quantization.zero_point))
    inside = f"{name}/int8"

    def renamed(items: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(inside if item == name else item for item in items)

    operations = [
        replace(item, inputs=renamed(item.inputs), outputs=renamed(item.outputs)) for item in graph.operations
    ]
    if name in graph.inputs:
        operations.insert(0, Operation(kinds.Quantize(), (name,), (inside,)))
    else:
        operations.append(Operation(kinds.Quantize(), (inside,), (name,)))
    return rebuilt(graph, operations, [Value(name, TensorType(signed.shape, "uint8", grid)), Value(inside, signed)])


def _input(graph: Graph, name: str) -> Graph:
    readers = graph.consumers()[name]
    if name in graph.outputs or not readers or not all(isinstance(item.kind, kinds.Quantize) for item in readers):
        return graph
    results = [item.outputs[0] for item in readers]
    grid = graph.type(results[0])
    agreed = all(same_grid(graph.type(result), grid) for result in results)
    if not agreed or graph.type(name).dtype != "float32" or set(results) & set(graph.outputs):
        return graph
    return _one_name(graph, readers, results, name, grid)


def _output(graph: Graph, name: str) -> Graph:
    writer = graph.producers().get(name)
    if writer is None or not isinstance(writer.kind, kinds.Dequantize) or graph.consumers()[name]:
        return graph
    source = writer.inputs[0]
    of = graph.type(source)
    fixed = source in (*graph.inputs, *graph.outputs) or graph.constant(source) is not None
    if fixed or of.quantization is None or of.quantization.axis is not None:
        return graph
    return _one_name(graph, [writer], [source], name, of)


def _one_name(graph: Graph, gone: list[Operation], names: list[str], name: str, of: TensorType) -> Graph:
    """The graph without some operations, in which values are all called `name`."""

    def renamed(items: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name if item in names else item for item in items)

    operations = [
        replace(item, inputs=renamed(item.inputs), outputs=renamed(item.outputs))
        for item in graph.operations
        if not any(item is other for other in gone)
    ]
    return rebuilt(graph, operations, [Value(name, of)])
