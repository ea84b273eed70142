"""One ONNX node while it is imported: its operands, its attributes, and how its results are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from onnx import NodeProto

from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Operation, Quantization, TensorType
from edgec.ir.inference import TypeMismatch
from edgec.ir.kinds import Cast, Dequantize, Kind, Reshape, Transpose
from edgec.onnx_graph.graph import Graph as OnnxGraph
from edgec.onnx_graph.graph import attribute

Arrange = Callable[[np.ndarray], np.ndarray]
"""The same elements, or some of them, in another order and shape."""


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
        return self.constant_named(self.operand(position)) if self.has(position) else None

    def constant_named(self, value: str) -> np.ndarray | None:
        """The data of a constant; None for what is computed."""
        return self.builder.graph.constant(value)

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
        self._release([names] if isinstance(names, str) else names)
        return self.builder.add(kind, inputs, names, origin=(self.node.name,), **given)

    def between(self, suffix: str) -> str:
        """A name for a value inside of the node."""
        return self.builder.fresh(f"{self.node.output[0]}/{suffix}")

    def add_constant(self, suffix: str, data: np.ndarray | np.generic) -> str:
        """A constant of the node's own."""
        return self.builder.constant(self.between(suffix), np.asarray(data))

    def write_constant(self, output: str, data: np.ndarray) -> None:
        """Say that the node's result `output` is a constant."""
        self._release([output])
        self.builder.constant(output, data)

    def _release(self, names: Sequence[str]) -> None:
        """Let the node's own results have the names that are kept for them."""
        self.builder.release([name for name in names if name in self.node.output])

    def rename(self, value: str, output: str | None = None) -> None:
        """Say that the node's result (the first, or that called `output`) is `value`: the node does nothing."""
        self.add(Reshape(self.type(value).shape), [value], output, types=[self.type(value)])

    def require_float(self, *positions: int) -> None:
        """Refuse operands at `positions` (those that are given) that are not float32."""
        for position in positions:
            if self.has(position) and (dtype := self.type(self.operand(position)).dtype) != "float32":
                self.refuse(
                    f"it computes in {dtype}",
                    "Export the model in float32: edgec makes the smaller numbers itself (--precision).",
                )

    def is_stored(self, value: str) -> bool:
        """Whether a value is a constant, also one that is stored as integers or float16."""
        return self.builder.graph.constant(value) is not None or self._stored(value) is not None

    def numbers(self, position: int) -> np.ndarray | None:
        """The float32 numbers of a constant operand, also of one that is stored smaller; None for one that is
        computed, or not given. For what is small: weights stay stored as they are."""
        if not self.has(position):
            return None
        value = self.operand(position)
        if (data := self.builder.graph.constant(value)) is not None:
            return data
        maker = self._stored(value)
        if maker is None:
            return None
        stored = self.builder.graph.values[maker.inputs[0]]
        assert stored.data is not None
        if (quantization := stored.type.quantization) is None:
            return stored.data.astype(np.float32)
        per_index = [1] * stored.type.rank
        if quantization.axis is not None:
            per_index[quantization.axis] = -1
        shape = per_index if quantization.axis is not None else []
        scale = np.array(quantization.scale, np.float32).reshape(shape)
        zero_point = np.array(quantization.zero_point, np.int64).reshape(shape)
        return np.asarray((stored.data - zero_point).astype(np.float32) * scale)

    def permuted(self, value: str, permutation: Sequence[int], suffix: str) -> str:
        """`value` with its dimensions in another order.

        A constant is permuted now, also one that is stored as integers or float16 and made float by a Dequantize or a
        Cast; of anything else a Transpose is written.
        """
        order = tuple(permutation)
        if order == tuple(range(len(order))):
            return value
        if self.is_stored(value):
            return self.arranged(value, lambda data: data.transpose(order), suffix)
        return self.builder.add(Transpose(order), [value], f"{value}/{suffix}", origin=(self.node.name,))

    def arranged(self, value: str, arrange: Arrange, suffix: str) -> str:
        """A constant whose elements are permuted, reshaped or taken out; it stays stored as it is.

        suffix: names the arrangement: the same constant in the same arrangement is made once.
        """
        graph = self.builder.graph
        name = f"{value}/{suffix}"
        key = (value, suffix)
        known = self.builder.arrangements.get(key)
        if known is not None and known in graph.values:
            return known
        if (data := graph.constant(value)) is not None:
            made = self.builder.constant(name, arrange(data), _arranged(graph.type(value), arrange))
        else:
            maker = self._stored(value)
            assert maker is not None, value
            stored = graph.values[maker.inputs[0]]
            assert stored.data is not None
            data = arrange(stored.data)
            turned = self.builder.constant(f"{stored.name}/{suffix}", data, _arranged(stored.type, arrange))
            made = self.builder.add(maker.kind, [turned], name, origin=maker.origin)
        self.builder.arrangements[key] = made
        return made

    def add_arranged(self, kind: Kind, value: str, arrange: Arrange) -> str:
        """Add an operation that only arranges elements as the node's result; one of a constant that is stored smaller
        is done now, so that it stays stored so."""
        maker = self._stored(value)
        if maker is not None:
            stored = self.builder.graph.values[maker.inputs[0]]
            assert stored.data is not None
            try:
                quantization = _arranged(stored.type, arrange)
            except TypeMismatch:  # its scales would lie along several axes
                return self.add(kind, [value])
            name = f"{stored.name}/{self.outputs[0]}"
            turned = self.builder.constant(name, arrange(stored.data), quantization)
            return self.add(maker.kind, [turned])
        return self.add(kind, [value])

    def _stored(self, value: str) -> Operation | None:
        """The Dequantize or Cast that makes `value` of a constant."""
        maker = self.builder.producer(value)
        if maker is None or not isinstance(maker.kind, (Dequantize, Cast)):
            return None
        return maker if self.builder.graph.constant(maker.inputs[0]) is not None else None


def _arranged(of: TensorType, arrange: Arrange) -> Quantization | None:
    """The quantization of an arranged constant: where the axis of its scales goes, and which of them are left.

    Raises TypeMismatch when they would lie along several axes.
    """
    quantization = of.quantization
    if quantization is None or quantization.axis is None:
        return quantization
    along = [1] * of.rank
    along[quantization.axis] = -1
    index = np.arange(len(quantization.scale), dtype=np.int32).reshape(along)
    where = arrange(np.broadcast_to(index, of.shape))
    if (where == where.flat[0]).all():
        only = int(where.flat[0])
        return Quantization.per_tensor(quantization.scale[only], quantization.zero_point[only])
    for axis in range(where.ndim):
        taken = np.moveaxis(where, axis, 0).reshape(where.shape[axis], -1)[:, 0]
        along = [1] * where.ndim
        along[axis] = -1
        if (where == taken.reshape(along)).all():
            scales = tuple(quantization.scale[i] for i in taken)
            return Quantization(scales, tuple(quantization.zero_point[i] for i in taken), axis)
    raise TypeMismatch(f"a constant of {of.shape} with scales along {quantization.axis} can't be arranged so")


def per_axis(scale: np.ndarray, zero_point: np.ndarray, axis: int) -> Quantization:
    """The quantization of ONNX scales and zero points: float32 [C] or [], integers of the same shape."""
    if scale.ndim == 0 or scale.size == 1:
        return Quantization.per_tensor(float(scale.reshape(())), int(zero_point.reshape(())))
    return Quantization(tuple(float(item) for item in scale), tuple(int(item) for item in zero_point), axis)
