"""Between the caller's floats and integers."""

from __future__ import annotations

from edgec.backends.tvm.constants import result_words
from edgec.backends.tvm.kernels import conversion
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_kind
from edgec.ir import kinds
from edgec.ir.graph import Operation


@write_kind.register
def _(kind: kinds.Quantize, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    storage, result = writer.declare(operation, single_pixels=True), writer.stored(name)
    kernel = conversion.Quantize(storage.shape, writer.strides(source), storage.steps)
    words = result_words(result) | {Word.SCALE: result.scale}
    writer.step(kernel, [writer.caller(source), writer.words(words), writer.corner(name)], operation)


@write_kind.register
def _(kind: kinds.Dequantize, writer: ProgramWriter, operation: Operation) -> None:
    source, name = operation.inputs[0], operation.outputs[0]
    storage, x = writer.storage(source), writer.stored(source)
    kernel = conversion.Dequantize(storage.shape, storage.steps, writer.strides(name))
    block = writer.words({Word.A_ZERO_POINT: x.zero_point, Word.A_SCALE: x.scale})
    writer.step(kernel, [writer.corner(source), block, writer.caller(name)], operation)
