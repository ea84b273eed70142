"""Between floats and integers."""

from __future__ import annotations

from edgec.backends.tvm.constants import is_stored_by_grid, result_words
from edgec.backends.tvm.kernels import conversion
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.lowering.elementwise import write_table
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.ir import kinds
from edgec.ir.graph import Operation


@write_integer.register
def _(kind: kinds.Quantize, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    if is_stored_by_grid(writer.type(source)):
        write_table(writer, operation)
        return
    storage, result = writer.declare(operation, single_pixels=True), writer.stored(name)
    place, strides = writer.source(source)
    kernel = conversion.Quantize(storage.shape, strides, storage.steps)
    words = result_words(result) | {Word.SCALE: result.scale}
    writer.step(kernel, [place, writer.words(words), writer.corner(name)], operation)


@write_integer.register
def _(kind: kinds.Dequantize, writer: ProgramWriter, operation: Operation) -> None:
    source = operation.inputs[0]
    storage, x = writer.storage(source), writer.stored(source)
    place, strides = writer.target(operation)
    kernel = conversion.Dequantize(storage.shape, storage.steps, strides)
    block = writer.words({Word.A_ZERO_POINT: x.zero_point, Word.A_SCALE: x.scale})
    writer.step(kernel, [writer.corner(source), block, place], operation)
