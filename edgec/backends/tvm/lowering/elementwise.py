"""Functions of two quantized values, element by element: computed in float32, as the reference does; or (a power) by a
table of all pairs. Functions of one are in `tables.py`."""

from __future__ import annotations

import numpy as np

from edgec.backends.tvm.constants import SAFE_STEPS, Number, StoredType, result_words
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.elementwise import FUNCTIONS, Arithmetic
from edgec.backends.tvm.kernels.tables import Extreme, PairTable
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.backends.tvm.lowering.tables import all_integers, function_of, write_function
from edgec.backends.tvm.lowering.views import here, made, shared_box
from edgec.backends.tvm.program import Place
from edgec.ir import kinds
from edgec.ir.graph import Operation, TensorType
from edgec.ir.passes.integer_kinds import same_grid
from edgec.ir.reference.dispatch import Tensor, compute
from edgec.ir.reference.grid import limits, real

_LARGEST = 255  # distance between two integers of 8 bits


@write_integer.register
def _(kind: kinds.Binary, writer: ProgramWriter, operation: Operation) -> None:
    if (function := function_of(writer.graph, operation)) is not None:
        write_function(writer, function)
        return
    a, b = operation.inputs
    name = operation.outputs[0]
    tied = kind.function in ("maximum", "minimum") and kind.activation == "none"
    if tied and all(same_grid(writer.type(item), writer.type(name)) for item in (a, b)):
        operands, target, box = _operands(writer, operation)
        writer.step(Extreme(box, kind.function == "maximum"), [*operands, target], operation)
    elif kind.function in FUNCTIONS:
        _write_arithmetic(writer, operation, kind.function, kind.activation)
    else:
        _write_pairs(writer, operation)


@write_integer.register
def _(kind: kinds.PRelu, writer: ProgramWriter, operation: Operation) -> None:
    if (function := function_of(writer.graph, operation)) is not None:
        write_function(writer, function)
    else:
        _write_arithmetic(writer, operation, "prelu", "none")


def _write_arithmetic(writer: ProgramWriter, operation: Operation, function: str, activation: kinds.Activation) -> None:
    a, b = operation.inputs
    result = writer.stored(operation.outputs[0])
    operands, target, box = _operands(writer, operation)
    words = result_words(result, activation) | words_of_operands(writer, a, b, result)
    far = _reaches_far(writer.type(a), writer.type(b), result, function)
    kernel = Arithmetic(function, box, result.is_limited(activation), far)
    writer.step(kernel, [*operands, writer.words(words), target], operation)


def _write_pairs(writer: ProgramWriter, operation: Operation) -> None:
    """A table of all pairs, [256, 256]."""
    name, (a, b) = operation.outputs[0], operation.inputs
    operands, target, box = _operands(writer, operation)
    pairs, order = [], []
    for axis, item in enumerate((a, b)):
        of = writer.type(item)
        integers = all_integers(of.dtype)
        shape = (256, 1) if axis == 0 else (1, 256)
        pairs.append(Tensor(integers.reshape(shape), of.of_shape(shape)))
        order.append(writer.as_stored(item, integers).view(np.uint8))
    (made,) = compute(operation.kind, pairs, [writer.type(name).of_shape((256, 256))])
    table = np.zeros((256, 256), writer.isa.stored)
    table[np.ix_(*order)] = writer.as_stored(name, made)
    block = writer.block(table.tobytes())
    writer.step(PairTable(box), [*operands, block, target], operation)


def _operands(writer: ProgramWriter, operation: Operation) -> tuple[list[Place], Place, Box]:
    """Places of the operands and of the result, and the box of all."""
    views = [here(writer, name) for name in operation.inputs]
    target = made(writer, operation)
    return [view.place for view in views], target.place, shared_box(target, *views)


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


def _reaches_far(a: TensorType, b: TensorType, result: StoredType, function: str) -> bool:
    """Whether a function of two, in steps of the result, can come near the limits of int32."""
    if function == "div":
        return True
    ends = [real(Tensor(np.array(limits(of.dtype), of.dtype), of.of_shape((2,)))).astype(np.float64) for of in (a, b)]
    most = [float(np.abs(item).max()) for item in ends]
    largest = {"mul": most[0] * most[1], "squared_difference": sum(most) ** 2, "prelu": most[0] * max(1, most[1])}
    return largest.get(function, sum(most)) / float(result.scale) >= SAFE_STEPS
