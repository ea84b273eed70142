"""A graph as text: one line an operation, the same text for the same graph, small changes where the graph changes a
little.

    graph main (image: float32[1, 224, 224, 3]) -> (scores)
    image/int8: int8[1, 224, 224, 3] {0.0078, -1} = Quantize(image)
    conv1: int8[1, 112, 112, 32] {0.0235, -128} = Conv2D(image/int8, w1: int8[32, 3, 3, 3] {32 scales}, b1: int32[32]
        {32 scales}) stride=(2, 2) padding=(0, 1, 0, 1) activation=relu6
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from edgec.ir.graph import Graph, Operation, Quantization, TensorType, Value
from edgec.ir.kinds.windows import Padding2D

_SMALL = 6  # elements of a constant that are shown


def dump(graph: Graph) -> str:
    """The text, ending in a newline."""
    inputs = ", ".join(f"{name}: {_type(graph.type(name))}" for name in graph.inputs)
    lines = [f"graph {graph.name} ({inputs}) -> ({', '.join(graph.outputs)})"]
    lines += [_line(graph, operation) for operation in graph.operations]
    return "\n".join(lines) + "\n"


def _line(graph: Graph, operation: Operation) -> str:
    results = ", ".join(f"{name}: {_type(graph.type(name))}" for name in operation.outputs)
    operands = ", ".join(_operand(graph.values[name]) for name in operation.inputs)
    attributes = "".join(f" {name}={_attribute(value)}" for name, value in _set_fields(operation.kind))
    return f"{results} = {type(operation.kind).__name__}({operands}){attributes}"


def _set_fields(kind: Any) -> list[tuple[str, Any]]:
    """Fields that have another value than their default."""
    found = []
    for item in fields(kind):
        value = getattr(kind, item.name)
        if item.default is MISSING or value != item.default:
            found.append((item.name, value))
    return found


def _operand(value: Value) -> str:
    if value.data is None:
        return value.name
    if value.type.size <= _SMALL:
        return f"{value.name}: {_type(value.type)} {np.array2string(value.data, separator=', ').replace(chr(10), '')}"
    return f"{value.name}: {_type(value.type)}"


def _type(of: TensorType) -> str:
    shape = f"{of.dtype}{list(of.shape)}"
    return shape if of.quantization is None else f"{shape} {_quantization(of.quantization)}"


def _quantization(of: Quantization) -> str:
    if len(of.scale) > 1:
        return f"{{{len(of.scale)} scales along {of.axis}}}"
    return f"{{{of.scale[0]:.8g}, {of.zero_point[0]}}}"


def _attribute(value: Any) -> str:
    if isinstance(value, Padding2D):
        return str((value.top, value.bottom, value.left, value.right))
    return str(value)
