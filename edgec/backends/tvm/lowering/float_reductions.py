"""Reductions of float32, and of integers as they are."""

from __future__ import annotations

import math

from edgec.backends.tvm.kernels.boxes import Box, power_below
from edgec.backends.tvm.kernels.float_lines import reading_lanes
from edgec.backends.tvm.kernels.float_reduction import FloatReduction
from edgec.backends.tvm.lowering.float_elementwise import written_view
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, unsupported, write_float
from edgec.backends.tvm.lowering.views import in_arena, room
from edgec.ir import kinds
from edgec.ir.graph import Operation


@write_float.register
def _(kind: kinds.Reduce, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    of = writer.type(source)
    if of.dtype != "float32" and (kind.function in ("mean", "product") or of.dtype == "float64"):
        raise unsupported(operation)
    if of.size == 0 or of.rank == 0:
        raise unsupported(operation)
    x, y = in_arena(writer, source), written_view(writer, operation)
    last = of.rank - 1
    channels = last in kind.axes
    # The result's stride along each axis that stays.
    left = iter(y.strides)
    to = [next(left) if axis not in kind.axes or kind.keepdims else 0 for axis in range(of.rank)]
    staying = [axis for axis in range(last) if axis not in kind.axes]
    going = [axis for axis in range(last) if axis in kind.axes]
    outer = Box.as_is(
        [of.shape[axis] for axis in staying], [x.strides[axis] for axis in staying], [to[axis] for axis in staying]
    )
    inner = Box.as_is([of.shape[axis] for axis in going], [x.strides[axis] for axis in going])
    size = of.shape[last] if channels else room(of.shape, x, y)
    kernel = FloatReduction(
        kind.function,
        of.dtype,
        outer,
        inner,
        size,
        channels,
        count=math.prod(of.shape[axis] for axis in kind.axes),
        lanes=reading_lanes(writer.isa, size, x.itemsize) if channels else power_below(size, writer.isa.lanes),
    )
    writer.step(kernel, [x.place, y.place], operation, result=name)
