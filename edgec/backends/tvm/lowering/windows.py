"""Pooling and resizing."""

from __future__ import annotations

from edgec.backends.tvm.constants import header, may_be_far
from edgec.backends.tvm.kernels import resizing
from edgec.backends.tvm.kernels.pooling import AveragePool, MaxPool
from edgec.backends.tvm.lowering.numbers import rescaling
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.ir import kinds
from edgec.ir.graph import Operation
from edgec.ir.reference.windows import between


@write_integer.register
def _(kind: kinds.MaxPool2D, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    x, y = writer.storage(source), writer.declare(operation)
    images, rows, columns, _ = y.shape
    kernel = MaxPool(
        images,
        rows,
        columns,
        height=x.shape[1],
        width=x.shape[2],
        x=x.steps,
        y=y.steps,
        kernel=kind.kernel,
        stride=kind.stride,
        dilation=kind.dilation,
        top=kind.padding.top,
        left=kind.padding.left,
        pixel=y.pixel,
    )
    writer.step(kernel, [writer.corner(source), writer.corner(name)], operation)


@write_integer.register
def _(kind: kinds.AveragePool2D, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    x, y = writer.storage(source), writer.declare(operation)
    images, rows, columns, _ = y.shape
    words, factor = rescaling(writer, source, name)
    kernel = AveragePool(
        images,
        rows,
        columns,
        height=x.shape[1],
        width=x.shape[2],
        x=x.steps,
        y=y.steps,
        kernel=kind.kernel,
        stride=kind.stride,
        top=kind.padding.top,
        left=kind.padding.left,
        pixel=y.pixel,
        far=may_be_far(factor),
    )
    writer.step(kernel, [writer.corner(source), writer.words(words), writer.corner(name)], operation)


@write_integer.register
def _(kind: kinds.ResizeBilinear, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    x, y = writer.storage(source), writer.declare(operation)
    images, rows, columns, _ = y.shape
    words, factor = rescaling(writer, source, name)
    kernel = resizing.Bilinear(images, rows, columns, x.steps.image, y.steps, y.pixel, may_be_far(factor))
    tables = resizing.tables(between(x.shape[1], rows, kind), between(x.shape[2], columns, kind), x.steps)
    block = writer.block(header(words).tobytes() + tables)
    writer.step(kernel, [writer.corner(source), block, writer.corner(name)], operation)
