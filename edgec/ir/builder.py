"""How graphs are written: by the importer, and by passes that make a new graph of an old one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgec.ir.graph import Graph, Operation, Quantization, TensorType, Value
from edgec.ir.inference import result_types
from edgec.ir.kinds import Kind


class GraphBuilder:
    """A graph in the writing. Names that are taken get a number: `x/nhwc`, `x/nhwc.1`.

    reserved: names that are kept for results to come, see `release`.
    """

    def __init__(self, name: str = "main") -> None:
        self.graph = Graph(name, (), ())
        self.reserved: set[str] = set()
        self.arrangements: dict[tuple[str, str], str] = {}  # constants in another arrangement: its name, by theirs
        self._producers: dict[str, Operation] = {}

    @classmethod
    def over(cls, graph: Graph, *, results: bool = True) -> GraphBuilder:
        """For a graph of other operations over the values, the inputs and the layouts of `graph`.

        results: take over what operations compute, too, so that no new name is one of theirs; otherwise constants only.
        """
        builder = cls(graph.name)
        builder.graph.layouts = dict(graph.layouts)
        for name in graph.inputs:
            builder.input(name, graph.type(name))
        for value in graph.values.values():
            if results or value.is_constant:
                builder.copy_value(value)
        return builder

    def type(self, name: str) -> TensorType:
        """The type of a value that is there already."""
        return self.graph.type(name)

    def producer(self, name: str) -> Operation | None:
        """The operation that writes a value; None for inputs and constants."""
        return self._producers.get(name)

    def fresh(self, name: str) -> str:
        """`name`, or with the first number that is not taken."""
        wanted, count = name, 0
        while wanted in self.graph.values or wanted in self.reserved:
            count += 1
            wanted = f"{name}.{count}"
        return wanted

    def release(self, names: Sequence[str]) -> None:
        """Let reserved names be taken, by what is added next."""
        self.reserved.difference_update(names)

    def input(self, name: str, of: TensorType) -> str:
        """Declare an input of the graph."""
        self.graph.inputs = (*self.graph.inputs, name)
        return self._declare(Value(name, of))

    def constant(self, name: str, data: np.ndarray, quantization: Quantization | None = None) -> str:
        """Add a constant; returns the name that it got."""
        data = np.asarray(data)
        return self._declare(
            Value(
                self.fresh(name),
                TensorType(data.shape, str(data.dtype), quantization),
                np.ascontiguousarray(data).reshape(data.shape),
            )
        )

    def add(
        self,
        kind: Kind,
        inputs: Sequence[str],
        output: str | Sequence[str],
        *,
        types: Sequence[TensorType] | None = None,
        quantization: Quantization | None = None,
        dtype: str | None = None,
        origin: Sequence[str] = (),
    ) -> str:
        """Add an operation and its results; returns the name of the first result.

        output: names of the results. One that is taken is numbered.
        types: the results' types where the inferred ones are not meant. quantization, dtype: of a single result.
        Raises TypeMismatch when the operands do not fit.
        """
        names = [output] if isinstance(output, str) else list(output)
        made = list(types) if types is not None else list(result_types(kind, [self.type(name) for name in inputs]))
        if quantization is not None or dtype is not None:
            made = [replace(item, quantization=quantization, dtype=dtype or item.dtype) for item in made]
        written = []
        for name, item in zip(names, made, strict=True):
            written.append(self._declare(Value(self.fresh(name), item)))
        operation = Operation(kind, tuple(inputs), tuple(written), tuple(dict.fromkeys(origin)))
        self.graph.operations.append(operation)
        self._producers.update((value, operation) for value in written)
        return written[0]

    def replace(self, operation: Operation, constants: Sequence[Value]) -> None:
        """Put constants of the same names in the place of an operation's results."""
        self.graph.operations.remove(operation)
        for value in constants:
            self.graph.values[value.name] = value
            del self._producers[value.name]

    def copy_value(self, value: Value) -> str:
        """Take over a value of another graph under its own name; one that is there already stays."""
        if value.name not in self.graph.values:
            self.graph.values[value.name] = value
        return value.name

    def finish(self, outputs: Sequence[str]) -> Graph:
        """The graph, without operations and constants that nothing leads to."""
        self.graph.outputs = tuple(outputs)
        return without_dead(self.graph)

    def _declare(self, value: Value) -> str:
        assert value.name not in self.graph.values, value.name
        self.graph.values[value.name] = value
        return value.name


def rebuilt(graph: Graph, operations: Sequence[Operation], extra: Sequence[Value] = ()) -> Graph:
    """A graph of other operations over the same values and the `extra` ones (which replace those of the same name)."""
    values = {**graph.values, **{value.name: value for value in extra}}
    return without_dead(Graph(graph.name, graph.inputs, graph.outputs, list(operations), values, graph.layouts))


def without_dead(graph: Graph) -> Graph:
    """The graph without what no output depends on, and without layouts of what is no border any more; inputs stay."""
    needed = set(graph.outputs)
    kept: list[Operation] = []
    for operation in reversed(graph.operations):
        if needed.intersection(operation.outputs):
            needed.update(operation.inputs)
            needed.update(operation.outputs)
            kept.append(operation)
    needed.update(graph.inputs)
    values = {name: value for name, value in graph.values.items() if name in needed}
    layouts = {name: order for name, order in graph.layouts.items() if name in (*graph.inputs, *graph.outputs)}
    return Graph(graph.name, graph.inputs, graph.outputs, kept[::-1], values, layouts)
