"""One ONNX node while it is imported: its operands, its attributes, and how its results are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
from onnx import NodeProto

from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Quantization, TensorType
from edgec.ir.kinds import Cast, Dequantize, Kind, Transpose
from edgec.onnx_graph.graph import Graph as OnnxGraph
from edgec.onnx_graph.graph import attribute


class Unsupported(Exception):
    """A node that can't be imported: why, and what the user may do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class NodeImport:
    """What a handler works with. Values are named by their names in the graph in the writing."""

    node: NodeProto
    model: OnnxGraph
    builder: GraphBuilder

    @property
    def outputs(self) -> list[str]:
        """Names of the results, in order; empty where a result is not asked for."""
        return list(self.node.output)

    def has(self, position: int) -> bool:
        """Whether the operand at `position` is given."""
        return position < len(self.node.input) and bool(self.node.input[position])

    def operand(self, position: int) -> str:
        """The value that the node reads at `position`."""
        return str(self.node.input[position])

    def type(self, value: str) -> TensorType:
        """The type of a value."""
        return self.builder.type(value)

    def constant(self, position: int) -> np.ndarray | None:
        """The data of a constant operand; None for one that is computed, or not given."""
        return self.builder.graph.constant(self.operand(position)) if self.has(position) else None

    def required_constant(self, position: int, what: str) -> np.ndarray:
        """The data of an operand that must be constant: shapes, axes, limits. `what` names it for the user."""
        value = self.constant(position)
        if value is None:
            self.refuse(
                f"its {what} is computed at run time",
                "Fix the shapes of the model's inputs (--shape), so that it becomes a constant; or export the model "
                "without it.",
            )
        return value

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node as plain Python, or the default."""
        return attribute(self.node, name, default)

    def refuse(self, reason: str, remedy: str) -> NoReturn:
        """Say that the node can't be imported. `reason` continues "node X (Op): "."""
        raise Unsupported(reason, remedy)

    def add(self, kind: Kind, inputs: Sequence[str], output: str | Sequence[str] | None = None, **given: Any) -> str:
        """Add an operation that is (part of) this node; returns its first result.

        output: None for the node's own first output; a name of one's own for what lies in between.
        """
        names = self.outputs[0] if output is None else output
        return self.builder.add(kind, inputs, names, origin=(self.node.name,), **given)

    def between(self, suffix: str) -> str:
        """A name for a value inside of the node."""
        return self.builder.fresh(f"{self.node.output[0]}/{suffix}")

    def add_constant(self, suffix: str, data: np.ndarray) -> str:
        """A constant of the node's own."""
        return self.builder.constant(self.between(suffix), data)

    def rename(self, value: str, output: str | None = None) -> None:
        """Say that the node's result (the first, or that called `output`) is `value`: the node does nothing."""
        from edgec.ir.kinds import Reshape

        self.add(Reshape(self.type(value).shape), [value], output, types=[self.type(value)])

    def permuted(self, value: str, permutation: Sequence[int], suffix: str) -> str:
        """`value` with its dimensions in another order.

        A constant is permuted now, also one that is stored as integers or float16 and made float by a Dequantize or a
        Cast; of anything else a Transpose is written.
        """
        order = tuple(permutation)
        if order == tuple(range(len(order))):
            return value
        graph = self.builder.graph
        name = f"{value}/{suffix}"
        if (data := graph.constant(value)) is not None:
            return self.builder.constant(name, np.ascontiguousarray(data.transpose(order)))
        maker = next((item for item in reversed(graph.operations) if value in item.outputs), None)
        if maker is not None and isinstance(maker.kind, (Dequantize, Cast)):
            stored = graph.values[maker.inputs[0]]
            if stored.data is not None:
                axis = stored.type.quantization.axis if stored.type.quantization is not None else None
                quantization = stored.type.quantization
                if quantization is not None and axis is not None:
                    quantization = replace(quantization, axis=order.index(axis))
                turned = self.builder.constant(
                    f"{stored.name}/{suffix}", np.ascontiguousarray(stored.data.transpose(order)), quantization
                )
                return self.builder.add(maker.kind, [turned], name, origin=maker.origin)
        return self.builder.add(Transpose(order), [value], name, origin=(self.node.name,))


def per_axis(scale: np.ndarray, zero_point: np.ndarray, axis: int) -> Quantization:
    """The quantization of ONNX scales and zero points: float32 [C] or [], integers of the same shape."""
    if scale.ndim == 0 or scale.size == 1:
        return Quantization.per_tensor(float(scale.reshape(())), int(zero_point.reshape(())))
    return Quantization(tuple(float(item) for item in scale), tuple(int(item) for item in zero_point), axis)
