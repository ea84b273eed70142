"""Functions of each element for itself, on quantized tensors.

A function of one integer is a table that the reference executor fills: exact by construction. A function of two is
computed in float32, as the reference does, or (a power) is a table of all pairs.
"""

from __future__ import annotations

import numpy as np

from edgec.backends.tvm.constants import SAFE_STEPS, Number, StoredType, result_words
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.elementwise import FUNCTIONS, Arithmetic
from edgec.backends.tvm.kernels.tables import Extreme, Limit, PairTable, Table
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.backends.tvm.lowering.views import View, copy, here, made, whole_pixels
from edgec.backends.tvm.program import Place
from edgec.ir import kinds
from edgec.ir.graph import Operation, TensorType
from edgec.ir.kinds import Kind
from edgec.ir.passes.integer_kinds import same_grid
from edgec.ir.reference.dispatch import Tensor, compute
from edgec.ir.reference.grid import limits, real

_LARGEST = 255  # distance between two integers of 8 bits


# --- functions of one integer ---


@write_integer.register(kinds.Unary)
@write_integer.register(kinds.HardSigmoid)
@write_integer.register(kinds.LeakyRelu)
@write_integer.register(kinds.Clip)
def _(kind: Kind, writer: ProgramWriter, operation: Operation) -> None:
    write_table(writer, operation)


def write_table(writer: ProgramWriter, operation: Operation) -> None:
    """An operation whose results depend on one operand's integers, position by position; all other operands are
    constants of one element."""
    name = operation.outputs[0]
    varying = _varying(writer, operation)
    entries = _entries(writer, operation, varying)
    x = writer.plain(varying) if writer.type(varying).shape == writer.type(name).shape else None
    if x is not None and same_grid(writer.type(varying), writer.type(name)):
        low, high = int(entries.min()), int(entries.max())
        integers = _all_integers(writer.type(varying).dtype)
        if np.array_equal(entries, np.clip(integers, low, high)):
            _write_limit(writer, operation, varying, low, high)
            return
    source, target = here(writer, varying), made(writer, operation)
    shift = writer.stored(varying).shift
    index = (_all_integers(writer.type(varying).dtype) + shift).astype(writer.isa.stored).view(np.uint8)
    table = np.zeros(256, writer.isa.stored)
    table[index] = writer.as_stored(name, entries)
    box = _box(target, source)
    writer.step(Table(box), [source.place, writer.block(table.tobytes()), target.place], operation)


def _write_limit(writer: ProgramWriter, operation: Operation, varying: str, low: int, high: int) -> None:
    """Integers that stay as they are, within limits."""
    of = writer.stored(varying)
    everything = (low, high) == limits(of.type.dtype)
    if everything and varying == operation.inputs[0] and not writer.is_padded(operation.outputs[0]):
        writer.alias(operation)
        return
    source, target = here(writer, varying), made(writer, operation)
    if everything:
        copy(writer, source, target, operation)
        return
    words = writer.words({Word.LOW: low + of.shift, Word.HIGH: high + of.shift})
    writer.step(Limit(_box(target, source)), [source.place, words, target.place], operation)


def _varying(writer: ProgramWriter, operation: Operation) -> str:
    """The operand that is not a constant of one element."""
    found = {name for name in operation.inputs if not is_one_constant(writer, name)}
    return found.pop() if found else operation.inputs[0]


def is_one_constant(writer: ProgramWriter, name: str) -> bool:
    """Whether a value is a constant of one element."""
    data = writer.graph.constant(name)
    return data is not None and data.size == 1


def _all_integers(dtype: str) -> np.ndarray:
    low, high = limits(dtype)
    return np.arange(low, high + 1)


def _entries(writer: ProgramWriter, operation: Operation, varying: str) -> np.ndarray:
    """The result for each integer of the operand, the lowest first: [256]."""
    shape = (256,)
    operands = []
    for name in operation.inputs:
        of, data = writer.type(name), writer.graph.constant(name)
        if name == varying:
            operands.append(Tensor(_all_integers(of.dtype).astype(of.dtype), of.of_shape(shape)))
        else:
            assert data is not None, name
            operands.append(Tensor(data.reshape(1), of.of_shape((1,))))
    return compute(operation.kind, operands, [writer.type(operation.outputs[0]).of_shape(shape)])[0]


# --- functions of two ---


@write_integer.register
def _(kind: kinds.Binary, writer: ProgramWriter, operation: Operation) -> None:
    a, b = operation.inputs
    name = operation.outputs[0]
    if a == b or is_one_constant(writer, a) or is_one_constant(writer, b):
        constants_only = is_one_constant(writer, a) and is_one_constant(writer, b)
        varying = writer.type(_varying(writer, operation))
        if not constants_only and varying.shape == writer.type(name).shape:
            write_table(writer, operation)
            return
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
    if is_one_constant(writer, operation.inputs[1]):
        write_table(writer, operation)
    else:
        _write_arithmetic(writer, operation, "prelu", "none")


def _write_arithmetic(writer: ProgramWriter, operation: Operation, function: str, activation: kinds.Activation) -> None:
    a, b = operation.inputs
    result = writer.stored(operation.outputs[0])
    operands, target, box = _operands(writer, operation)
    words = result_words(result, activation) | words_of_operands(writer, a, b, result)
    words[Word.FACTOR] = np.float32(result.shift - result.zero_point)  # the steps of the integer 0
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
        integers = _all_integers(of.dtype)
        shape = (256, 1) if axis == 0 else (1, 256)
        pairs.append(Tensor(integers.astype(of.dtype).reshape(shape), of.of_shape(shape)))
        order.append((integers + writer.stored(item).shift).astype(writer.isa.stored).view(np.uint8))
    (made,) = compute(operation.kind, pairs, [writer.type(name).of_shape((256, 256))])
    table = np.zeros((256, 256), writer.isa.stored)
    table[np.ix_(*order)] = writer.as_stored(name, made)
    block = writer.block(table.tobytes())
    writer.step(PairTable(box), [*operands, block, target], operation)


def _operands(writer: ProgramWriter, operation: Operation) -> tuple[list[Place], Place, Box]:
    """Places of the operands and of the result, and the box of all."""
    views = [here(writer, name) for name in operation.inputs]
    target = made(writer, operation)
    return [view.place for view in views], target.place, _box(target, *views)


def _box(target: View, *operands: View) -> Box:
    """Operands as they spread to the result, padding of pixels and all."""
    views = [view.spread(target.shape) for view in operands]
    shape = whole_pixels(target.shape, *views, target)
    steps = [*(view.strides for view in views), target.strides]
    if not shape:
        shape, steps = (target.pixel,), [(1,)] * len(steps)
    return Box.of(shape, *steps).divided()


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
