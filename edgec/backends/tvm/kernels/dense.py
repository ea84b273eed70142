"""Convolutions of all channels with all, and fully-connected layers, on 8-bit integers.

    sum[o] = bias'[o] + sum over the window of stored(x) * w[o],   bias'[o] = bias[o] - stored(zx) * sum over w[o]
    y[o] = clamp(round(float32(sum[o]) * M[o]) + zy)

which is `edgec.ir.reference.products` to the bit: sums wrap around at 32 bits in any order, and stored(x) - stored(zx)
is x - zx. The border of x holds its zero point.

The work is cut into tiles of `width` neighbouring pixels and some vectors of output channels, whose sums stay in
registers; for every 4 input channels, each pixel's 4 bytes are multiplied with a vector of weights. There is no im2col:
the loops run over the window. The last tile of a row is moved to the left where it would reach beyond.

A sum with another value (a residual connection) may follow in the same pass:

    y = clamp(round((real(product) + real(other)) / sy) + zy),   real(q) = float32(q - z) * s

with the product rounded to its own grid before, as two operations would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    Register,
    broadcast,
    cast,
    divided,
    exactly,
    integer,
    maximum,
    minimum,
    reinterpret,
    remainder,
    shuffle,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import (
    HEADER,
    Fetching,
    Word,
    number,
    real_number,
    real_of,
    result_grid,
    steps_rounded,
)
from edgec.backends.tvm.storage import Steps, vector_pixel

Tile = tuple[int, ...]
"""Vectors of output channels of one tile, in groups that are stored together."""


@dataclass(frozen=True)
class Dense:
    """images, rows, columns: of the result. x, y: from one of its pixels to the next, where the window starts and where
    the result goes. window: rows and columns of the kernel; taps: between those, in bytes of x (image is 0).
    words: input channels / 4. tiles: of all output channels. width: pixels of a tile.
    other: steps of the value that is added; None where none is.
    offsets: each tile reads channels of its own, of a convolution with groups: where they begin, in bytes from the
    pixel's first, are words behind the weights. block: int32 words from the constants of a row of an image to those of
    the next row, where each has its own. starts: an operand of int32, one for each pixel, that sums begin with.
    real: elements of a pixel of the result where that is float32, activation(float32(sum) * M), and on no grid; else 0.
    wrap: pixels of a row of the result and of what is added, where x is one long row (of one image) and they are not;
    else 0.
    limited: an activation has narrower limits than the dtype. far: steps may be beyond int32. lowest: a weight may be
    -128. ahead: fetches constants for a later layer, see `Fetching`.
    """

    images: int
    rows: int
    columns: int
    x: Steps
    y: Steps
    window: tuple[int, int]
    taps: Steps
    words: int
    tiles: tuple[Tile, ...]
    width: int
    other: Steps | None = None
    offsets: bool = False
    block: int = 0
    starts: bool = False
    real: int = 0
    wrap: int = 0
    limited: bool = False
    far: bool = False
    lowest: bool = True
    ahead: bool = False

    @property
    def family(self) -> str:
        return f"dense_{self.window[0]}x{self.window[1]}" + ("_add" if self.other else "")

    @property
    def units(self) -> int:
        return len(self.tiles) * self.positions

    @property
    def fetches(self) -> int:
        """How many cache lines a unit can fetch: one for each step of its loop."""
        return self.window[0] * self.window[1] * self.words

    @property
    def tiles_of_row(self) -> int:
        return -(-self.columns // self.width)

    @property
    def positions(self) -> int:
        """How many tiles of pixels there are."""
        return self.images * self.rows * self.tiles_of_row

    @property
    def vectors(self) -> int:
        return sum(sum(tile) for tile in self.tiles)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        x = emitter.pointer("x", isa.stored)
        other = emitter.pointer("other", isa.stored) if self.other else None
        begins = emitter.pointer("starts", "int32") if self.starts else None
        constants = emitter.pointer("constants", "int32")
        y = emitter.pointer("y", "float32" if self.real else isa.stored)
        begin, end = emitter.scalar("begin"), emitter.scalar("end")
        fetching = Fetching(emitter) if self.ahead else None
        for tile, first, count in _runs(self.tiles, self.real // isa.lanes if self.real else self.vectors):
            start, stop = first * self.positions, (first + count) * self.positions
            before = sum(sum(t) for t in self.tiles[:first])
            with emitter.loop(maximum(begin, integer(start)), minimum(end, integer(stop))) as unit:
                if fetching:
                    fetching.start(unit)
                place = emitter.bind(unit - integer(start), "int32")
                number_of_tile = divided(place, self.positions) if count > 1 else integer(0)
                vector = emitter.bind(integer(before) + number_of_tile * sum(tile), "int32")
                position = emitter.bind(remainder(place, self.positions) if count > 1 else place, "int32")
                beyond = self.real and (before + count * sum(tile)) * isa.lanes > self.real
                left = self.real - before * isa.lanes if beyond else None
                made = _Tile(self, emitter, isa, x, other, begins, constants, y, fetching, left)
                made.emit(tile, vector, position, integer(first) + number_of_tile)


@dataclass
class _Tile:
    """The code of one register tile."""

    kernel: Dense
    emitter: Emitter
    isa: InstructionSet
    x: Pointer
    other: Pointer | None
    begins: Pointer | None
    constants: Pointer
    y: Pointer
    fetching: Fetching | None
    left: int | None
    """Elements of the pixel from this tile on, where it reaches beyond."""

    def emit(self, tile: Tile, vector: Expr, position: Expr, number: Expr) -> None:
        """tile: groups. vector: the first one's number among all vectors. position: which pixels. number: which tile
        of channels."""
        k, e = self.kernel, self.emitter
        row = e.bind(divided(position, k.tiles_of_row), "int32")
        column = remainder(position, k.tiles_of_row) * k.width
        if k.columns % k.width:
            column = minimum(column, integer(k.columns - k.width))
        self.image, self.row = divided(row, k.rows), remainder(row, k.rows) if k.images > 1 else row
        self.column = e.bind(column, "int32")
        # Where this row's constants begin, and this tile's channels.
        self.block = e.bind(row * k.block, "int32") if k.block else integer(0)
        self.channel = integer(0)
        if k.offsets:
            window = k.window[0] * k.window[1] * k.words
            behind = HEADER + k.vectors * (2 * self.isa.lanes + window * self.isa.weight_words)
            self.channel = e.load(self.constants, behind + number)
        sums = self._sums(sum(tile), vector)
        self._results(tile, vector, sums)

    def _sums(self, vectors: int, vector: Expr) -> list[list[Register]]:
        """Products of all of the window, [pixel][vector]."""
        k, e, isa = self.kernel, self.emitter, self.isa
        lanes = isa.lanes
        bias = [
            e.bind(e.load(self.constants, self.block + HEADER + (vector + v) * lanes, lanes), f"int32x{lanes}")
            for v in range(vectors)
        ]
        sums = [[e.register(lanes, "int32", value) for value in row] for row in self._starts(bias)]
        start = e.bind(self._place(k.x) + self.channel, "int32")
        window = k.window[0] * k.window[1] * k.words
        behind = HEADER + 2 * k.vectors * lanes
        weights = e.bind(self.block + behind + vector * (window * isa.weight_words), "int32")
        words = next(count for count in isa.words if k.words % count == 0)
        with e.loop(0, k.window[0]) as i, e.loop(0, k.window[1]) as j, e.loop(0, k.words // words) as part:
            step = (i * k.window[1] + j) * k.words + part * words
            if self.fetching:
                self.fetching.fetch(step)
            place = start + i * k.taps.row + j * k.taps.column + part * (4 * words)
            seen = [isa.repeated(e, self.x, place + pixel * k.x.column, words) for pixel in range(k.width)]
            for word in range(words):
                first = weights + (step + word) * (vectors * isa.weight_words)
                loaded = [isa.weights(e, self.constants, first + v * isa.weight_words) for v in range(vectors)]
                for activations, row in zip(seen, sums, strict=True):
                    for total, factor in zip(row, loaded, strict=True):
                        total.set(isa.dot(total.get(), activations[word], factor, lowest=k.lowest))
        return sums

    def _starts(self, bias: Sequence[Expr]) -> list[list[Expr]]:
        """What sums begin with, [pixel][vector]."""
        k, e, lanes = self.kernel, self.emitter, self.isa.lanes
        if self.begins is None:
            return [list(bias)] * k.width
        first = (self.image * k.rows + self.row) * k.columns + self.column
        begins = [broadcast(e.load(self.begins, first + pixel), lanes) for pixel in range(k.width)]
        return [[value + begin for value in bias] for begin in begins]

    def _results(self, tile: Tile, vector: Expr, sums: Sequence[Sequence[Register]]) -> None:
        k, e, isa = self.kernel, self.emitter, self.isa
        lanes, done = isa.lanes, 0
        floats = f"float32x{lanes}"
        first = vector * lanes
        for group in tile:
            offset = self.block + HEADER + k.vectors * lanes + (vector + done) * lanes
            factors = [
                e.bind(reinterpret(floats, e.load(self.constants, offset + v * lanes, lanes)), floats)
                for v in range(group)
            ]
            grid = result_grid(e, self.constants, k.limited)
            for pixels in self._together(tile):
                rounded: list[Expr] = []
                for pixel in pixels:
                    row = sums[pixel]
                    steps = [cast(floats, row[done + v].get()) * factors[v] for v in range(group)]
                    if k.real:
                        self._real(steps, self._pixel(k.y, pixel) + first, done)
                        continue
                    found = [steps_rounded(e, isa, item, k.far) for item in steps]
                    if k.other:
                        found = self._with_other(found, self._pixel(k.other, pixel) + first + done * lanes)
                    rounded += found
                if rounded:
                    place = self._pixel(k.y, pixels[0]) + first + done * lanes
                    isa.narrowed(e, rounded, grid, self.y, place, pixels=len(pixels))
            done += group

    def _together(self, tile: Tile) -> list[list[int]]:
        """The tile's pixels, in groups that are stored at once: several where they are shorter than the longest group
        of vectors and lie side by side."""
        k = self.kernel
        beside = k.y.column == sum(tile) * self.isa.lanes and not k.real and not k.wrap and len(tile) == 1
        sizes, made = [size for size in (4, 2, 1) if beside and size >= tile[0]], list[list[int]]()
        while (done := sum(map(len, made))) < k.width:
            size = next((size // tile[0] for size in sizes if size // tile[0] <= k.width - done), 1)
            made.append(list(range(done, done + size)))
        return made

    def _real(self, numbers: Sequence[Expr], place: Expr, done: int) -> None:
        """Store a group of vectors of float32, in order: `done` of the tile's are stored already."""
        e, lanes = self.emitter, self.isa.lanes
        for v, value in enumerate(numbers, done):
            if self.kernel.limited:
                low, high = (real_number(e, self.constants, word) for word in (Word.LOW, Word.HIGH))
                value = minimum(maximum(value, broadcast(low, lanes)), broadcast(high, lanes))
            size = lanes if self.left is None else min(lanes, self.left - v * lanes)
            if size == lanes:
                e.store(self.y, place + v * lanes, value, lanes)
            elif size > 0:  # the next pixel begins there
                value = e.bind(value, f"float32x{lanes}")
                e.store(self.y, place + v * lanes, shuffle([value], range(size)), size)

    def _with_other(self, products: Sequence[Expr], place: Expr) -> list[Expr]:
        """round((real(product) + real(other)) / sy) of a group of vectors."""
        e, isa, constants = self.emitter, self.isa, self.constants
        assert self.other is not None
        floats = f"float32x{isa.lanes}"

        def spread(word: Word) -> Expr:
            return broadcast(number(e, constants, word), isa.lanes)

        def scale(word: Word) -> Expr:
            return broadcast(real_number(e, constants, word), isa.lanes)

        made = []
        others = isa.loaded(e, self.other, place, len(products))
        for product, other in zip(products, others, strict=True):
            limited = minimum(maximum(product, spread(Word.INNER_LOW)), spread(Word.INNER_HIGH))
            a = exactly(floats, cast(floats, limited) * scale(Word.A_SCALE))
            zero_point, factor = number(e, constants, Word.B_ZERO_POINT), real_number(e, constants, Word.B_SCALE)
            b = exactly(floats, real_of(isa, other, zero_point, factor))
            made.append(steps_rounded(e, isa, (a + b) / scale(Word.SCALE), self.kernel.far))
        return made

    def _pixel(self, steps: Steps, pixel: int) -> Expr:
        """Where a pixel of the tile is in the result, or in what is added."""
        if not self.kernel.wrap:
            return self._place(steps) + pixel * steps.column
        at = self.column + pixel
        row, column = divided(at, self.kernel.wrap), remainder(at, self.kernel.wrap)
        return self.emitter.bind(row * steps.row + column * steps.column, "int32")

    def _place(self, steps: Steps) -> Expr:
        """Where the tile's first pixel is in a value."""
        place = self.row * steps.row + self.column * steps.column
        return place + self.image * steps.image if self.kernel.images > 1 else place


def _runs(tiles: Sequence[Tile], whole: int) -> Iterator[tuple[Tile, int, int]]:
    """Equal tiles that follow each other: the tile, the number of the first one, and how many there are.

    whole: vectors that a pixel of the result has in full. Tiles that reach beyond are apart, each by itself.
    """
    first, ends = 0, np.cumsum([sum(tile) for tile in tiles])
    marked = ((tile, at if end > whole else -1) for at, (tile, end) in enumerate(zip(tiles, ends, strict=True)))
    for (tile, _), equal in groupby(marked):
        count = len(list(equal))
        yield tile, first, count
        first += count


def vectors_of(channels: int, lanes: int) -> int:
    """How many vectors of sums a pixel has: its bytes are a multiple of 16, see `storage.py`."""
    return vector_pixel(channels) // lanes


def channel_tiles(channels: int, lanes: int, most: int) -> tuple[Tile, ...]:
    """All output channels in tiles of at most `most` vectors, each in groups of 4, 2 and 1."""
    vectors, tiles = vectors_of(channels, lanes), []
    while vectors:
        count = min(most, vectors)
        vectors -= count
        tile: list[int] = []
        while count:
            size = next(size for size in (4, 2, 1) if size <= count)
            tile.append(size)
            count -= size
        tiles.append(tuple(tile))
    return tuple(tiles)


def packed(
    weights: np.ndarray, tiles: Sequence[Tile], isa: InstructionSet, real: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Weights int8 [O, K] (K a multiple of 4) as the kernel reads them, and the output channel in each lane.

    real: of a kernel whose result is float32: nothing is narrowed, so channels stay in order.

    Weights: [tile][K / 4][vector][weight_words]; channels: int64, -1 where there is none.
    """
    outputs, depth = weights.shape
    order, start = [], 0
    for group in (group for tile in tiles for group in tile):
        order.append(start + (np.arange(group * isa.lanes) if real else isa.order(group).reshape(-1)))
        start += group * isa.lanes
    lanes = np.concatenate(order)
    channels = np.where(lanes < outputs, lanes, -1)
    chosen = np.where((channels >= 0)[:, None], weights[channels], 0).astype(np.int8)
    made, done = [], 0
    for tile in tiles:
        vectors = sum(tile)
        part = chosen[done : done + vectors * isa.lanes]
        made.append(isa.packed(part.reshape(vectors, isa.lanes, depth // 4, 4).transpose(2, 0, 1, 3)).reshape(-1))
        done += vectors * isa.lanes
    return np.concatenate(made), channels
