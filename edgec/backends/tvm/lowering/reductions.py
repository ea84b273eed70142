"""What takes many elements along axes: reductions, positions, running sums, softmax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgec.backends.tvm.constants import SAFE_STEPS, header, may_be_far, result_words
from edgec.backends.tvm.kernels import positions, reductions, running, softmax
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.lowering.numbers import rescaling
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.ir import kinds
from edgec.ir.graph import Operation
from edgec.ir.reference.normalization import exponentials


@write_integer.register
def _(kind: kinds.Reduce, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    x, y = writer.storage(source), writer.declare(operation)
    shape = writer.type(source).shape
    kept_axes = [axis for axis in range(len(shape)) if kind.keepdims or axis not in kind.axes]
    from_x, from_y = x.strides(shape), dict(zip(kept_axes, y.strides(writer.type(name).shape), strict=True))
    last = len(shape) - 1
    words, factor = rescaling(writer, source, name)
    assert kind.function in ("mean", "sum", "max", "min")
    kernel = reductions.Reduce(
        kind.function,
        _box(shape, [axis for axis in range(last) if axis not in kind.axes], from_x, from_y),
        tuple((shape[axis], from_x[axis]) for axis in range(last) if axis in kind.axes),
        shape[last],
        None if last in kind.axes else y.pixel,
    )
    kernel = replace(kernel, far=may_be_far(factor, kernel.count if kind.function == "sum" else 1))
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
    last, from_x = len(shape) - 1, x.strides(shape)
    left = [axis for axis in range(len(shape)) if axis != kind.axis]
    from_y = dict(zip(left, y.strides(writer.type(name).shape), strict=True))
    kernel = positions.ArgReduce(
        kind.function,
        kind.dtype,
        _box(shape, [axis for axis in left if axis != last], from_x, from_y),
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
    steps = [item.strides(of)[:-1] for of, item in ((shape, x), (results, y), (results, there))]
    kernel = positions.TopK(kind.k, Box.as_is(shape[:-1], *steps), shape[-1])
    writer.step(kernel, [writer.corner(name) for name in (source, values, found)], operation, result=values, written=2)


@write_integer.register
def _(kind: kinds.CumSum, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    x, y = writer.storage(source), writer.declare(operation)
    shape = writer.type(source).shape
    from_x, from_y, last = x.strides(shape), y.strides(shape), len(shape) - 1
    count, x_step, y_step = shape[kind.axis], from_x[kind.axis], from_y[kind.axis]
    words, factor = rescaling(writer, source, name)
    kernel = running.CumSum(
        _box(shape, [axis for axis in range(last) if axis != kind.axis], from_x, from_y),
        (count, -x_step, -y_step) if kind.reverse else (count, x_step, y_step),
        None if kind.axis == last else y.pixel,
        kind.exclusive,
        far=may_be_far(factor, count),
    )
    places = [writer.corner(source), writer.corner(name)]
    if kind.reverse:
        ends = zip(places, (x_step, y_step), strict=True)
        places = [replace(place, offset=place.offset + (count - 1) * step) for place, step in ends]
    writer.step(kernel, [places[0], writer.words(words), places[1]], operation)


def _box(shape: Sequence[int], axes: Sequence[int], *strides: Sequence[int] | Mapping[int, int]) -> Box:
    """Some dimensions of a value. strides: of each operand, by dimension."""
    return Box.as_is([shape[axis] for axis in axes], *([steps[axis] for axis in axes] for steps in strides))
