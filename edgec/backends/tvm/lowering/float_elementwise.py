"""Expressions of float32, and of integers that stand for themselves."""

from __future__ import annotations

from collections.abc import Sequence

from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.float_elementwise import Elementwise
from edgec.backends.tvm.lowering.float_fusion import expression_of, is_pointwise
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, unsupported, write_float
from edgec.backends.tvm.lowering.views import View, in_arena, read, room, written
from edgec.ir import kinds
from edgec.ir.graph import Operation
from edgec.ir.kinds import Kind


@write_float.register(kinds.Unary)
@write_float.register(kinds.Binary)
@write_float.register(kinds.HardSigmoid)
@write_float.register(kinds.LeakyRelu)
@write_float.register(kinds.PRelu)
@write_float.register(kinds.Clip)
@write_float.register(kinds.Cast)
def _(kind: Kind, writer: ProgramWriter, operation: Operation) -> None:
    if not is_pointwise(writer.graph, operation):
        raise unsupported(operation)
    write_expression(writer, [operation])


def write_expression(writer: ProgramWriter, operations: Sequence[Operation]) -> None:
    """Write one step for operations whose last result is their only one that others read."""
    last = operations[-1]
    expression, operands = expression_of(writer.graph, operations)
    shape = writer.type(last.outputs[0]).shape
    views = [spread_view(writer, name, shape) for name in operands]
    y = written_view(writer, last)
    if shape:
        shape = (*shape[:-1], room(shape, *views, y))
    kernel = Elementwise(expression, Box.of(shape, *(view.strides for view in (*views, y))))
    writer.step(kernel, [*(view.place for view in views), y.place], *operations)


def spread_view(writer: ProgramWriter, name: str, shape: Sequence[int]) -> View:
    """A value as a shape that it broadcasts to, its last dimension's elements neighbours."""
    view = read(writer, name).spread(shape)
    if view.strides and view.strides[-1] not in (0, 1):
        return in_arena(writer, name).spread(shape)
    return view


def written_view(writer: ProgramWriter, operation: Operation) -> View:
    """A result that is written in vectors: to the caller where whole vectors of channels are neighbours there."""
    name = operation.outputs[0]
    shape = writer.type(name).shape
    neighbours = writer.caller.strides(name)[3] == 1 if name in writer.graph.outputs else False
    if neighbours and shape and shape[-1] % 4 == 0:
        return written(writer, operation)
    writer.declare(operation)
    return in_arena(writer, name)
