"""Positions of limits, and running sums, of float32 and of integers as they are."""

from __future__ import annotations

from edgec.backends.tvm.kernels.boxes import Box, power_below
from edgec.backends.tvm.kernels.float_scans import Along, FloatArgReduction, FloatCumSum
from edgec.backends.tvm.lowering.float_elementwise import written_view
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, unsupported, write_float
from edgec.backends.tvm.lowering.views import View, in_arena, room
from edgec.ir import kinds
from edgec.ir.graph import Operation

_DTYPES = frozenset({"float32", "int8", "uint8", "int16", "uint16", "int32", "int64"})


@write_float.register
def _(kind: kinds.ArgReduce, writer: ProgramWriter, operation: Operation) -> None:
    _check(writer, operation)
    x, y = in_arena(writer, operation.inputs[0]), written_view(writer, operation)
    strides = (*y.strides[: kind.axis], 0, *y.strides[kind.axis :])
    along = _along(writer, kind.axis, x, y, strides)
    writer.step(FloatArgReduction(along, kind.function, kind.dtype), [x.place, y.place], operation)


@write_float.register
def _(kind: kinds.CumSum, writer: ProgramWriter, operation: Operation) -> None:
    _check(writer, operation)
    x, y = in_arena(writer, operation.inputs[0]), written_view(writer, operation)
    along = _along(writer, kind.axis, x, y, y.strides)
    writer.step(FloatCumSum(along, kind.exclusive, kind.reverse), [x.place, y.place], operation)


def _along(writer: ProgramWriter, axis: int, x: View, y: View, to: tuple[int, ...]) -> Along:
    """to: strides of y along the dimensions of x."""
    last = len(x.shape) - 1
    others = [other for other in range(last) if other != axis]
    outer = Box.as_is(
        [x.shape[other] for other in others], [x.strides[other] for other in others], [to[other] for other in others]
    )
    size = 1 if axis == last else room(x.shape, x, y)
    return Along(outer, x.shape[axis], x.strides[axis], to[axis], size, power_below(size, writer.isa.lanes), x.dtype)


def _check(writer: ProgramWriter, operation: Operation) -> None:
    """Raises UnsupportedOp for other dtypes, and for nothing."""
    of = writer.type(operation.inputs[0])
    if of.dtype not in _DTYPES or of.size == 0 or of.rank == 0:
        raise unsupported(operation)
