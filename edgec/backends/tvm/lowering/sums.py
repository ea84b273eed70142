"""Sums of two values."""

from __future__ import annotations

from edgec.backends.tvm.constants import SAFE_STEPS, Number, StoredType, result_words
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.kernels.elementwise import Sum
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.ir import kinds
from edgec.ir.graph import Operation

_LARGEST = 255  # distance between two integers of 8 bits


@write_integer.register
def _(kind: kinds.Binary, writer: ProgramWriter, operation: Operation) -> None:
    a, b = operation.inputs
    name = operation.outputs[0]
    y, result = writer.declare(operation), writer.stored(name)
    words = result_words(result, kind.activation) | words_of_operands(writer, a, b, result)
    images, rows, columns, _ = y.shape
    first, second = writer.storage(a), writer.storage(b)
    kernel = Sum(
        images,
        rows,
        columns * y.pixel,
        first.steps,
        second.steps,
        y.steps,
        limited=result.is_limited(kind.activation),
        far=sum_reaches_far(writer, a, b, result),
    )
    writer.step(kernel, [writer.corner(a), writer.corner(b), writer.words(words), writer.corner(name)], operation)


def words_of_operands(writer: ProgramWriter, a: str, b: str, result: StoredType) -> dict[Word, Number]:
    """The grids of both operands, and the result's scale."""
    first, second = writer.stored(a), writer.stored(b)
    return {
        Word.A_ZERO_POINT: first.zero_point,
        Word.A_SCALE: first.scale,
        Word.B_ZERO_POINT: second.zero_point,
        Word.B_SCALE: second.scale,
        Word.SCALE: result.scale,
    }


def sum_reaches_far(writer: ProgramWriter, a: str, b: str, result: StoredType) -> bool:
    """Whether a sum, in steps of the result, can come near the limits of int32."""
    scales = sum(float(writer.stored(name).scale) for name in (a, b))
    return _LARGEST * scales / float(result.scale) >= SAFE_STEPS
