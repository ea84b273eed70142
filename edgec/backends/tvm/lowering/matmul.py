"""Products of two activations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from edgec.backends.tvm.constants import SAFE_STEPS, header
from edgec.backends.tvm.kernels import dense, packing
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.lowering import views
from edgec.backends.tvm.lowering.numbers import words_of_result
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.backends.tvm.lowering.views import View, in_arena
from edgec.backends.tvm.program import Place
from edgec.backends.tvm.storage import Steps, Storage
from edgec.ir import kinds
from edgec.ir.graph import Operation
from edgec.ir.reference.products import multipliers

_WORD = 4  # neighbours that are multiplied at once


@write_integer.register
def _(kind: kinds.BatchMatMul, writer: ProgramWriter, operation: Operation) -> None:
    """b is packed as weights are, a's rows are summed up where b's zero point asks for it, and the dense kernel runs,
    with weights of its own for each index of the leading dimensions."""
    isa, (first, second), name = writer.isa, operation.inputs, operation.outputs[0]
    a = _deep(writer, first, kind.transpose_a, operation)
    b = _deep(writer, second, not kind.transpose_b, operation)
    writer.declare(operation)
    y = in_arena(writer, name)
    shape, depth = y.shape, a.shape[-1]
    a, b_spread = _regular(writer, a, shape[:-2], operation), b.spread((*shape[:-2], *b.shape[-2:]))
    words, _ = words_of_result(writer, name, "none")
    real = writer.type(name).quantization is None
    zero_points = writer.stored(first).zero_point, writer.stored(second).zero_point - (isa.stored == "uint8") * 128
    words |= {Word.A_ZERO_POINT: zero_points[0], Word.B_ZERO_POINT: zero_points[1]}

    rows = shape[-3] if len(shape) > 2 else 1
    images = int(np.prod(shape[:-3], dtype=np.int64))
    vectors, steps = dense.vectors_of(shape[-1], isa.lanes), -(-depth // 4)
    width, most = isa.dense_tile(vectors, images * rows, shape[-2], steps)
    tiles = dense.channel_tiles(shape[-1], isa.lanes, most)
    shared = all(size == 1 for size in b.shape[:-2])
    leading = Box((), ((),)) if shared else Box.as_is(shape[:-2], b_spread.strides[:-2])
    pack = packing.Pack(leading, depth, tiles, real)
    factors = multipliers(writer.type(first), writer.type(second), writer.type(name), _last(kind, b))
    factors = np.broadcast_to(factors, shape[-1:]).astype(np.float32)
    blocks = _packed(writer, pack, b, header(words), factors, operation)

    starts = []
    if zero_points[1]:
        sums = packing.RowSums(Box.as_is(shape[:-1], a.strides[:-1]), depth)
        starts = [writer.scratch(name, Storage((1, 1, 1, sums.units), "int32", -(-sums.units // 4) * 4))]
        writer.step(sums, [a.place, writer.words(words), *starts], operation, result=name)
    largest = 255.0 * 255 * depth * float(np.abs(factors).max())
    kernel = dense.Dense(
        images,
        rows,
        shape[-2],
        x=_steps(a),
        y=_steps(y),
        window=(1, 1),
        taps=Steps(0, 0, 0),
        words=pack.words,
        tiles=tiles,
        width=width,
        block=0 if shared else pack.block(isa),
        starts=bool(starts),
        real=y.pixel if real else 0,
        far=largest >= SAFE_STEPS and not real,
    )
    writer.step(kernel, [a.place, *starts, blocks, y.place], operation)


def _last(kind: kinds.BatchMatMul, b: View) -> int:
    return len(b.shape) - (2 if kind.transpose_b else 1)


def _packed(
    writer: ProgramWriter, pack: packing.Pack, b: View, head: np.ndarray, factors: np.ndarray, operation: Operation
) -> Place:
    """Memory for blocks, and the step that fills it."""
    isa, outputs = writer.isa, b.shape[-2]
    of_lanes = factors[packing.outputs_of_lanes(pack, isa, outputs)]
    tables = packing.tables(pack, isa, outputs, b.strides[-2])
    constants = writer.block(b"".join(part.tobytes() for part in (head, of_lanes, tables)))
    name, size = operation.outputs[0], pack.blocks * pack.block(isa)
    place = writer.scratch(name, Storage((1, 1, 1, size), "int32", size))
    writer.step(pack, [b.place, constants, place], operation, result=name)
    return place


def _deep(writer: ProgramWriter, name: str, turned: bool, operation: Operation) -> View:
    """An operand with what is summed over as its last dimension, fours of it in reach. turned: it is the last but one
    now, and has to be moved."""
    found = in_arena(writer, name)
    if not turned:
        return found
    order = (*found.shape[:-2], found.shape[-1], found.shape[-2])
    strides = (*found.strides[:-2], found.strides[-1], found.strides[-2])
    return _copied(writer, found.of(order, strides), operation)


def _copied(writer: ProgramWriter, source: View, operation: Operation) -> View:
    """The same elements in memory of their own, lines a multiple of fours long."""
    line = -(-source.shape[-1] // _WORD) * _WORD
    whole = views.scratch(writer, operation.outputs[0], (*source.shape[:-1], line), source.dtype)
    target = whole.of(source.shape, whole.strides)
    views.copy(writer, source, target, operation)
    return target


def _regular(writer: ProgramWriter, a: View, leading: tuple[int, ...], operation: Operation) -> View:
    """a, broadcast to the leading dimensions of the result, with one distance for all but the last of those."""
    spread = a.spread((*leading, *a.shape[-2:]))
    outer = [(size, step) for size, step in zip(leading[:-1], spread.strides, strict=False) if size > 1]
    regular = all(step == size * below for (_, step), (size, below) in pairwise(outer))
    return spread if regular else _copied(writer, spread, operation)


def _steps(of: View) -> Steps:
    """From image to image, row to row, pixel to pixel."""
    image = next((step for size, step in zip(of.shape[-4::-1], of.strides[-4::-1], strict=True) if size > 1), 0)
    return Steps(image, of.strides[-3] if len(of.shape) > 2 else 0, of.strides[-2])
