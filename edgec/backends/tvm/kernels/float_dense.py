"""Convolutions of all channels with all, fully-connected layers and products of matrices, of float32.

    y[o] = epilogue(bias[o] + sum over the window and the channels of x * w[o])

Weights that are int8 with a scale for each output channel stay so in memory, and are widened when they are loaded:

    y[o] = epilogue(bias[o] + scale[o] * sum over the window and the channels of x * float32(w[o]))

The work is cut into tiles of `width` neighbouring pixels and some vectors of output channels, whose sums stay in
registers: each input channel of a pixel is repeated in all lanes and multiplied with vectors of weights. TVM lets LLVM
fuse products with sums (`emitter.exactly`), so that is one instruction wherever there is one. There is no im2col: the
loops run over the window, and the border of x holds zeros. The last tile of a row, and the last vector of channels, are
moved back where they would reach beyond: they overlap those before, and write the same values.

Exactly the channels of x are read, because what lies behind the last one may be NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    Register,
    broadcast,
    cast,
    constant,
    divided,
    integer,
    maximum,
    minimum,
    remainder,
    vector,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.float_expression import Expression, in_memory
from edgec.backends.tvm.kernels.float_math import FloatMath
from edgec.backends.tvm.storage import Steps

Strides = tuple[int, int, int, int]
"""Elements from one image, row, column, channel to the next; 0 where a value is the same for all."""

_MOST_VECTORS = 4
_MOST_PIXELS = 14
"""Of a tile."""

_WEIGHTS_COST, _INPUTS_COST = 0.5, 0.5
"""What loading a vector of weights, or an input, costs beside a product with it. Measured on AVX-512, roughly."""

_UNDER_WAY = 8
"""Products that have to be under way for the next one not to wait."""

_VECTORS_OF_A_PIXEL = 8
"""Of a tile of one pixel."""


@dataclass(frozen=True)
class Epilogue:
    """What is done with a result before it is stored. expression: its first operand is the result.
    others: strides of its other operands."""

    expression: Expression
    others: tuple[Strides, ...] = ()

    def pointers(self, emitter: Emitter) -> list[Pointer]:
        """A parameter for each other operand."""
        dtypes = self.expression.operands[1:]
        return [emitter.pointer(f"other{number}", in_memory(dtype)) for number, dtype in enumerate(dtypes)]

    def applied(
        self, functions: FloatMath, pointers: Sequence[Pointer], result: Expr, at: tuple[Expr, Expr, Expr, Expr]
    ) -> Expr:
        """The expression of a vector of results. at: image, row, column, channel of its first lane."""
        e, lanes, values = functions.emitter, functions.lanes, [functions.bind(result)]
        for pointer, steps in zip(pointers, self.others, strict=True):
            read = lanes if steps[3] else 1
            place = sum((place * step for place, step in zip(at, steps, strict=True) if step), integer(0))
            value = e.load(pointer, place, read)
            values.append(functions.bind(broadcast(value, lanes) if read < lanes else value, pointer.dtype))
        return self.expression.emit(functions, values)


@dataclass(frozen=True)
class Channels:
    """Output channels as vectors. size: how many elements may be written. lanes: of a vector, a power of 2 not above
    that. tiles: vectors of each tile."""

    size: int
    lanes: int
    tiles: tuple[int, ...]

    @classmethod
    def of(cls, size: int, lanes: int, most: int) -> Channels:
        """In as few tiles of at most `most` vectors as possible, all about as large."""
        while lanes > size:
            lanes //= 2
        vectors = -(-size // lanes)
        tiles = -(-vectors // most)
        base, more = divmod(vectors, tiles)
        return cls(size, lanes, (base + 1,) * more + (base,) * (tiles - more))

    @property
    def vectors(self) -> int:
        return sum(self.tiles)

    def first(self, vector: int) -> int:
        """The channel of a vector's first lane."""
        return min(vector * self.lanes, self.size - self.lanes)

    def first_of(self, vector: Expr) -> Expr:
        first = vector * self.lanes
        return minimum(first, integer(self.size - self.lanes)) if self.size % self.lanes else first

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Equal tiles that follow each other: their vectors, the number of the first, and how many there are."""
        for size in dict.fromkeys(self.tiles):
            yield size, self.tiles.index(size), self.tiles.count(size)

    def order(self) -> np.ndarray:
        """The channel of every lane: int64 [vectors, lanes]."""
        first = np.array([self.first(vector) for vector in range(self.vectors)])
        return first[:, None] + np.arange(self.lanes)


@dataclass(frozen=True)
class FloatDense:
    """images, rows, columns: of the result. x, y: from one of its pixels to the next, where the window starts and where
    the result goes. window: rows and columns of the kernel; taps: between those, in elements of x (image is 0).
    depth: input channels of a group. outputs: channels of a group's result. width: pixels of a tile. weights: their
    dtype in memory. groups: of channels that are multiplied with each other only; depth and outputs.size apart in x
    and y.
    """

    images: int
    rows: int
    columns: int
    x: Steps
    y: Steps
    window: tuple[int, int]
    taps: Steps
    depth: int
    outputs: Channels
    width: int
    epilogue: Epilogue
    weights: Literal["float32", "int8"] = "float32"
    groups: int = 1

    @property
    def family(self) -> str:
        label = self.epilogue.expression.label
        stored = "_int8_weights" if self.weights == "int8" else ""
        return f"float_dense_{self.window[0]}x{self.window[1]}{stored}" + (f"_{label}" if label else "")

    @property
    def units(self) -> int:
        """A unit is a tile: of a group, of channels, of pixels."""
        return self.groups * len(self.outputs.tiles) * self.positions

    @property
    def tiles_of_row(self) -> int:
        return -(-self.columns // self.width)

    @property
    def positions(self) -> int:
        """How many tiles of pixels there are."""
        return self.images * self.rows * self.tiles_of_row

    @property
    def products(self) -> int:
        """Products that are summed."""
        return self.window[0] * self.window[1] * self.depth

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, lanes = emitter, self.outputs.lanes
        sizes = (self.outputs.vectors * lanes, self.outputs.vectors * lanes * self.products)
        x = e.pointer("x", "float32")
        others = self.epilogue.pointers(e)
        constants, weights = e.pointer("constants", "float32"), e.pointer("weights", self.weights)
        y = e.pointer("y", in_memory(self.epilogue.expression.dtype))
        begin, end = e.scalar("begin"), e.scalar("end")
        with e.loop(begin, end) if self.groups > 1 else e.loop(0, 1) as unit_of_groups:
            if self.groups > 1:
                of_a_group = len(self.outputs.tiles) * self.positions
                group = e.bind(divided(unit_of_groups, of_a_group), "int32")
                inner = e.bind(remainder(unit_of_groups, of_a_group), "int32")
                first, last = inner, inner + 1
            else:
                group, first, last = integer(0), begin, end
            for size, number, count in self.outputs.runs():
                start, stop = number * self.positions, (number + count) * self.positions
                with e.loop(maximum(first, integer(start)), minimum(last, integer(stop))) as unit:
                    place = e.bind(unit - integer(start), "int32")
                    tile = divided(place, self.positions) if count > 1 else integer(0)
                    before = sum(self.outputs.tiles[:number])
                    number_of_vector = e.bind(integer(before) + tile * size, "int32")
                    position = e.bind(remainder(place, self.positions) if count > 1 else place, "int32")
                    code = _Tile(self, e, x, others, constants, weights, y, size, group, number_of_vector, sizes)
                    code.emit(position)


@dataclass
class _Tile:
    """The code of one register tile.

    vectors: of output channels; vector: number of the first one. sizes: of a group's biases and of its weights.
    """

    kernel: FloatDense
    emitter: Emitter
    x: Pointer
    others: Sequence[Pointer]
    constants: Pointer
    weights: Pointer
    y: Pointer
    vectors: int
    group: Expr
    vector: Expr
    sizes: tuple[int, int]

    def emit(self, position: Expr) -> None:
        """position: which pixels."""
        k, e = self.kernel, self.emitter
        row = e.bind(divided(position, k.tiles_of_row), "int32")
        column = remainder(position, k.tiles_of_row) * k.width
        if k.columns % k.width:
            column = minimum(column, integer(k.columns - k.width))
        self.image = divided(row, k.rows)
        self.row = remainder(row, k.rows) if k.images > 1 else row
        self.column = e.bind(column, "int32")
        self._results(self._sums())

    def _sums(self) -> list[list[Register]]:
        """Products of all of the window, [pixel][vector]."""
        k, e = self.kernel, self.emitter
        lanes, floats = k.outputs.lanes, vector("float32", k.outputs.lanes)
        biases, weights_of_group = self.sizes
        self.place = e.bind(self.group * biases + self.vector * lanes, "int32")
        zeros = [broadcast(constant(0.0, "float32"), lanes)] * self.vectors
        starts = zeros if k.weights == "int8" else self._constants(0)
        sums = [[e.register(lanes, "float32", value) for value in starts] for _ in range(k.width)]
        start = self._place(k.x) + self.group * k.depth
        start = e.bind(start, "int32")
        weights = self.group * weights_of_group + self.vector * (lanes * k.products)
        weights = e.bind(weights, "int32")
        with e.loop(0, k.window[0]) as i, e.loop(0, k.window[1]) as j, e.loop(0, k.depth) as channel:
            step = (i * k.window[1] + j) * k.depth + channel
            place = start + i * k.taps.row + j * k.taps.column + channel
            loaded = [self._factor(weights + (step * self.vectors + v) * lanes) for v in range(self.vectors)]
            for pixel, row in enumerate(sums):
                seen = e.bind(broadcast(e.load(self.x, place + pixel * k.x.column), lanes), floats)
                for total, factor in zip(row, loaded, strict=True):
                    total.set(total.get() + seen * factor)
        return sums

    def _factor(self, offset: Expr) -> Expr:
        """A vector of weights."""
        e, lanes = self.emitter, self.kernel.outputs.lanes
        stored = e.load(self.weights, offset, lanes)
        if self.kernel.weights == "float32":
            return e.bind(stored, vector("float32", lanes))
        return FloatMath(e, lanes).bind(cast(vector("float32", lanes), stored))

    def _constants(self, block: int) -> list[Expr]:
        """Of the tile's channels: their biases (block 0), their scales (1)."""
        k, e, lanes = self.kernel, self.emitter, self.kernel.outputs.lanes
        place = self.place + block * k.groups * self.sizes[0]
        return [
            e.bind(e.load(self.constants, place + v * lanes, lanes), vector("float32", lanes))
            for v in range(self.vectors)
        ]

    def _results(self, sums: Sequence[Sequence[Register]]) -> None:
        k, e = self.kernel, self.emitter
        lanes, functions = k.outputs.lanes, FloatMath(e, k.outputs.lanes)
        scaled = k.weights == "int8"
        biases, scales = (self._constants(0), self._constants(1)) if scaled else ([], [])
        for v in range(self.vectors):
            channel = k.outputs.first_of(self.vector + v)
            channel = e.bind(self.group * k.outputs.size + channel if k.groups > 1 else channel, "int32")
            place = e.bind(self._place(k.y) + channel, "int32")
            for pixel, row in enumerate(sums):
                at = (self.image, self.row, self.column + pixel, channel)
                total = row[v].get() * scales[v] + biases[v] if scaled else row[v].get()
                made = k.epilogue.applied(functions, self.others, total, at)
                e.store(self.y, place + pixel * k.y.column, made, lanes)

    def _place(self, steps: Steps) -> Expr:
        """Where the tile's first pixel is in a value."""
        place = self.row * steps.row + self.column * steps.column
        return place + self.image * steps.image if self.kernel.images > 1 else place


def tile_of(isa: InstructionSet, size: int, columns: int, pixels: int) -> tuple[Channels, int]:
    """Vectors of channels, and pixels of a tile, that cost least.

    m pixels and n vectors keep m * n sums, n vectors of weights and an input in registers. Of all such tiles, those
    whose last ones overlap others least come first; then weights should be loaded for many pixels (they come from the
    second-level cache) and inputs for many vectors.

    size: of the output channels. columns: of a row of results. pixels: of all of them.
    """
    if pixels == 1:
        return Channels.of(size, isa.lanes, _VECTORS_OF_A_PIXEL), 1
    # With 16 registers, LLVM loads an input ahead: a tile that leaves no place for it spills, and takes a third longer.
    spare = 1 if isa.registers >= 32 else 2
    found: list[tuple[float, Channels, int]] = []
    for most in range(1, _MOST_VECTORS + 1):
        channels = Channels.of(size, isa.lanes, most)
        vectors = max(channels.tiles)
        for width in range(1, min((isa.registers - spare - vectors) // vectors, _MOST_PIXELS, columns) + 1):
            again = -(-columns // width) * width / columns
            mean = channels.vectors / len(channels.tiles)
            waits = max(1.0, _UNDER_WAY / (width * mean))
            found.append((again * waits * (1 + _WEIGHTS_COST / width + _INPUTS_COST / mean), channels, width))
    _, channels, width = min(found, key=lambda item: item[0])
    return channels, width


def packed(weights: np.ndarray, outputs: Channels, groups: int = 1) -> bytes:
    """Weights float32 or int8 [O, K] as the kernel reads them: [group][tile][K][vector][lane]; 0 in lanes behind the
    last channel."""
    of_group, order = len(weights) // groups, outputs.order()
    there = order < of_group
    chosen, made = np.where(there, order, 0), []
    for group in range(groups):
        part = weights[group * of_group : (group + 1) * of_group]
        lanes = np.where(there[..., None], part[chosen], 0).astype(weights.dtype)  # [vectors, lanes, K]
        done = 0
        for tile in outputs.tiles:
            made.append(lanes[done : done + tile].transpose(2, 0, 1).tobytes())
            done += tile
    return b"".join(made)


def packed_constants(values: Sequence[np.ndarray], outputs: Channels, groups: int = 1) -> bytes:
    """Numbers of every output channel, float32 [O] each, as the kernel reads them: [group][vector][lane] of each."""
    made, order = [], outputs.order()
    for value in values:
        of_groups = value.reshape(groups, -1)
        there = order < of_groups.shape[1]
        made.append(np.where(there, of_groups[:, np.where(there, order, 0)], 0).astype(np.float32).tobytes())
    return b"".join(made)
