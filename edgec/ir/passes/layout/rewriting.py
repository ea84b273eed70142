"""The graph in the orders that were chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgec.ir import kinds
from edgec.ir.builder import without_dead
from edgec.ir.graph import Graph, Operation, Quantization, TensorType, Value
from edgec.ir.kinds import Kind
from edgec.ir.passes.layout.assignment import Labels, stored_order
from edgec.ir.passes.layout.freedom import order_of
from edgec.ir.passes.layout.orders import Order, between, compose, identity, order_name, permuted, significant
from edgec.ir.passes.layout.problem import Problem


def rewrite(problem: Problem, labels: Labels) -> Graph:
    """The graph whose operations work in the orders of their labels."""
    return _Rewriting(problem, labels).graph()


class _Rewriting:
    """The new graph in the writing.

    versions: by tensor, the value that holds it in each order.
    columns: by new value, where each element of its last dimension was in the old graph, if they were reordered.
    """

    def __init__(self, problem: Problem, labels: Labels) -> None:
        self.problem = problem
        self.old = problem.graph
        self.labels = labels
        self.values: dict[str, Value] = {}
        self.operations: list[Operation] = []
        self.layouts: dict[str, Order] = {}
        self.versions: dict[str, dict[Order, str]] = {}
        self.columns: dict[str, np.ndarray] = {}
        self.constants: dict[tuple[str, tuple[int | None, ...]], str] = {}
        self.reshaped: dict[tuple[str, tuple[int, ...]], str] = {}
        self.origins = {name: item.origin for item in self.old.operations for name in item.outputs}
        self.taken = set(self.old.inputs) | set(self.old.outputs)
        self.names = self._chosen_names()
        self.taken.update(self.names.values())

    def graph(self) -> Graph:
        for name in self.old.inputs:
            self._input(name)
        for node, operation in enumerate(self.problem.operations):
            if operation is not None:
                self._operation(node, operation)
        for name in dict.fromkeys(self.old.outputs):
            self._output(name)
        return without_dead(
            Graph(self.old.name, self.old.inputs, self.old.outputs, self.operations, self.values, self.layouts)
        )

    # --- names ---

    def _chosen_names(self) -> dict[tuple[str, Order], str]:
        """Names that are given before anything is written: an output's own, and that of the ONNX tensor in its order.

        A name is either that of an output, or of an alias in the order that the alias is in; so none is given twice.
        """
        names: dict[tuple[str, Order], str] = {}
        for name, node in self.problem.outputs.items():
            alias = self.problem.aliases[name]
            names.setdefault((alias.root, compose(alias.order, self._output_order(name, node))), name)
        for name, alias in self.problem.aliases.items():
            if name not in self.taken:
                names.setdefault((alias.root, alias.order), name)
        return names

    def _output_order(self, name: str, node: int) -> Order:
        rank = self.old.type(name).rank
        return order_of(self.problem.freedoms[node].operands[0], self.labels[node], rank)

    def _name(self, root: str, order: Order) -> str:
        """What a tensor in an order is called."""
        if (root, order) in self.names:
            return self.names.pop((root, order))
        return self._fresh(root if order == identity(len(order)) else f"{root}/{order_name(order)}")

    def _fresh(self, name: str) -> str:
        wanted, count = name, 0
        while wanted in self.values or wanted in self.taken:
            count += 1
            wanted = f"{name}.{count}"
        return wanted

    # --- boundary ---

    def _input(self, name: str) -> None:
        tensor = self.problem.tensors[name]
        order = stored_order(self.problem, tensor, self.labels[tensor.writer])
        of = self.old.type(name)
        self.values[name] = Value(name, of.of_shape(permuted(of.shape, order)))
        self._lay_out(name, order)
        self.versions[name] = {order: name}

    def _output(self, name: str) -> None:
        if name not in self.problem.outputs:  # an input or a constant
            if name not in self.values:
                self._take_over(name)
            return
        order = self._output_order(name, self.problem.outputs[name])
        self._lay_out(name, order)
        if name in self.values:
            return
        alias = self.problem.aliases[name]
        wanted = compose(alias.order, order)
        source, stored = self._nearest(alias.root, wanted)
        self._move(source, stored, wanted, name, self.origins[name])

    def _lay_out(self, name: str, order: Order) -> None:
        """Record in which order of the model's dimensions a tensor of the boundary is stored."""
        order = compose(self.old.layouts.get(name, identity(len(order))), order)
        if order != identity(len(order)):
            self.layouts[name] = order

    def _take_over(self, name: str) -> None:
        """A constant output as it is, whatever makes it."""
        maker = next((item for item in self.old.operations if name in item.outputs), None)
        for operand in maker.inputs if maker is not None else ():
            if operand not in self.values:
                self._take_over(operand)
        self.values[name] = self.old.values[name]
        if maker is not None:
            self.operations.append(maker)
        if name in self.old.layouts:
            self.layouts[name] = self.old.layouts[name]

    # --- operations ---

    def _operation(self, node: int, operation: Operation) -> None:
        freedom, label = self.problem.freedoms[node], self.labels[node]
        inputs = [self._operand(node, position, name) for position, name in enumerate(operation.inputs)]
        kind = freedom.turned(label) if freedom.turned is not None else operation.kind
        if isinstance(kind, kinds.BatchMatMul):
            a, b = (self.labels[self.problem.swaps[node, position]] for position in (0, 1))
            kind = kinds.BatchMatMul(
                kind.transpose_a != (a != identity(len(a))), kind.transpose_b != (b != identity(len(b)))
            )
        results = []
        for position, name in enumerate(operation.outputs):
            of = self.old.type(name)
            order = order_of(freedom.results[position], label, of.rank)
            written = self._name(name, order)
            self.values[written] = Value(written, of.of_shape(permuted(of.shape, order)))
            self.versions[name] = {order: written}
            results.append(written)
        if isinstance(kind, kinds.FullyConnected) and inputs[0] in self.columns:
            inputs[1] = self._reordered_weights(operation.inputs[1], self.columns[inputs[0]])
        elif node in self.problem.flattened:
            joined = [self.old.type(operation.inputs[0]).shape[axis] for axis in range(freedom.head, freedom.rank)]
            order = tuple(axis - freedom.head for axis in label[freedom.head :])
            if significant(joined, order) != significant(joined, identity(len(joined))):
                self.columns[results[0]] = np.arange(np.prod(joined)).reshape(joined).transpose(order).ravel()
        else:
            known = next((self.columns[name] for name in inputs if name in self.columns), None)
            if known is not None:
                self.columns[results[0]] = known
        self.operations.append(Operation(kind, tuple(inputs), tuple(results), operation.origin))

    def _operand(self, node: int, position: int, name: str) -> str:
        """The value that holds what a node reads in the order of its label."""
        if (node, position) in self.problem.swaps:
            node, position = self.problem.swaps[node, position], 0
        freedom, label = self.problem.freedoms[node], self.labels[node]
        alias, of = self.problem.aliases[name], self.old.type(name)
        axes = freedom.operands[position]
        order = order_of(axes, label, of.rank)
        dimensions: tuple[int | None, ...] = order
        if freedom.aligned and axes is not None:
            spread = [axes.index(axis) if axis in axes else None for axis in label]
            first = next((place for place, item in enumerate(spread) if item is not None), len(spread))
            dimensions = tuple(spread[first:])
        if alias.root in self.problem.constants:
            if freedom.aligned and of.size == 1:  # spreads as it is
                return self._constant(alias.root, identity(of.rank))
            root = tuple(None if item is None else alias.order[item] for item in dimensions)
            return self._constant(alias.root, root)
        wanted = compose(alias.order, order)
        held = self._held(alias.root, wanted, loose=freedom.loose or node in self.problem.flattened)
        shape = tuple(1 if item is None else of.shape[item] for item in dimensions)
        if len(shape) == of.rank:
            return held
        if (held, shape) not in self.reshaped:
            made = self._fresh(f"{held}/aligned")
            self._write(kinds.Reshape(shape), held, made, self.values[held].type.of_shape(shape), ())
            self.reshaped[held, shape] = made
        return self.reshaped[held, shape]

    def _held(self, root: str, order: Order, *, loose: bool) -> str:
        """The value that holds a tensor in an order, written now if there is none."""
        versions = self.versions[root]
        if order in versions:
            return versions[order]
        source, stored = self._nearest(root, order)
        shape = self.old.type(root).shape
        if loose and significant(shape, stored) == significant(shape, order):
            return source
        name = self._name(root, order)
        origin = self.origins.get(name, self.origins.get(root, ()))
        self._move(source, stored, order, name, origin)
        versions[order] = name
        return name

    def _nearest(self, root: str, order: Order) -> tuple[str, Order]:
        """A value that holds the tensor, if possible with its elements in this order already."""
        versions, shape = self.versions[root], self.old.type(root).shape
        for stored, name in versions.items():
            if significant(shape, stored) == significant(shape, order):
                return name, stored
        stored, name = next(iter(versions.items()))
        return name, stored

    def _move(self, source: str, stored: Order, wanted: Order, name: str, origin: tuple[str, ...]) -> None:
        """Bring a value from one order into another: a Transpose, or a Reshape where no element moves."""
        of = self.values[source].type
        permutation = between(stored, wanted)
        shape = permuted(of.shape, permutation)
        still = significant(of.shape, permutation) == significant(of.shape, identity(of.rank))
        kind: Kind = kinds.Reshape(shape) if still else kinds.Transpose(permutation)
        self._write(kind, source, name, of.of_shape(shape), origin)

    def _write(self, kind: Kind, source: str, name: str, of: TensorType, origin: tuple[str, ...]) -> None:
        self.values[name] = Value(name, of)
        self.operations.append(Operation(kind, (source,), (name,), origin))
        if source in self.columns:
            self.columns[name] = self.columns[source]

    # --- constants ---

    def _constant(self, root: str, dimensions: tuple[int | None, ...]) -> str:
        """A constant with its dimensions in this order, None standing for one of one element."""
        if (root, dimensions) in self.constants:
            return self.constants[root, dimensions]
        value, maker = self.old.values[root], self.problem.stored.get(root)
        order = tuple(item for item in dimensions if item is not None)
        unchanged = dimensions == identity(value.type.rank)
        name = root if unchanged and root not in self.values else self._constant_name(root, order)
        shape = tuple(1 if item is None else value.type.shape[item] for item in dimensions)
        if maker is not None:
            source = self._constant(maker.inputs[0], dimensions)
            self._write(maker.kind, source, name, value.type.of_shape(shape), maker.origin)
        else:
            assert value.data is not None
            data = np.ascontiguousarray(value.data.transpose(order)).reshape(shape)
            quantization = _moved_axis(value.type.quantization, dimensions)
            self.values[name] = Value(name, replace(value.type.of_shape(shape), quantization=quantization), data)
            if unchanged:
                self.values[name] = replace(value, name=name)
        self.constants[root, dimensions] = name
        return name

    def _constant_name(self, root: str, order: Order) -> str:
        if (root, order) in self.names:
            return self.names.pop((root, order))
        return self._fresh(f"{root}/{order_name(order)}" if order != identity(len(order)) else f"{root}/aligned")

    def _reordered_weights(self, name: str, columns: np.ndarray) -> str:
        """Weights [O, K] for an operand whose elements along K were reordered."""
        alias = self.problem.aliases[name]
        maker = self.problem.stored.get(alias.root)
        stored = self.old.values[maker.inputs[0] if maker is not None else alias.root]
        assert stored.data is not None
        made = self._fresh(f"{stored.name}/columns")
        data = np.ascontiguousarray(stored.data.transpose(alias.order)[:, columns])
        quantization = _moved_axis(stored.type.quantization, alias.order)
        self.values[made] = Value(made, replace(stored.type.of_shape(data.shape), quantization=quantization), data)
        if maker is None:
            return made
        of = self.old.type(alias.root).of_shape(data.shape)
        unfolded = self._fresh(f"{name}/columns")
        self._write(maker.kind, made, unfolded, of, maker.origin)
        return unfolded


def _moved_axis(quantization: Quantization | None, dimensions: tuple[int | None, ...]) -> Quantization | None:
    if quantization is None or quantization.axis is None:
        return quantization
    return replace(quantization, axis=dimensions.index(quantization.axis))
