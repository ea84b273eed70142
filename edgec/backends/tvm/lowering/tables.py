"""Functions of one 8-bit integer: tables that the reference executor fills, exact by construction.

One table does for all that is computed of one value alone, through however many operations: x * sigmoid(x) is a
function of x. Integers in between are rounded as ever; they are just never stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.constants import is_stored_by_grid
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.kernels.tables import Limit, Table
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.backends.tvm.lowering.views import copy, here, made, shared_box
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation
from edgec.ir.kinds import Kind
from edgec.ir.passes.integer_kinds import same_grid
from edgec.ir.reference.dispatch import Tensor, compute
from edgec.ir.reference.grid import limits

_ELEMENTWISE = (
    kinds.Unary, kinds.HardSigmoid, kinds.LeakyRelu, kinds.Clip, kinds.Quantize, kinds.Binary, kinds.PRelu,
)  # fmt: skip


@dataclass(frozen=True)
class Function:
    """What operations make of one value, position by position. The last one's result is that of the function.

    of: the value. operations: in order; their other operands are constants of one element.
    """

    of: str
    operations: tuple[Operation, ...]

    @property
    def result(self) -> str:
        return self.operations[-1].outputs[0]


def functions(graph: Graph) -> dict[str, Function]:
    """All results that are functions of one integer, and of which."""
    found: dict[str, Function] = {}
    for operation in graph.operations:
        if (function := _function(graph, operation, found)) is not None:
            found[operation.outputs[0]] = function
    return found


def unstored(graph: Graph, found: dict[str, Function]) -> set[str]:
    """Results that nobody reads but operations whose results are functions of what they were computed of."""
    readers = graph.consumers()
    return {
        name
        for name in found
        if name not in graph.outputs
        and readers[name]
        and all(reader.outputs[0] in found and found[reader.outputs[0]].of != name for reader in readers[name])
    }


def function_of(graph: Graph, operation: Operation) -> Function | None:
    """An operation as a function of one of its operands; None where it is none."""
    return _function(graph, operation, {})


def _function(graph: Graph, operation: Operation, found: dict[str, Function]) -> Function | None:
    if not isinstance(operation.kind, _ELEMENTWISE):
        return None
    result = graph.type(operation.outputs[0])
    varying = list(dict.fromkeys(name for name in operation.inputs if not is_one_constant(graph, name)))
    types = [result, *(graph.type(name) for name in operation.inputs)]
    if not varying or not all(is_stored_by_grid(of) and _one_scale(of.quantization) for of in types):
        return None
    if any(graph.type(name).shape != result.shape for name in varying):
        return None
    inner = [found.get(name, Function(name, ())) for name in varying]
    if len({item.of for item in inner}) > 1:
        return None
    steps = {step.outputs[0]: step for item in inner for step in item.operations}
    return Function(inner[0].of, (*_ordered(steps), operation))


def _ordered(steps: dict[str, Operation]) -> list[Operation]:
    """Operations in an order in which each comes behind those whose results it reads."""
    order: dict[str, Operation] = {}

    def add(name: str) -> None:
        if name in steps and name not in order:
            for operand in steps[name].inputs:
                add(operand)
            order[name] = steps[name]

    for name in steps:
        add(name)
    return list(order.values())


def _one_scale(quantization: object) -> bool:
    return getattr(quantization, "axis", None) is None


def is_one_constant(graph: Graph, name: str) -> bool:
    """Whether a value is a constant of one element."""
    data = graph.constant(name)
    return data is not None and data.size == 1


@write_integer.register(kinds.Unary)
@write_integer.register(kinds.HardSigmoid)
@write_integer.register(kinds.LeakyRelu)
@write_integer.register(kinds.Clip)
def _(kind: Kind, writer: ProgramWriter, operation: Operation) -> None:
    function = function_of(writer.graph, operation)
    assert function is not None, operation
    write_function(writer, function)


def write_function(writer: ProgramWriter, function: Function) -> None:
    """A table; limits, where integers stay as they are within them; nothing at all, where they do everywhere."""
    of, result = writer.type(function.of), writer.type(function.result)
    entries = _entries(writer.graph, function)
    if same_grid(of, result):
        low, high = int(entries.min()), int(entries.max())
        if np.array_equal(entries, np.clip(all_integers(of.dtype), low, high)):
            _write_limit(writer, function, low, high)
            return
    source, target = here(writer, function.of), made(writer, function.operations[-1])
    stored = writer.as_stored(function.of, all_integers(of.dtype))
    table = np.zeros(256, writer.isa.stored)
    table[stored.view(np.uint8)] = writer.as_stored(function.result, entries)
    operands = [source.place, writer.block(table.tobytes()), target.place]
    writer.step(Table(shared_box(target, source)), operands, *function.operations)


def _write_limit(writer: ProgramWriter, function: Function, low: int, high: int) -> None:
    of, last = writer.stored(function.of), function.operations[-1]
    everything = (low, high) == limits(of.type.dtype)
    if everything and function.of == last.inputs[0] and not writer.is_padded(function.result):
        writer.alias(last)
        return
    source, target = here(writer, function.of), made(writer, last)
    if everything:
        copy(writer, source, target, last)
        return
    words = writer.words({Word.LOW: low + of.shift, Word.HIGH: high + of.shift})
    operands = [source.place, words, target.place]
    writer.step(Limit(shared_box(target, source)), operands, *function.operations)


def all_integers(dtype: str) -> np.ndarray:
    low, high = limits(dtype)
    return np.arange(low, high + 1).astype(dtype)


def _entries(graph: Graph, function: Function) -> np.ndarray:
    """The result for each integer, the lowest first: [256]."""
    values = {function.of: all_integers(graph.type(function.of).dtype)}
    for operation in function.operations:
        operands = []
        for name in operation.inputs:
            data = values.get(name)
            if data is None:
                constant = graph.constant(name)
                assert constant is not None, name
                data = constant.reshape(1)
            operands.append(Tensor(data, graph.type(name).of_shape(data.shape)))
        name = operation.outputs[0]
        (values[name],) = compute(operation.kind, operands, [graph.type(name).of_shape((256,))])
    return values[function.result]
