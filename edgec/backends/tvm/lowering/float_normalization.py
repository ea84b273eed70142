"""Softmax, its logarithm and LayerNorm, of float32."""

from __future__ import annotations

from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.float_normalization import FloatLayerNorm, FloatSoftmax
from edgec.backends.tvm.lowering.float_elementwise import written_view
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, unsupported, write_float
from edgec.backends.tvm.lowering.views import in_arena, room
from edgec.ir import kinds
from edgec.ir.graph import Operation


@write_float.register(kinds.Softmax)
@write_float.register(kinds.LogSoftmax)
def _(kind: kinds.Softmax | kinds.LogSoftmax, writer: ProgramWriter, operation: Operation) -> None:
    of = writer.type(operation.inputs[0])
    if of.dtype != "float32" or of.size == 0 or of.rank == 0:
        raise unsupported(operation)
    x, y = in_arena(writer, operation.inputs[0]), written_view(writer, operation)
    lines = Box.as_is(of.shape[:-1], x.strides[:-1], y.strides[:-1])
    kernel = FloatSoftmax(lines, of.shape[-1], room(of.shape, x, y), isinstance(kind, kinds.LogSoftmax))
    writer.step(kernel, [x.place, y.place], operation)


@write_float.register
def _(kind: kinds.LayerNorm, writer: ProgramWriter, operation: Operation) -> None:
    of = writer.type(operation.inputs[0])
    if of.dtype != "float32" or of.size == 0 or not 0 < kind.dimensions <= of.rank:
        raise unsupported(operation)
    x, y = in_arena(writer, operation.inputs[0]), written_view(writer, operation)
    others = [in_arena(writer, name) for name in operation.inputs[1:]]
    # Both lie alike: they have one shape.
    if any(view.strides != others[0].strides for view in others):
        raise unsupported(operation)
    first = of.rank - kind.dimensions
    groups = Box.as_is(of.shape[:first], x.strides[:first], y.strides[:first])
    lines = Box.as_is(of.shape[first:-1], x.strides[first:-1], y.strides[first:-1], others[0].strides[:-1])
    kernel = FloatLayerNorm(groups, lines, of.shape[-1], room(of.shape, x, y), kind.epsilon, len(others) > 1)
    writer.step(kernel, [x.place, *(view.place for view in others), y.place], operation)
