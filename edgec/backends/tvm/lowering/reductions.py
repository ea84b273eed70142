"""What takes many elements along axes and gives fewer, and softmax."""

from __future__ import annotations

from dataclasses import replace

from edgec.backends.tvm.constants import SAFE_STEPS, header, result_words
from edgec.backends.tvm.kernels import reductions, softmax
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.backends.tvm.storage import Storage, element_strides
from edgec.ir import kinds
from edgec.ir.graph import Operation
from edgec.ir.reference.grid import ratio
from edgec.ir.reference.normalization import exponentials


@write_integer.register
def _(kind: kinds.Reduce, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    x, y = writer.storage(source), writer.declare(operation)
    shape = writer.type(source).shape
    kept_axes = [axis for axis in range(len(shape)) if kind.keepdims or axis not in kind.axes]
    from_x, from_y = strides(shape, x), dict(zip(kept_axes, strides(writer.type(name).shape, y), strict=True))
    last = len(shape) - 1
    factor = ratio(writer.type(source), writer.type(name))
    assert kind.function in ("mean", "sum", "max", "min")
    kernel = reductions.Reduce(
        kind.function,
        tuple((shape[axis], from_x[axis], from_y[axis]) for axis in range(last) if axis not in kind.axes),
        tuple((shape[axis], from_x[axis]) for axis in range(last) if axis in kind.axes),
        shape[last],
        None if last in kind.axes else y.pixel,
    )
    most = 255 * float(factor) * (kernel.count if kind.function == "sum" else 1)
    kernel = replace(kernel, far=most >= SAFE_STEPS)
    words = result_words(writer.stored(name))
    words |= {Word.A_ZERO_POINT: writer.stored(source).zero_point, Word.FACTOR: factor}
    writer.step(kernel, [writer.corner(source), writer.words(words), writer.corner(name)], operation)


@write_integer.register
def _(kind: kinds.Softmax, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    x, y = writer.storage(source), writer.declare(operation)
    images, rows, columns, channels = y.shape
    result = writer.stored(name)
    far = 1 / float(result.scale) >= SAFE_STEPS
    kernel = softmax.Softmax(images, rows, columns, x.steps, y.steps, channels, y.pixel, far)
    words = header(result_words(result) | {Word.SCALE: result.scale})
    block = writer.block(softmax.block(words, exponentials(writer.type(source))))
    writer.step(kernel, [writer.corner(source), block, writer.corner(name)], operation)


def strides(shape: tuple[int, ...], storage: Storage) -> tuple[int, ...]:
    """Elements from one index to the next along every dimension of a value, where it lies."""
    steps = storage.steps
    return element_strides(shape, (steps.image, steps.row, steps.column, 1))
