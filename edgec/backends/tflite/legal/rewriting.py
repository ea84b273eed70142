"""The walk over a graph, and what a rule works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import NoReturn

import numpy as np

from edgec.errors import UnsupportedOp
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Operation, Quantization, TensorType, Value
from edgec.ir.inference import result_types
from edgec.ir.kinds import Cast, Dequantize, Kind, Reshape

OTHER_BACKEND = "Replace it in the model, or choose another --backend."


class Unwritable(Exception):
    """TFLite has no kernel for an operation, and none of its operators make one up."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Objection:
    """An operation that can't be written. reason continues "node X (Op): "."""

    operation: Operation
    reason: str
    remedy: str


def legalize(graph: Graph) -> Graph:
    """The graph in operations that TFLite has; raises UnsupportedOp naming those that it can't be made of."""
    made, refused = _walk(graph)
    if refused:
        raise UnsupportedOp(
            f"{len(refused)} operations of the model can't be written as TFLite",
            "\n".join(f"node {_node(item)!r} ({item.operation.kind.label}): {item.reason}" for item in refused),
            "\n".join(dict.fromkeys(item.remedy for item in refused)),
        )
    return made


def objections(graph: Graph) -> list[Objection]:
    """The operations that TFLite can't be made to compute, in order; empty when it can compute all."""
    return _walk(graph)[1]


@singledispatch
def replaced(kind: Kind, place: Place) -> bool:
    """Write other operations in the place of one, and return True; False where it is fine as it is.

    One function for each kind that TFLite does not take as it comes. Raises Unwritable.
    """
    return False


def _walk(graph: Graph) -> tuple[Graph, list[Objection]]:
    rewriting = Rewriting(graph)
    refused = []
    for operation in graph.operations:
        try:
            rewriting.write(operation)
        except Unwritable as error:
            refused.append(Objection(operation, error.reason, error.remedy))
            rewriting.keep(operation)  # what comes after is examined all the same
    return rewriting.finish(), refused


@dataclass
class Rewriting:
    """The new graph in the writing. Values of the old one keep their names and types."""

    graph: Graph
    builder: GraphBuilder = field(init=False)
    makers: dict[str, Operation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.builder = GraphBuilder.over(self.graph)

    def write(self, operation: Operation) -> None:
        """Write an operation, or what stands for it."""
        from edgec.backends.tflite.legal.dtypes import computed_in_another_dtype

        place = Place(self, operation)
        if not computed_in_another_dtype(place) and not replaced(operation.kind, place):
            self.keep(operation)

    def keep(self, operation: Operation) -> None:
        """Write an operation as it is."""
        self.builder.graph.operations.append(operation)
        self.makers.update((name, operation) for name in operation.outputs)

    def finish(self) -> Graph:
        return self.builder.finish(self.graph.outputs)


@dataclass(frozen=True)
class Place:
    """Where an operation is, and others may be written instead."""

    rewriting: Rewriting
    operation: Operation

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.operation.inputs

    def type(self, position: int) -> TensorType:
        """The type of an operand."""
        return self.type_of(self.operation.inputs[position])

    def type_of(self, value: str) -> TensorType:
        """The type of any value that is there."""
        return self.rewriting.builder.type(value)

    @property
    def result(self) -> TensorType:
        """The type of the (first) result."""
        return self.type_of(self.operation.outputs[0])

    def data(self, position: int) -> np.ndarray | None:
        """The data of a constant operand."""
        return self.rewriting.builder.graph.constant(self.operation.inputs[position])

    def refuse(self, reason: str, remedy: str = OTHER_BACKEND) -> NoReturn:
        """Say that the operation can't be written."""
        raise Unwritable(reason, remedy)

    def add(self, kind: Kind, inputs: Sequence[str], suffix: str, of: TensorType | None = None) -> str:
        """Write an operation with a result of its own; returns it.

        of: its type where that does not follow from the operands. An integer result of quantized operands is taken to
        be on the grid of the first.
        """
        return self.add_all(kind, inputs, [suffix], None if of is None else [of])[0]

    def add_all(
        self, kind: Kind, inputs: Sequence[str], suffixes: Sequence[str], types: Sequence[TensorType] | None = None
    ) -> list[str]:
        """Write an operation with several results of its own."""
        builder = self.rewriting.builder
        operands = [builder.type(name) for name in inputs]
        made = list(types) if types is not None else list(result_types(kind, operands))
        if types is None and not isinstance(kind, Dequantize):
            made = [_on_grid(item, operands[0]) for item in made]
        names = []
        for suffix, of in zip(suffixes, made, strict=True):
            name = builder.fresh(f"{self.operation.outputs[0]}/{suffix}")
            builder.copy_value(Value(name, of))
            names.append(name)
        self.rewriting.write(Operation(kind, tuple(inputs), tuple(names), self.operation.origin))
        return names

    def finish(self, kind: Kind, inputs: Sequence[str]) -> bool:
        """Write the operation that gives the results of the one that is replaced."""
        self.rewriting.write(Operation(kind, tuple(inputs), self.operation.outputs, self.operation.origin))
        return True

    def constant(self, suffix: str, data: np.ndarray, quantization: Quantization | None = None) -> str:
        """Write a constant."""
        return self.rewriting.builder.constant(f"{self.operation.outputs[0]}/{suffix}", np.asarray(data), quantization)

    def number(self, suffix: str, value: float, like: TensorType) -> str:
        """Write a scalar constant of another tensor's (float or plain integer) dtype."""
        return self.constant(suffix, np.array(value, like.dtype))

    def reshaped(self, value: str, shape: Sequence[int], suffix: str) -> str:
        """A value in another shape; a constant is reshaped now."""
        builder = self.rewriting.builder
        of = builder.type(value)
        if of.shape == tuple(shape):
            return value
        data = builder.graph.constant(value)
        if data is not None and (of.quantization is None or of.quantization.axis is None):
            return self.constant(suffix, data.reshape(tuple(shape)), of.quantization)
        return self.add(Reshape(tuple(shape)), [value], suffix)

    def cast(self, value: str, dtype: str, suffix: str) -> str:
        """A value of another dtype; a constant is converted now."""
        builder = self.rewriting.builder
        if builder.type(value).dtype == dtype:
            return value
        if (data := builder.graph.constant(value)) is not None:
            return self.constant(suffix, data.astype(dtype))
        return self.add(Cast(dtype), [value], suffix)

    def changed(
        self, value: str, change: Callable[[np.ndarray], np.ndarray], suffix: str, *, part: slice | None = None
    ) -> str | None:
        """A constant with other elements, also one that is stored as something smaller: those stay stored.

        part: what `change` keeps of the first dimension, which scales may belong to.
        None for what is computed at run time.
        """
        builder = self.rewriting.builder
        if (data := builder.graph.constant(value)) is not None:
            return self.constant(suffix, change(data), _part(builder.type(value).quantization, part))
        maker = self.rewriting.makers.get(value)
        if maker is None or not isinstance(maker.kind, (Dequantize, Cast)):
            return None
        stored = builder.graph.values[maker.inputs[0]]
        if stored.data is None:
            return None
        inner = self.constant(f"{suffix}/stored", change(stored.data), _part(stored.type.quantization, part))
        return self.add(maker.kind, [inner], suffix)


def _part(quantization: Quantization | None, part: slice | None) -> Quantization | None:
    if quantization is None or quantization.axis is None or part is None:
        return quantization
    assert quantization.axis == 0
    return Quantization(quantization.scale[part], quantization.zero_point[part], 0)


def _on_grid(of: TensorType, like: TensorType) -> TensorType:
    if like.quantization is None or like.quantization.axis is not None or of.dtype != like.dtype:
        return of
    return TensorType(of.shape, of.dtype, like.quantization)


def _node(item: Objection) -> str:
    return item.operation.origin[0] if item.operation.origin else item.operation.outputs[0]
