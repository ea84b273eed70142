"""Products that the dense kernel computes in another way than its own: with groups, transposed, with a float result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgec.backends.tvm.constants import Number, folded_bias, header, product_block, result_words
from edgec.backends.tvm.kernels import dense
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.lowering.geometry import Geometry
from edgec.backends.tvm.lowering.numbers import Numbers, given_bias
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.backends.tvm.phases import Phase, phases_of
from edgec.backends.tvm.program import Place
from edgec.backends.tvm.storage import Steps, Storage
from edgec.backends.tvm.tiles import is_upright
from edgec.backends.tvm.tuning.tiles import searched
from edgec.ir import kinds
from edgec.ir.graph import Operation
from edgec.ir.kinds import Activation
from edgec.ir.kinds.windows import NO_PADDING, Padding2D

_BYTES = 16
"""Of a pixel that are stored together: tiles begin at multiples of it."""


def write(writer: ProgramWriter, operation: Operation) -> None:
    """A convolution with groups of any size, or any product whose result is float32."""
    kind = operation.kind
    assert isinstance(kind, kinds.Conv2D | kinds.FullyConnected)
    stride, dilation, padding, groups = (1, 1), (1, 1), NO_PADDING, 1
    if isinstance(kind, kinds.Conv2D):
        stride, dilation, padding, groups = kind.stride, kind.dilation, kind.padding, kind.groups
    numbers = Numbers.of(writer, operation)
    x, y = writer.storage(operation.inputs[0]), writer.declare(operation)
    images, rows, columns, _ = y.shape
    if numbers.weights.shape[1:3] == (1, 1) and stride == (1, 1) and x.is_flat and y.is_flat:
        images, rows, columns = 1, 1, images * rows * columns  # one long row: no tile ends before it has to
    geometry = Geometry(
        (images, rows, columns),
        Steps(x.steps.image, x.steps.row * stride[0], x.pixel * stride[1]),
        y.steps,
        Steps(0, x.steps.row * dilation[0], x.pixel * dilation[1]),
    )
    places = writer.corner(operation.inputs[0], padding), writer.corner(operation.outputs[0])
    _step(writer, operation, numbers, groups, kind.activation, geometry, places)


@write_integer.register
def _(kind: kinds.TransposeConv2D, writer: ProgramWriter, operation: Operation) -> None:
    """One step for each phase. Its bias has the zero point of x folded in for the weights of that phase alone."""
    source, name = operation.inputs[0], operation.outputs[0]
    whole = Numbers.of(writer, operation)
    bias = given_bias(writer, operation, len(whole.weights))
    x, y = writer.storage(source), writer.declare(operation)
    for row, column in phases_of(kind, writer.type(operation.inputs[1]), writer.type(name)):
        weights, from_row, from_column = _of_phase(whole.weights, row, column)
        folded = folded_bias(weights, bias, writer.stored(source).zero_point)
        geometry = Geometry(
            (y.shape[0], row.count, column.count),
            Steps(x.steps.image, x.steps.row, x.pixel),
            Steps(y.steps.image, y.steps.row * kind.stride[0], y.pixel * kind.stride[1]),
            Steps(0, x.steps.row * row.step, x.pixel * column.step),
        )
        places = (
            writer.corner(source, Padding2D(top=-from_row, left=-from_column)),
            writer.corner(name, Padding2D(top=-row.first, left=-column.first)),
        )
        numbers = Numbers(weights, folded, whole.factors, whole.far)
        _step(writer, operation, numbers, kind.groups, kind.activation, geometry, places)


def _of_phase(weights: np.ndarray, row: Phase, column: Phase) -> tuple[np.ndarray, int, int]:
    """The weights that a phase sees, and the row and column of x that its first window begins with."""
    if row.taps and column.taps:
        return weights[:, row.taps][:, :, column.taps], row.start, column.start
    # No tap of the kernel falls on these results. One of zeros does; what it sees has to be there, that is all.
    return np.zeros_like(weights[:, :1, :1]), 0, 0


@dataclass(frozen=True)
class _Cut:
    """How channels are divided into tiles. width: pixels of a tile. words: fours of input channels that each reads,
    beginning at its `starts`."""

    tiles: tuple[dense.Tile, ...]
    width: int
    words: int
    starts: tuple[int, ...]


def _step(
    writer: ProgramWriter,
    operation: Operation,
    numbers: Numbers,
    groups: int,
    activation: Activation,
    geometry: Geometry,
    places: tuple[Place, Place],
) -> None:
    """One dense kernel."""
    x, y = writer.storage(operation.inputs[0]), writer.storage(operation.outputs[0])
    weights = numbers.weights
    if is_upright(*geometry.shape[1:]):
        geometry, weights = geometry.turned, weights.swapaxes(1, 2)
    outputs, height, width, _ = weights.shape
    cut = _cut(writer, weights.shape, groups, geometry, x)
    words, limited = words_of_result(writer, operation.outputs[0], activation)
    real = 0 if writer.type(operation.outputs[0]).quantization is not None else y.pixel
    kernel = dense.Dense(
        *geometry.shape,
        x=geometry.x,
        y=geometry.y,
        window=(height, width),
        taps=geometry.taps,
        words=cut.words,
        tiles=cut.tiles,
        width=cut.width,
        offsets=groups > 1,
        real=real,
        limited=limited,
        far=numbers.far and not real,
        lowest=numbers.lowest,
    )
    if groups == 1:
        kernel = searched(kernel, writer.tiles, writer.isa)
        cut = replace(cut, tiles=kernel.tiles, starts=cut.starts[:1] * len(kernel.tiles))
    deep = _spread(weights, cut, groups, writer.isa.lanes)
    packed, order = dense.packed(deep.reshape(outputs, -1), cut.tiles, writer.isa, real > 0)
    block = product_block(header(words), numbers.bias, numbers.factors, order, packed)
    if groups > 1:
        block += np.array(cut.starts, np.int32).tobytes()
    writer.step(kernel, [places[0], writer.block(block), places[1]], operation)


def words_of_result(writer: ProgramWriter, name: str, activation: Activation) -> tuple[dict[Word, Number], bool]:
    """What a header says of a result, on a grid or in float32, and whether the activation limits it."""
    if writer.type(name).quantization is not None:
        result = writer.stored(name)
        return result_words(result, activation), result.is_limited(activation)
    return {Word.LOW: 0.0, Word.HIGH: 6.0 if activation == "relu6" else float("inf")}, activation != "none"


def _cut(writer: ProgramWriter, weights: tuple[int, ...], groups: int, geometry: Geometry, x: Storage) -> _Cut:
    """The tiles of all output channels.

    A tile multiplies the input channels of all groups that it has outputs of: the more groups, the more zeros. So tiles
    do not reach into a second group where groups are multiples of what is stored together, and are narrow where they
    have to: chosen is what takes the fewest instructions for a pixel, products and loads of activations.
    """
    outputs, height, width, depth = weights
    lanes, each = writer.isa.lanes, outputs // groups
    images, rows, columns = geometry.shape
    cuts: list[tuple[float, _Cut]] = []
    span = each if each % _BYTES == 0 else outputs
    for vectors in [dense.vectors_of(span, lanes)] if groups == 1 else _sizes(span, lanes):
        pixels, most = writer.isa.dense_tile(vectors, images * rows, columns, height * width * -(-depth // 4))
        tiles = dense.channel_tiles(span, lanes, min(most, vectors)) * (outputs // span)
        ranges = _ranges(tiles, lanes, outputs, groups, depth)
        words = max(-(-(end - begin) // 4) for begin, end in ranges)
        starts = tuple(min(begin, x.pixel - 4 * words) for begin, _ in ranges)
        cost = words * sum(sum(tile) + 1 for tile in tiles)
        cuts.append((cost, _Cut(tiles, pixels, words, starts)))
    return min(cuts, key=lambda item: item[0])[1]


def _sizes(channels: int, lanes: int) -> list[int]:
    """Vectors that a tile may have: 1, 2, 4 ... times what is stored together."""
    unit, vectors = _BYTES // lanes, dense.vectors_of(channels, lanes)
    return sorted({min(unit * factor, vectors) for factor in (1, 2, 3, 4, 8)})


def _ranges(tiles: Sequence[dense.Tile], lanes: int, outputs: int, groups: int, depth: int) -> list[tuple[int, int]]:
    """The input channels [begin, end) that each tile's outputs are made of."""
    each, found, done = outputs // groups, [], 0
    for tile in tiles:
        last = min(done + sum(tile) * lanes, outputs) - 1
        found.append((done // each * depth, (last // each + 1) * depth))
        done += sum(tile) * lanes
    return found


def _spread(weights: np.ndarray, cut: _Cut, groups: int, lanes: int) -> np.ndarray:
    """Weights [O, KH, KW, C / groups] at the channels of their group, among those that their tile reads:
    [O, KH, KW, 4 * words]."""
    outputs, height, width, depth = weights.shape
    each, made, done = outputs // groups, np.zeros((outputs, height, width, 4 * cut.words), np.int8), 0
    for tile, start in zip(cut.tiles, cut.starts, strict=True):
        for output in range(done, min(done + sum(tile) * lanes, outputs)):
            first = output // each * depth - start
            made[output, :, :, first : first + depth] = weights[output]
        done += sum(tile) * lanes
    return made
