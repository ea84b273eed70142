"""Operations that change nothing, and those that are there twice."""

from __future__ import annotations

import math
from dataclasses import replace

from edgec.ir import kinds
from edgec.ir.builder import rebuilt
from edgec.ir.graph import Graph, Operation


def remove_identities(graph: Graph) -> Graph:
    """Without operations whose result is their operand.

    The value keeps the operand's name, unless the result is an output, or the operand is called after it (y/...).
    Quantize of a Dequantize's result on the same grid is one of them: it gives the same integers. Dequantize of a
    Quantize's result is none: it rounds. An output that is an input, a constant or another output keeps its operation.
    """
    producers = graph.producers()
    fixed = {*graph.inputs, *graph.outputs}
    names: dict[str, str] = {}
    removed: set[str] = set()
    for operation in graph.operations:
        source = _identical(graph, operation, producers)
        if source is None:
            continue
        source, result = _final(names, source), operation.outputs[0]
        free = source not in fixed and not graph.values[source].is_constant
        if result in graph.outputs:
            if not free:
                continue
            names[source] = result
            fixed.add(result)
        elif free and source.startswith(f"{result}/"):
            names[source] = result
        else:
            names[result] = source
        removed.add(result)
    kept = [operation for operation in graph.operations if operation.outputs[0] not in removed]
    return rebuilt(graph, [_renamed(operation, names) for operation in kept])


def _identical(graph: Graph, operation: Operation, producers: dict[str, Operation]) -> str | None:
    """The value that the operation's only result equals, bit for bit and in its type."""
    kind, x = operation.kind, operation.inputs[0]
    same = graph.type(x) == graph.type(operation.outputs[0])
    match kind:
        case kinds.Reshape() | kinds.Cast() | kinds.BroadcastTo() | kinds.Tile():
            return x if same else None
        case kinds.Quantize():
            return x if same else _stored_on(graph, producers.get(x), operation.outputs[0])
        case kinds.Transpose():
            return x if kind.permutation == tuple(sorted(kind.permutation)) and same else None
        case kinds.Slice():
            return x if same and all(stride > 0 for stride in kind.stride) else None
        case kinds.Pad():
            return x if not any((*kind.before, *kind.after)) and same else None
        case kinds.Concat():
            return x if len(operation.inputs) == 1 and same else None
        case kinds.Split():
            return x if len(operation.outputs) == 1 and same else None
        case kinds.Clip():
            return x if same and (kind.low, kind.high) == (-math.inf, math.inf) else None
        case _:
            return None


def _stored_on(graph: Graph, maker: Operation | None, result: str) -> str | None:
    """The integers that `maker` dequantizes, where they have the type of `result`."""
    if maker is None or not isinstance(maker.kind, kinds.Dequantize):
        return None
    return maker.inputs[0] if graph.type(maker.inputs[0]) == graph.type(result) else None


def _final(names: dict[str, str], name: str) -> str:
    while name in names:
        name = names[name]
    return name


def _renamed(operation: Operation, names: dict[str, str]) -> Operation:
    return replace(
        operation,
        inputs=tuple(_final(names, name) for name in operation.inputs),
        outputs=tuple(_final(names, name) for name in operation.outputs),
    )


def merge_reshapes(graph: Graph) -> Graph:
    """A Reshape of a Reshape reads what that reads."""
    source: dict[str, str] = {}
    operations = []
    for operation in graph.operations:
        if isinstance(operation.kind, kinds.Reshape):
            origin = source.get(operation.inputs[0], operation.inputs[0])
            source[operation.outputs[0]] = origin
            operation = replace(operation, inputs=(origin,))
        operations.append(operation)
    return rebuilt(graph, operations)


def share_duplicates(graph: Graph) -> Graph:
    """Equal operations on the same operands run once. One that writes an output of the graph stays."""
    names: dict[str, str] = {}
    first: dict[tuple[object, ...], Operation] = {}
    operations = []
    for operation in graph.operations:
        renamed = _renamed(operation, names)
        key = (renamed.kind, renamed.inputs, tuple(graph.types_of(operation.outputs)))
        if key in first and not set(graph.outputs).intersection(operation.outputs):
            names.update(zip(operation.outputs, first[key].outputs, strict=True))
            continue
        first.setdefault(key, renamed)
        operations.append(renamed)
    return rebuilt(graph, operations)
