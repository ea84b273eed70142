"""Between floats and integers.

Both kernels take lines that are contiguous on both sides. Where the caller's array is in another order, the conversion
is done in that order, on the way to or from bytes that are then moved: a quarter of what moving floats would take.
"""

from __future__ import annotations

import numpy as np

from edgec.backends.tvm.constants import is_stored_by_grid, result_words
from edgec.backends.tvm.kernels import conversion
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.backends.tvm.lowering.tables import function_of, write_function
from edgec.backends.tvm.lowering.views import View, copy, here, read, scratch, written
from edgec.backends.tvm.program import Place
from edgec.ir import kinds
from edgec.ir.graph import Operation

_LONG = 16
"""Channels that are converted fast as they are."""


@write_integer.register
def _(kind: kinds.Quantize, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    if is_stored_by_grid(writer.type(source)):
        function = function_of(writer.graph, operation)
        assert function is not None, operation
        write_function(writer, function)
        return
    x = read(writer, source)
    storage = writer.declare(operation, single_pixels=True)
    y, result = read(writer, name), writer.stored(name)
    words = writer.words(result_words(result) | {Word.SCALE: result.scale})
    w, c = storage.shape[2:]
    planes = x.place.memory == "input" and storage.pixel == 4 and w >= writer.isa.lanes and len(x.shape) == 4
    if planes and x.strides[2] == 1:
        steps = (x.strides[0], x.strides[1], x.strides[2], x.strides[3])
        kernel = conversion.QuantizePixels(storage.shape, steps, storage.steps)
        writer.step(kernel, [x.place, words, y.place], operation)
    elif x.place.memory != "input":
        _quantize(writer, operation, x, y, (*y.shape[:-1], y.pixel), words)
    elif _ends_alike(x) and c >= _LONG:
        _quantize(writer, operation, x, y, y.shape, words)
    else:
        between = scratch(writer, name, x.shape, writer.isa.stored)
        size = int(np.prod(x.shape))
        _quantize(writer, operation, x.of((size,), (1,)), between.of((size,), (1,)), (size,), words)
        copy(writer, between.of(x.shape, x.strides), y, operation)


def _quantize(
    writer: ProgramWriter, operation: Operation, x: View, y: View, shape: tuple[int, ...], words: Place
) -> None:
    writer.step(conversion.Quantize(_lines(shape, x, y)), [x.place, words, y.place], operation)


def _lines(shape: tuple[int, ...], x: View, y: View) -> Box:
    """The box of both, whose last dimension is one along which they are contiguous."""
    alone = [len(shape) - 1] if shape and shape[-1] == 1 else []
    return Box.of(shape or (1,), x.strides or (1,), y.strides or (1,), apart=alone).divided()


def _ends_alike(view: View) -> bool:
    """Whether the last dimension is contiguous."""
    return not view.shape or view.strides[-1] == 1


@write_integer.register
def _(kind: kinds.Dequantize, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    x, stored = here(writer, source), writer.stored(source)
    y = written(writer, operation)
    words = writer.words({Word.A_ZERO_POINT: stored.zero_point, Word.A_SCALE: stored.scale})
    if y.place.memory == "arena":
        shape = (*y.shape[:-1], y.pixel)
    elif _ends_alike(y):
        shape = y.shape
    else:
        between = scratch(writer, name, y.shape, writer.isa.stored)
        copy(writer, x, between.of(y.shape, y.strides), operation)
        shape = (int(np.prod(y.shape)),)
        x, y = between.of(shape, (1,)), y.of(shape, (1,))
    writer.step(conversion.Dequantize(_lines(shape, x, y)), [x.place, words, y.place], operation)
