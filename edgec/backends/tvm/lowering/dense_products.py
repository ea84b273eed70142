"""Products of integers that the dense kernel computes: in groups, transposed, with a float32 result, with a sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgec.backends.tvm.constants import Number, folded_bias, header, product_block
from edgec.backends.tvm.kernels import dense
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.lowering.channel_groups import cut_of, spread
from edgec.backends.tvm.lowering.elementwise import sum_reaches_far, words_of_operands
from edgec.backends.tvm.lowering.geometry import Geometry, arranged, as_convolution, phase_products
from edgec.backends.tvm.lowering.numbers import Numbers, given_bias, words_of_result
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.backends.tvm.program import Place
from edgec.backends.tvm.storage import Steps
from edgec.backends.tvm.tuning.tiles import searched
from edgec.ir import kinds
from edgec.ir.graph import Operation


def write(writer: ProgramWriter, operation: Operation, addition: Operation | None = None) -> None:
    """A convolution with groups of any size, or a fully-connected layer.

    addition: a sum that reads its result, which nobody else does: computed in the same step.
    """
    kind, source = as_convolution(operation.kind), operation.inputs[0]
    numbers = Numbers.of(writer, operation)
    last = addition or operation
    x, y = writer.storage(source), writer.declare(last)
    added = _Sum.of(writer, operation, addition) if addition else None
    geometry = Geometry.of(kind, x, y, [added.steps] if added else [])
    if kind.groups == 1 and numbers.weights.shape[1:3] == (1, 1) and writer.type(last.outputs[0]).quantization:
        geometry = geometry.wrapped
    places = writer.corner(source, kind.padding), writer.corner(last.outputs[0])
    _step(writer, operation, kind, numbers, geometry, places, added)


@write_integer.register
def _(kind: kinds.TransposeConv2D, writer: ProgramWriter, operation: Operation) -> None:
    """One step for each phase. Its bias has the zero point of x folded in for the weights of that phase alone."""
    whole = Numbers.of(writer, operation)
    bias, zero_point = given_bias(writer, operation, len(whole.weights)), writer.stored(operation.inputs[0]).zero_point
    for part in phase_products(kind, writer, operation, whole.weights):
        folded = folded_bias(part.weights, bias, zero_point)
        numbers = Numbers(part.weights, folded, whole.factors, whole.far)
        _step(writer, operation, kind, numbers, part.geometry, part.places)


@dataclass(frozen=True, eq=False)
class _Sum:
    """What a product is added to. place, steps: of the other operand. words: what the header says of both operands.
    far: whether the sum may reach far."""

    operation: Operation
    activation: kinds.Activation
    place: Place
    steps: Steps
    words: Mapping[Word, Number]
    far: bool

    @classmethod
    def of(cls, writer: ProgramWriter, product: Operation, addition: Operation) -> _Sum:
        kind, name = addition.kind, product.outputs[0]
        assert isinstance(kind, kinds.Binary)
        other = next(item for item in addition.inputs if item != name)
        steps = writer.storage(other).steps
        inner, result = writer.stored(name), writer.stored(addition.outputs[0])
        low, high = inner.limits(as_convolution(product.kind).activation)
        words = words_of_operands(writer, name, other, result)
        words |= {Word.INNER_LOW: low - inner.zero_point, Word.INNER_HIGH: high - inner.zero_point}
        far = sum_reaches_far(writer, name, other, result)
        return cls(addition, kind.activation, writer.corner(other), steps, words, far)


def _step(
    writer: ProgramWriter, operation: Operation, kind: kinds.Conv2D | kinds.TransposeConv2D, numbers: Numbers,
    geometry: Geometry, places: tuple[Place, Place], added: _Sum | None = None,
) -> None:  # fmt: skip
    """One dense kernel. places: of x and of the result."""
    name = added.operation.outputs[0] if added else operation.outputs[0]
    words, limited = words_of_result(writer, name, added.activation if added else kind.activation)
    geometry, weights = arranged(geometry, numbers.weights)
    outputs, height, width, _ = weights.shape
    groups, pixel = kind.groups, writer.storage(operation.inputs[0]).pixel
    cut = cut_of(writer.isa, weights.shape, groups, geometry.shape, pixel)
    real = 0 if writer.type(name).quantization is not None else writer.storage(name).pixel
    kernel = dense.Dense(
        *geometry.shape,
        x=geometry.x,
        y=geometry.y,
        window=(height, width),
        taps=geometry.taps,
        words=cut.words,
        tiles=cut.tiles,
        width=cut.width,
        other=geometry.others[0] if added else None,
        wrap=geometry.wrap,
        offsets=groups > 1,
        real=real,
        limited=limited,
        far=(numbers.far or (added is not None and added.far)) and not real,
        lowest=numbers.lowest,
    )
    if groups == 1:
        kernel = searched(kernel, writer.tiles, writer.isa)
        cut = replace(cut, tiles=kernel.tiles, starts=cut.starts[:1] * len(kernel.tiles))
    deep = spread(weights, cut, groups, writer.isa.lanes)
    packed, order = dense.packed(deep.reshape(outputs, -1), cut.tiles, writer.isa, real > 0)
    head = header({**words, **added.words} if added else words)
    block = product_block(head, numbers.bias, numbers.factors, order, packed)
    if groups > 1:
        block += np.array(cut.starts, np.int32).tobytes()
    x, y = places
    others, operations = ([added.place], [operation, added.operation]) if added else ([], [operation])
    writer.step(kernel, [x, *others, writer.block(block), y], *operations)
