"""Pooling."""

from __future__ import annotations

from edgec.backends.tvm.constants import SAFE_STEPS, result_words
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.kernels.pooling import GlobalMean, MaxPool
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.ir import kinds
from edgec.ir.graph import Operation


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
def _(kind: kinds.Reduce, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    x, y = writer.storage(source), writer.declare(operation)
    of, to = writer.stored(source), writer.stored(name)
    factor = of.scale / to.scale
    images, rows, columns, _ = x.shape
    far = 255 * float(factor) >= SAFE_STEPS
    kernel = GlobalMean(images, rows, columns, x.steps, y.steps.image, x.pixel, far)
    words = result_words(to) | {Word.A_ZERO_POINT: of.zero_point, Word.FACTOR: factor}
    writer.step(kernel, [writer.corner(source), writer.words(words), writer.corner(name)], operation)
