"""Products of two matrices of float32."""

from __future__ import annotations

import numpy as np

from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.float_dense import tile_of
from edgec.backends.tvm.kernels.float_matmul import FloatMatMul
from edgec.backends.tvm.lowering.float_elementwise import written_view
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, unsupported, write_float
from edgec.backends.tvm.lowering.views import View, copy, in_arena, packed_strides, scratch
from edgec.backends.tvm.storage import SLACK, vector_pixel
from edgec.ir import kinds
from edgec.ir.graph import Operation


@write_float.register
def _(kind: kinds.BatchMatMul, writer: ProgramWriter, operation: Operation) -> None:
    types = [writer.type(name) for name in (*operation.inputs, *operation.outputs)]
    if any(item.dtype != "float32" or item.rank < 2 or item.size == 0 for item in types):
        raise unsupported(operation)
    shape = types[-1].shape
    b = _rows_of_b(kind, writer, operation)  # what it copies comes before the product
    a = in_arena(writer, operation.inputs[0])
    y = written_view(writer, operation)
    leading = shape[:-2]
    of_a, of_b = a.spread((*leading, *a.shape[-2:])), b.spread((*leading, *b.shape[-2:]))
    batch = Box.as_is(leading, *(view.strides[:-2] for view in (of_a, of_b, y)))
    along_m, along_k = reversed(of_a.strides[-2:]) if kind.transpose_a else of_a.strides[-2:]
    columns, width = tile_of(
        writer.isa, min(vector_pixel(shape[-1], "float32"), max(y.pixel, shape[-1])), shape[-2], shape[-2]
    )
    kernel = FloatMatMul(
        batch,
        shape[-2],
        b.shape[-2],
        (along_m, along_k),
        of_b.strides[-2],
        y.strides[-2],
        columns,
        width,
    )
    writer.step(kernel, [a.place, b.place, y.place], operation)


def _rows_of_b(kind: kinds.BatchMatMul, writer: ProgramWriter, operation: Operation) -> View:
    """b [..., K, N] with neighbours along N, rows padded to whole pixels: a copy where it is stored the other way."""
    name = operation.inputs[1]
    if not kind.transpose_b:
        return in_arena(writer, name)
    *leading, n, k = writer.type(name).shape
    room = (*leading, k, vector_pixel(n, "float32"))
    data = writer.graph.constant(name)
    if data is not None:
        laid = np.zeros(room, np.float32)
        laid[..., :n] = data.swapaxes(-1, -2)
        place = writer.block(laid.tobytes() + bytes(SLACK))
        return View(place, "float32", (*leading, k, n), packed_strides(room), room[-1])
    whole = scratch(writer, name, room, "float32")
    target = View(whole.place, "float32", (*leading, k, n), whole.strides, room[-1])
    source = in_arena(writer, name)
    turned = source.of((*leading, k, n), (*source.strides[:-2], source.strides[-1], source.strides[-2]))
    copy(writer, turned, target, operation)
    return target
