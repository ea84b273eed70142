"""From operations between Dequantize and Quantize to operations on integers.

    x: int8 -> Dequantize -> Conv2D(weights: int8 -> Dequantize, bias: int32 -> Dequantize) relu -> Quantize -> y: int8

becomes Conv2D(x, weights, bias) relu: int8. What is computed changes as little as rounding sums in float32 differs from
exact ones; where elements only move it does not change at all.

Three rules, for operations all of whose real operands are Dequantize's results:

- An operation whose results consist of its operands' elements moves their integers. Dequantize sinks below it, whether
  a Quantize follows or not. Operands on several grids are requantized to that of the Quantize that follows.
- One that computes, and whose result is read by Quantize only, gets the grid of that Quantize.
- ArgReduce reads integers as they are.

Everything else stays in float between Dequantize and Quantize, which `float_between` lists.

A constant bias in float, or on another grid than that of the sums, is rounded to that: by half a step of the sums.

An integer result is called like the float value in whose place it is; where that is needed too, NAME_quantized.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from edgec.ir import kinds
from edgec.ir.accounting import macs_of
from edgec.ir.builder import GraphBuilder, without_dead
from edgec.ir.graph import Graph, Operation, Quantization, TensorType, Value
from edgec.ir.passes.integer_kinds import MOVES_ONE, PRODUCTS, computes, same_grid, stays_on, tied_operands
from edgec.ir.passes.stored_bias import fuse_stored_bias


class IntegerKernels(Protocol):
    """Which operations on quantized tensors a backend has."""

    def objection(
        self, graph: Graph, operation: Operation, inputs: tuple[TensorType, ...], output: TensorType
    ) -> str | None:
        """Why the backend can't compute an operation on integers, in words for the user; None where it can.

        graph: holds the operands, so that constants can be looked at; not the result.
        output: the type of the (first) result. It has a quantization, but for ArgReduce, and where products in integers
            with a float32 result are asked for.
        """
        ...


@dataclass(frozen=True)
class FloatOperation:
    """An operation that computes in float32 in a graph that went through `integer_operations`.

    result: its (first) result. origin: names of the ONNX nodes. macs: multiplications with an addition.
    reason: continues "it computes in float32, because ".
    """

    label: str
    result: str
    origin: tuple[str, ...]
    macs: int
    reason: str


def integer_operations(graph: Graph, kernels: IntegerKernels, *, float_results: bool = False) -> Graph:
    """The graph with operations on integers wherever the backend has them.

    float_results: let products of integers whose result is needed in float32 give that.
    """
    early, wanted = _quantized_early(fuse_stored_bias(graph), kernels)
    return _Rewriting(early, kernels, float_results, wanted=wanted).run()


def float_between(graph: Graph, kernels: IntegerKernels, *, float_results: bool = False) -> list[FloatOperation]:
    """The operations that `integer_operations` leaves in float32 of a graph, in order, and why.

    The graph may have gone through it already, or not.
    """
    early, _ = _quantized_early(fuse_stored_bias(graph), kernels)
    rewriting = _Rewriting(early, kernels, float_results)
    rewriting.run()
    found = []
    for operation in early.operations:
        if (reason := rewriting.reasons.get(operation.outputs[0])) is not None:
            label, macs = operation.kind.label, macs_of(early, operation)
            found.append(FloatOperation(label, operation.outputs[0], operation.origin, macs, reason))
    return found


@dataclass
class _Rewriting:
    """The new graph in the writing.

    twins: for a float value of the old graph, the integers of the new one that stand for exactly that.
    integers: for an integer value of the old graph, its name in the new one.
    wanted: the names that integers of the new graph are to have, where those stay free.
    reasons: why operations stay in float, by their first result.
    """

    graph: Graph
    kernels: IntegerKernels
    float_results: bool
    twins: dict[str, str] = field(default_factory=dict)
    integers: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def run(self) -> Graph:
        self.builder = GraphBuilder.over(self.graph, results=False)
        self.readers = self.graph.consumers()
        self.writers = self.graph.producers()
        for operation in self.graph.operations:
            self._operation(operation)
        for name in self.graph.outputs:
            self._output(name)
        made = self.builder.finish(self.graph.outputs)
        fixed = {*made.inputs, *made.outputs}
        return renamed(made, {old: new for old, new in self.wanted.items() if old not in fixed})

    def _operation(self, operation: Operation) -> None:
        if isinstance(operation.kind, kinds.Dequantize):
            self.twins[operation.outputs[0]] = self._here(operation.inputs[0])
        elif isinstance(operation.kind, kinds.Quantize):
            self._quantize(operation)
        elif (reason := self._refused(operation)) is not None:
            self._in_float(operation, reason)

    def _refused(self, operation: Operation) -> str | None:
        """Write an operation on integers; the reason where that can't be."""
        real = [i for i, name in enumerate(operation.inputs) if self.graph.type(name).dtype == "float32"]
        if not real:
            return ""  # on integers already, or on none that stand for anything else
        missing = [operation.inputs[i] for i in real if operation.inputs[i] not in self.twins]
        if isinstance(operation.kind, PRODUCTS):
            missing = [name for name in missing if name not in operation.inputs[2:] or not self._is_constant(name)]
        if missing:
            return f"{missing[0]!r} is float32"
        if isinstance(operation.kind, kinds.ArgReduce):
            return self._positions(operation)
        targets = self._targets(operation)
        tied = tied_operands(operation)
        if tied and set(tied) == set(real):
            one = self._one_grid(operation, tied)
            computed = isinstance(operation.kind, kinds.Unary) and bool(targets)  # relu, rounded to its own grid
            if one is not None and not computed:
                return self._tied(operation, [self._operand(name) for name in operation.inputs], one)
            if targets and not computed:
                return self._requantized_first(operation, tied, targets)
        if not computes(operation.kind):
            return f"there is no {operation.kind.label} of integers"
        if targets:
            return self._computed(operation, targets)
        if self.float_results and isinstance(operation.kind, PRODUCTS):
            return self._write(operation, self.graph.type(operation.outputs[0]), operation.outputs[0])
        return f"its result {operation.outputs[0]!r} is needed in float32"

    # --- rules ---

    def _quantize(self, operation: Operation) -> None:
        """Integers that are there already, or a Quantize: of integers, where there are any."""
        source, target = operation.inputs[0], operation.outputs[0]
        if target in self.integers:  # written by the operation whose result it reads
            return
        of = self.graph.type(target)
        reads = self._operand(source)
        if same_grid(self.builder.type(reads), of):
            self.integers[target] = reads
            return
        if source in self.twins and self._objection(operation, [reads], of) is not None:
            reads = self._float(source)
        self.integers[target] = self._add(operation, [reads], target, of)

    def _positions(self, operation: Operation) -> str | None:
        operands = [self._operand(name) for name in operation.inputs]
        of = self.graph.type(operation.outputs[0])
        objection = self._objection(operation, operands, of)
        if objection is None:
            self.builder.add(operation.kind, operands, operation.outputs, types=[of], origin=operation.origin)
        return objection

    def _tied(self, operation: Operation, operands: list[str], grid: TensorType) -> str | None:
        """Move integers; every float result gets a twin."""
        types = [_on(grid, of) if of.dtype == "float32" else of for of in self.graph.types_of(operation.outputs)]
        objection = self._objection(operation, operands, types[0])
        if objection is not None:
            return objection
        names = [
            self._fresh(f"{name}_quantized") if self.graph.type(name).dtype == "float32" else name
            for name in operation.outputs
        ]
        self.builder.add(operation.kind, operands, names, types=types, origin=operation.origin)
        for name, integers in zip(operation.outputs, names, strict=True):
            if integers != name:
                self.twins[name] = integers
                self.wanted[integers] = name
        return None

    def _requantized_first(
        self, operation: Operation, tied: tuple[int, ...], targets: dict[str, TensorType]
    ) -> str | None:
        """Bring the operands to the grid of the first Quantize that follows. Others follow from its integers: that is
        exact for one grid only."""
        grid = next(iter(targets.values()))
        if not all(same_grid(grid, of) for of in targets.values()):
            return f"its result {operation.outputs[0]!r} is quantized to several scales"
        operands = []
        for position, name in enumerate(operation.inputs):
            here = self._operand(name)
            if position in tied and not same_grid(self.builder.type(here), grid):
                of = _on(grid, self.builder.type(here))
                step = Operation(kinds.Quantize(), (here,), (f"{here}/for/{operation.outputs[0]}",), operation.origin)
                if (objection := self._objection(step, [here], of)) is not None:
                    return objection
                here = self._add(step, [here], step.outputs[0], of)
            operands.append(here)
        if (objection := self._tied(operation, operands, grid)) is not None:
            return objection
        made = self.twins.pop(operation.outputs[0])
        self.integers.update(dict.fromkeys(targets, made))
        return None

    def _computed(self, operation: Operation, targets: dict[str, TensorType]) -> str | None:
        """Compute on the grid of every Quantize that follows: hardly ever more than one."""
        written: list[str] = []
        for target, of in targets.items():
            same = next((name for name in written if same_grid(self.graph.type(name), of)), None)
            if same is not None:
                self.integers[target] = self.integers[same]
            elif (objection := self._write(operation, of, target)) is not None:
                return objection
            else:
                written.append(target)
        return None

    def _write(self, operation: Operation, of: TensorType, target: str) -> str | None:
        """Compute on integers, with a result of the type `of` called `target`."""
        operands = [self._operand(name) for name in operation.inputs]
        if isinstance(operation.kind, PRODUCTS):
            if (reason := self._product(operation, operands)) is not None:
                return reason
        elif any(not _per_tensor(self.builder.type(name)) for name in operands):
            return "an operand has a scale for each channel"
        objection = self._objection(operation, operands, of)
        if objection is not None:
            return objection
        made = self._add(operation, operands, target, of)
        if of.quantization is not None:
            self.integers[target] = made
            self.wanted[made] = operation.outputs[0]
        return None

    def _product(self, operation: Operation, operands: list[str]) -> str | None:
        """Check the scales of weights, and bring the bias to the grid of the sums."""
        x, weights = (self.builder.type(name) for name in operands[:2])
        if not _per_tensor(x):
            return f"{operation.inputs[0]!r} has a scale for each channel"
        assert x.quantization is not None and weights.quantization is not None
        axis = 0
        if isinstance(operation.kind, kinds.BatchMatMul):
            axis = weights.rank - (2 if operation.kind.transpose_b else 1)
        if weights.quantization.axis not in (None, axis):
            return "the scales of its weights are not those of output channels"
        if len(operands) > 2:
            stored = self.builder.graph.values[operands[2]]
            if stored.data is None:
                return f"its bias {operation.inputs[2]!r} is no constant"
            bias = self._bias(stored, x.quantization, weights.quantization)
            if bias is None:
                return f"its bias {operation.inputs[2]!r} does not fit into 32 bits"
            operands[2] = bias
        return None

    def _bias(self, stored: Value, x: Quantization, weights: Quantization) -> str | None:
        """A constant bias in steps of the sums: the integers that are there, where they are on that grid. None where
        it does not fit."""
        assert stored.data is not None
        channels = stored.type.shape[0]
        steps = np.float32(x.scale[0]) * np.array(weights.scale, np.float32)
        wanted = Quantization(
            tuple(float(item) for item in steps), (0,) * len(steps), None if weights.axis is None else 0
        )
        if stored.type.quantization is not None:
            own, zero_point = (
                np.broadcast_to(np.array(items, np.float64), (channels,))
                for items in (stored.type.quantization.scale, stored.type.quantization.zero_point)
            )
            if stored.type.dtype == "int32" and not zero_point.any() and np.allclose(own, steps, rtol=1e-5, atol=0):
                if stored.type.quantization == wanted:
                    return stored.name
                return self.builder.constant(stored.name, stored.data, wanted)
            numbers = (stored.data.astype(np.float64) - zero_point) * own
        else:
            numbers = stored.data.astype(np.float64)
        integers = np.rint(numbers / steps.astype(np.float64))
        if np.abs(integers).max(initial=0) >= 2**31:
            return None
        return self.builder.constant(self._fresh(f"{stored.name}_quantized"), integers.astype(np.int32), wanted)

    # --- values ---

    def _targets(self, operation: Operation) -> dict[str, TensorType]:
        """The results of all Quantize that read the one result; empty where anything else reads it."""
        name = operation.outputs[0]
        readers = self.readers[name]
        if len(operation.outputs) > 1 or name in self.graph.outputs or not readers:
            return {}
        if not all(isinstance(reader.kind, kinds.Quantize) for reader in readers):
            return {}
        return {reader.outputs[0]: self.graph.type(reader.outputs[0]) for reader in readers}

    def _one_grid(self, operation: Operation, tied: tuple[int, ...]) -> TensorType | None:
        """The grid that all tied operands are on, and that the operation does not leave."""
        types = [self.builder.type(self._operand(operation.inputs[i])) for i in tied]
        one = types[0]
        agreed = all(_per_tensor(of) and same_grid(of, one) for of in types)
        return one if agreed and stays_on(operation.kind, one) else None

    def _operand(self, name: str) -> str:
        """What an operation on integers reads in place of a value."""
        return self.twins[name] if name in self.twins else self._here(name)

    def _here(self, name: str) -> str:
        return self.integers.get(name, name)

    def _is_constant(self, name: str) -> bool:
        return self.graph.constant(name) is not None

    def _float(self, name: str) -> str:
        """A value in float, made of its integers where nobody needed it yet."""
        if name in self.builder.graph.values:
            return name
        writer = self.writers[name]
        origin = writer.origin if isinstance(writer.kind, kinds.Dequantize) else ()
        of = self.graph.type(name)
        return self.builder.add(kinds.Dequantize(), [self.twins[name]], name, types=[of], origin=origin)

    def _in_float(self, operation: Operation, reason: str) -> None:
        if reason:
            self.reasons[operation.outputs[0]] = reason
        reads = [self._float(name) if name in self.twins else self._here(name) for name in operation.inputs]
        types = list(self.graph.types_of(operation.outputs))
        self.builder.add(operation.kind, reads, operation.outputs, types=types, origin=operation.origin)

    def _output(self, name: str) -> None:
        if name in self.twins:
            self._float(name)
        elif name not in self.builder.graph.values:  # integers that are there under another name
            of = self.graph.type(name)
            self.builder.add(kinds.Reshape(of.shape), [self.integers[name]], name, types=[of])

    def _objection(self, operation: Operation, operands: list[str], output: TensorType) -> str | None:
        candidate = replace(operation, inputs=tuple(operands))
        inputs = tuple(self.builder.type(name) for name in operands)
        return self.kernels.objection(self.builder.graph, candidate, inputs, output)

    def _add(self, operation: Operation, operands: list[str], name: str, of: TensorType) -> str:
        target = name if name not in self.builder.graph.values else self._fresh(name)
        return self.builder.add(operation.kind, operands, target, types=[of], origin=operation.origin)

    def _fresh(self, name: str) -> str:
        """A name that neither graph has."""
        wanted, count = name, 0
        while wanted in self.graph.values or wanted in self.builder.graph.values:
            count += 1
            wanted = f"{name}.{count}"
        return wanted


def _on(grid: TensorType, of: TensorType) -> TensorType:
    """A type's shape on a grid."""
    return TensorType(of.shape, grid.dtype, grid.quantization)


def _per_tensor(of: TensorType) -> bool:
    return of.quantization is None or of.quantization.axis is None


def _quantized_early(graph: Graph, kernels: IntegerKernels) -> tuple[Graph, dict[str, str]]:
    """The same graph with every Quantize above what only moves elements, as far up as that goes; and by the integers
    that movement now gives, the float values in whose place they are.

    x -> Transpose -> Quantize becomes x -> Quantize -> Transpose where nobody else reads either: the same integers.
    """
    values = dict(graph.values)
    operations = list(graph.operations)
    readers = graph.consumers()
    alias: dict[str, str] = {}
    places: dict[str, str] = {}
    position = len(operations) - 1
    while position >= 0:
        operation = operations[position]
        hoisted = _hoisted(graph, operation, readers, values, kernels)
        if hoisted is not None:
            quantize, move, gone = hoisted
            operations[position : position + 1] = [quantize, move]
            operations = [item for item in operations if not any(item is other for other in gone)]
            alias.update({item.outputs[0]: move.outputs[0] for item in gone if item.outputs != move.outputs})
            places[move.outputs[0]] = operation.outputs[0]
            readers[quantize.inputs[0]] = [quantize]
            readers[quantize.outputs[0]] = [move]
        position -= 1
    operations = [replace(item, inputs=tuple(alias.get(name, name) for name in item.inputs)) for item in operations]
    early = Graph(graph.name, graph.inputs, graph.outputs, operations, values, graph.layouts)
    return without_dead(early), places


def _hoisted(
    graph: Graph,
    move: Operation,
    readers: Mapping[str, list[Operation]],
    values: dict[str, Value],
    kernels: IntegerKernels,
) -> tuple[Operation, Operation, list[Operation]] | None:
    """A Quantize, the movement of its integers, and the Quantize that both stand for."""
    if not isinstance(move.kind, MOVES_ONE):
        return None
    source, result = move.inputs[0], move.outputs[0]
    behind = readers[result]
    private = len(readers[source]) == 1 and source not in graph.outputs and result not in graph.outputs
    if not private or not behind or not all(isinstance(item.kind, kinds.Quantize) for item in behind):
        return None
    if values[source].type.dtype != "float32" or any(item.outputs[0] in graph.outputs for item in behind[1:]):
        return None
    grid = values[behind[0].outputs[0]].type
    if not all(same_grid(values[item.outputs[0]].type, grid) for item in behind):
        return None
    name, count = f"{source}_quantized", 0
    while name in values:
        count += 1
        name = f"{source}_quantized.{count}"
    early = Value(name, _on(grid, values[source].type))
    moved = replace(move, inputs=(name,), outputs=behind[0].outputs)
    scratch = Graph(graph.name, graph.inputs, graph.outputs, [], {**values, name: early})
    if kernels.objection(scratch, moved, (early.type,), grid) is not None:
        return None
    values[name] = early
    return replace(behind[0], inputs=(source,), outputs=(name,)), moved, behind


def renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with other names for some values. A name that a value has keeps that value."""
    new: dict[str, str] = {}
    for old, wanted in names.items():
        if old in graph.values and wanted not in graph.values and wanted not in new.values():
            new[old] = wanted

    def of(name: str) -> str:
        return new.get(name, name)

    operations = [
        replace(item, inputs=tuple(map(of, item.inputs)), outputs=tuple(map(of, item.outputs)))
        for item in graph.operations
    ]
    values = {of(name): replace(value, name=of(name)) for name, value in graph.values.items()}
    return Graph(
        graph.name,
        tuple(map(of, graph.inputs)),
        tuple(map(of, graph.outputs)),
        operations,
        values,
        {of(name): layout for name, layout in graph.layouts.items()},
    )
