"""Operations that become part of others.

`fuse` runs these passes, and those of identities.py, so that each finds what the one before has made. What becomes one
operation is computed in the same order as before; only constants that are multiplied or added into weights and biases
round differently, as in any folding of a batch normalization.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np

from edgec.ir import kinds
from edgec.ir.builder import rebuilt
from edgec.ir.graph import Graph, Operation, TensorType, Value
from edgec.ir.kinds import Activation, Conv2D, FullyConnected, Kind, Padding2D, TransposeConv2D
from edgec.ir.passes.identities import merge_reshapes, remove_identities, share_duplicates
from edgec.ir.verifier import run_passes

PRODUCTS = (Conv2D, TransposeConv2D, FullyConnected)


def fuse(graph: Graph) -> Graph:
    """All passes of this file and of identities.py, each verified."""
    return run_passes(
        graph,
        [
            remove_identities,
            merge_reshapes,
            share_duplicates,
            fuse_padding,
            fuse_constants,
            fuse_activations,
            merge_reshapes,
            remove_identities,
        ],
    )


def fuse_padding(graph: Graph) -> Graph:
    """Zeros around an image become the padding of the convolutions that read it, -inf that of largest values.

    Not of averages: those do not count their padding.
    """
    producers = graph.producers()
    operations = []
    for operation in graph.operations:
        pad = producers.get(operation.inputs[0])
        if pad is not None and isinstance(pad.kind, kinds.Pad):
            kind = _with_padding(operation.kind, pad.kind)
            if kind is not None:
                inputs = (pad.inputs[0], *operation.inputs[1:])
                operation = Operation(kind, inputs, operation.outputs, _origins(pad, operation))
        operations.append(operation)
    return rebuilt(graph, operations)


def _with_padding(kind: Kind, pad: kinds.Pad) -> Kind | None:
    if not isinstance(kind, (kinds.Conv2D, kinds.MaxPool2D)) or pad.mode != "constant":
        return None
    before, after = pad.before, pad.after
    inside = before[0] == after[0] == before[3] == after[3] == 0 and min(*before, *after) >= 0
    if not inside or pad.value != (0.0 if isinstance(kind, kinds.Conv2D) else -math.inf):
        return None
    own = kind.padding
    return replace(
        kind,
        padding=Padding2D(own.top + before[1], own.bottom + after[1], own.left + before[2], own.right + after[2]),
    )


def fuse_activations(graph: Graph) -> Graph:
    """relu, relu6 and the Clips that are one of them become the activation of the product or the Binary (add, sub,
    mul) before, also through a Reshape. Where the result before it is read by nobody else, and is no output."""
    alone = _read_once(graph)
    operations: list[Operation | None] = []
    written: dict[str, int] = {}
    taken = set(graph.values)
    extra: list[Value] = []
    for operation in graph.operations:
        activation = _activation(operation.kind)
        source = operation.inputs[0]
        place = written.get(source)
        same = graph.type(source) == graph.type(operation.outputs[0])
        if activation is not None and place is not None and source in alone and same:
            reshape = operations[place]
            assert reshape is not None
            through = isinstance(reshape.kind, kinds.Reshape) and graph.type(source).dtype == "float32"
            if through:
                source = reshape.inputs[0]
                place = written.get(source) if source in alone else None
            writer = operations[place] if place is not None else None
            kind = _activated(writer.kind, activation) if writer is not None else None
            if place is not None and writer is not None and kind is not None and _computes_reals(graph, writer):
                result = operation.outputs[0]
                if through:
                    moved = _fresh(taken, f"{result}/{writer.kind.label}")
                    extra.append(replace(graph.values[source], name=moved))
                    operations[written[operation.inputs[0]]] = None
                    operations[place] = Operation(kind, writer.inputs, (moved,), _origins(writer, operation))
                    operation = Operation(reshape.kind, (moved,), (result,), reshape.origin)
                else:
                    operations[place] = Operation(kind, writer.inputs, (result,), _origins(writer, operation))
                    written[result] = place
                    continue
        for name in operation.outputs:
            written[name] = len(operations)
        operations.append(operation)
    return rebuilt(graph, [operation for operation in operations if operation is not None], extra)


def _activation(kind: Kind) -> Activation | None:
    match kind:
        case kinds.Unary(function="relu") | kinds.Clip(low=0.0, high=math.inf):
            return "relu"
        case kinds.Unary(function="relu6") | kinds.Clip(low=0.0, high=6.0):
            return "relu6"
        case _:
            return None


def _activated(kind: Kind, activation: Activation) -> Kind | None:
    """The kind with one more activation after its own."""
    if not isinstance(kind, (*PRODUCTS, kinds.Binary)):
        return None
    if isinstance(kind, kinds.Binary) and kind.function not in ("add", "sub", "mul"):
        return None
    return replace(kind, activation="relu6" if "relu6" in (kind.activation, activation) else activation)


def _computes_reals(graph: Graph, operation: Operation) -> bool:
    result = graph.type(operation.outputs[0])
    return result.dtype == "float32" or result.quantization is not None


def fuse_constants(graph: Graph) -> Graph:
    """A constant for each channel that is multiplied with a product's result goes into its weights, one that is added
    into its bias. Float constants only, and where nobody else reads the result before it."""
    alone = _read_once(graph)
    operations: list[Operation] = []
    written: dict[str, int] = {}
    values = dict(graph.values)
    for operation in graph.operations:
        place, constant = _product_and_constant(operation, written, values, alone)
        if place is not None and constant is not None:
            fused = _with_constant(operations[place], operation, constant, values)
            if fused is not None:
                operations[place] = fused
                written[operation.outputs[0]] = place
                continue
        for name in operation.outputs:
            written[name] = len(operations)
        operations.append(operation)
    return rebuilt(graph, operations, list(values.values()))


def _product_and_constant(
    operation: Operation, written: dict[str, int], values: dict[str, Value], alone: set[str]
) -> tuple[int | None, np.ndarray | None]:
    """Where the operand that is computed is written, and the other operand, as one number for each channel."""
    kind = operation.kind
    if not isinstance(kind, kinds.Binary) or kind.function not in ("add", "sub", "mul"):
        return None, None
    x, constant = operation.inputs
    if kind.function != "sub" and values[x].is_constant:
        x, constant = constant, x
    of, data, shape = values[x].type, values[constant].data, values[operation.outputs[0]].type.shape
    if not shape or data is None or data.dtype != np.float32 or of.dtype != "float32" or x not in alone:
        return None, None
    if of.shape != shape:
        return None, None
    if data.size != 1 and (data.ndim == 0 or data.size != shape[-1] or data.shape[-1] != shape[-1]):
        return None, None
    return written.get(x), np.broadcast_to(data.reshape(-1), (shape[-1],))


def _with_constant(
    product: Operation, operation: Operation, constant: np.ndarray, values: dict[str, Value]
) -> Operation | None:
    kind, then = product.kind, operation.kind
    assert isinstance(then, kinds.Binary)
    if not isinstance(kind, PRODUCTS) or kind.activation != "none":
        return None
    weights = values[product.inputs[1]].data
    bias = values[product.inputs[2]].data if len(product.inputs) > 2 else np.zeros(len(constant), np.float32)
    if bias is None or bias.dtype != np.float32:
        return None
    inputs = [product.inputs[0], product.inputs[1]]
    if then.function == "mul":
        if weights is None or weights.dtype != np.float32:
            return None
        scaled = (weights * constant.reshape(-1, *(1,) * (weights.ndim - 1))).astype(np.float32)
        inputs[1] = _constant(values, f"{operation.outputs[0]}/weights", scaled)
        bias = bias * constant
    else:
        bias = bias + constant if then.function == "add" else bias - constant
    if then.function != "mul" or len(product.inputs) > 2:
        inputs.append(_constant(values, f"{operation.outputs[0]}/bias", bias.astype(np.float32)))
    activated = replace(kind, activation=then.activation)
    return Operation(activated, tuple(inputs), operation.outputs, _origins(product, operation))


def _constant(values: dict[str, Value], name: str, data: np.ndarray) -> str:
    name = _fresh(set(values), name)
    values[name] = Value(name, TensorType(data.shape, str(data.dtype)), data)
    return name


def _fresh(taken: set[str], name: str) -> str:
    """The name, or with the first number that is not taken; it is taken then."""
    wanted, count = name, 0
    while name in taken:
        count += 1
        name = f"{wanted}.{count}"
    taken.add(name)
    return name


def _read_once(graph: Graph) -> set[str]:
    """Values that one operation reads, once, and that are no outputs."""
    counts = Counter(name for operation in graph.operations for name in operation.inputs)
    return {name for name, count in counts.items() if count == 1 and name not in graph.outputs}


def _origins(*operations: Operation) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for operation in operations for name in operation.origin))
