"""What takes many elements along axes: reductions, positions, running sums, softmax."""

from __future__ import annotations

from dataclasses import replace

from edgec.backends.tvm.constants import SAFE_STEPS, header, result_words
from edgec.backends.tvm.kernels import positions, reductions, running, softmax
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


@write_integer.register
def _(kind: kinds.ArgReduce, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    x, y = writer.storage(source), writer.declare(operation)
    shape = writer.type(source).shape
    last, from_x = len(shape) - 1, strides(shape, x)
    left = [axis for axis in range(len(shape)) if axis != kind.axis]
    from_y = dict(zip(left, strides(writer.type(name).shape, y), strict=True))
    kernel = positions.ArgReduce(
        kind.function,
        kind.dtype,
        tuple((shape[axis], from_x[axis], from_y[axis]) for axis in left if axis != last),
        shape[kind.axis],
        0 if kind.axis == last else from_x[kind.axis],
        shape[last],
    )
    writer.step(kernel, [writer.corner(source), writer.corner(name)], operation)


@write_integer.register
def _(kind: kinds.TopK, writer: ProgramWriter, operation: Operation) -> None:
    source, (values, found) = operation.inputs[0], operation.outputs
    shape, results = writer.type(source).shape, writer.type(values).shape
    x, y, there = writer.storage(source), writer.declare(operation), writer.declare(operation, 1)
    steps = [strides(*item)[:-1] for item in ((shape, x), (results, y), (results, there))]
    kept = tuple(zip(shape[:-1], steps[0], steps[1], strict=True))
    kernel = positions.TopK(kind.k, kept, steps[2], shape[-1])
    writer.step(kernel, [writer.corner(name) for name in (source, values, found)], operation, result=values, written=2)


@write_integer.register
def _(kind: kinds.CumSum, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    x, y = writer.storage(source), writer.declare(operation)
    shape = writer.type(source).shape
    steps = tuple(zip(shape, strides(shape, x), strides(shape, y), strict=True))
    last, (count, from_x, from_y) = len(shape) - 1, steps[kind.axis]
    factor = ratio(writer.type(source), writer.type(name))
    kernel = running.CumSum(
        tuple(item for axis, item in enumerate(steps) if axis not in (kind.axis, last)),
        (count, -from_x, -from_y) if kind.reverse else steps[kind.axis],
        None if kind.axis == last else y.pixel,
        kind.exclusive,
        far=255 * float(factor) * count >= SAFE_STEPS,
    )
    words = result_words(writer.stored(name))
    words |= {Word.A_ZERO_POINT: writer.stored(source).zero_point, Word.FACTOR: factor}
    places = [writer.corner(source), writer.corner(name)]
    if kind.reverse:
        ends = zip(places, (from_x, from_y), strict=True)
        places = [replace(place, offset=place.offset + (count - 1) * step) for place, step in ends]
    writer.step(kernel, [places[0], writer.words(words), places[1]], operation)


def strides(shape: tuple[int, ...], storage: Storage) -> tuple[int, ...]:
    """Elements from one index to the next along every dimension of a value, where it lies."""
    steps = storage.steps
    return element_strides(shape, (steps.image, steps.row, steps.column, 1))
