"""Pooling and resizing of float32."""

from __future__ import annotations

import numpy as np

from edgec.backends.tvm.kernels.float_windows import Axis, FloatBilinear, FloatPool
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, unsupported, write_float
from edgec.ir import kinds
from edgec.ir.graph import Operation
from edgec.ir.reference.windows import between


@write_float.register(kinds.MaxPool2D)
@write_float.register(kinds.AveragePool2D)
def _(kind: kinds.MaxPool2D | kinds.AveragePool2D, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    _check(writer, operation)
    x, y = writer.storage(source), writer.declare(operation)
    largest = isinstance(kind, kinds.MaxPool2D)
    dilation = kind.dilation if isinstance(kind, kinds.MaxPool2D) else (1, 1)
    padding = (kind.padding.top, kind.padding.left)
    rows, columns = (
        Axis(
            y.shape[1 + axis],
            x.shape[1 + axis],
            kind.kernel[axis],
            kind.stride[axis],
            dilation[axis],
            padding[axis],
        )
        for axis in (0, 1)
    )
    kernel = FloatPool("max" if largest else "mean", y.shape[0], rows, columns, x.steps, y.steps, y.pixel)
    writer.step(kernel, [writer.corner(source), writer.corner(name)], operation)


@write_float.register
def _(kind: kinds.ResizeBilinear, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    _check(writer, operation)
    x, y = writer.storage(source), writer.declare(operation)
    table = []
    for axis, step in enumerate((x.steps.row, x.steps.column)):
        first, second, share = between(x.shape[1 + axis], kind.size[axis], kind)
        table.append(
            np.stack([(first * step).astype(np.int32), (second * step).astype(np.int32), share.view(np.int32)], 1)
        )
    kernel = FloatBilinear(*y.shape[:3], x_image=x.steps.image, y=y.steps, pixel=y.pixel)
    block = writer.block(np.concatenate(table).tobytes())
    writer.step(kernel, [writer.corner(source), block, writer.corner(name)], operation)


def _check(writer: ProgramWriter, operation: Operation) -> None:
    """Raises UnsupportedOp for anything but float32."""
    if writer.type(operation.inputs[0]).dtype != "float32":
        raise unsupported(operation)
