"""Convolutions of each channel for itself, on 8-bit integers: y[c] from x[c] and w[c, KH, KW].

The formulas are those of `dense.py`. The instruction for products adds up 4 neighbouring bytes, and here neighbouring
bytes are of different channels. So 4 columns of the window are interleaved first, as often as there are rows:

    column 0: a0 b0 c0 ...                   a0 a1 a2 a3 b0 b1 b2 b3 ...
    column 1: a1 b1 c1 ...    interleaved:
    ...

which costs 8 unpacking instructions for all channels of a vector, and serves every one of a few neighbouring results
whose window has one of these columns: each of them has weights of its own, shifted, with zeros for columns outside of
its window.

A vector of bytes holds that many channels, or where a pixel is shorter, some pixels that are neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    Register,
    broadcast,
    cast,
    divided,
    integer,
    maximum,
    minimum,
    reinterpret,
    remainder,
    shuffle,
)
from edgec.backends.tvm.isa.base import InstructionSet, Operand
from edgec.backends.tvm.kernels.base import HEADER, Fetching, Word, number, real_number, result_grid, steps_rounded
from edgec.backends.tvm.storage import Steps

Taps = tuple[int, int, int, int]
"""Which column of the window each of 4 interleaved columns is; -1 for one that is none."""

FETCHES = 16
"""Cache lines that a tile fetches ahead at most."""

_CACHED = 16 * 1024
"""Bytes of weights that stay in the first-level cache beside some rows of an image."""

_KEPT = 12
"""Vectors of weights that stay in registers from one tile to the next, if there are no more of them. LLVM would take
more out of the loop over tiles as well, and spill them (5x5: a quarter slower)."""


@dataclass(frozen=True)
class Window:
    """How the columns of `width` neighbouring results are shared.

    columns: positions in a row of x, counted from the tile's first, in fours; the last ones are repeated.
    products: (which four, which result, taps), in the order in which they are computed.
    """

    columns: tuple[int, ...]
    products: tuple[tuple[int, int, Taps], ...]

    @classmethod
    def of(cls, taps: int, step: int, dilation: int, width: int) -> Window:
        """Of windows of `taps` columns. step: columns of x from one result to the next."""
        wanted = sorted({result * step + tap * dilation for result in range(width) for tap in range(taps)})
        columns = wanted + [wanted[-1]] * (-len(wanted) % 4)
        products = []
        for four in range(len(columns) // 4):
            for result in range(width):
                seen = []
                for place in range(4 * four, 4 * four + 4):
                    tap, rest = divmod(columns[place] - result * step, dilation)
                    there = place < len(wanted) and not rest and 0 <= tap < taps
                    seen.append(tap if there else -1)
                if any(tap >= 0 for tap in seen):
                    products.append((four, result, (seen[0], seen[1], seen[2], seen[3])))
        return cls(tuple(columns), tuple(products))

    @property
    def patterns(self) -> list[Taps]:
        """All different taps: weights are stored once for each."""
        return sorted({taps for _, _, taps in self.products})


@dataclass(frozen=True)
class Depthwise:
    """images, rows, columns: of the result. x, y: from one of its pixels to the next, where the window starts and where
    the result goes. tap_row: between rows of the kernel, in bytes of x.

    vector: bytes of a vector. pixel: bytes of a pixel, of both values. pixels: how many of the result's pixels a vector
    holds, 1 where a pixel is as long as a vector or longer. window: of kernel_rows rows. width, height: results of a
    tile, in vectors, and its rows: neighbouring rows share weights, and most of what is interleaved.
    real: the result is float32, activation(float32(sum) * M); a pixel of it has as many elements as one of x has bytes.
    limited: an activation has narrower limits than the dtype. far: steps may be beyond int32. lowest: a weight may be
    -128. ahead: cache lines of constants that a tile fetches for a later layer, see `Fetching`.
    """

    images: int
    rows: int
    columns: int
    x: Steps
    y: Steps
    tap_row: int
    vector: int
    pixel: int
    pixels: int
    kernel_rows: int
    window: Window
    width: int
    height: int = 1
    real: bool = False
    limited: bool = False
    far: bool = False
    lowest: bool = True
    ahead: int = 0

    @property
    def family(self) -> str:
        return f"depthwise_{self.kernel_rows}_rows"

    @property
    def blocks(self) -> int:
        """How many vectors of channels a pixel has."""
        return len(blocks(self.pixel, self.vector))

    @property
    def tiles(self) -> int:
        """Of a row."""
        return -(-self.columns // (self.width * self.pixels))

    @property
    def units(self) -> int:
        """A unit is a row of tiles of a vector of channels."""
        return self.blocks * self.images * self.tiles_of_column

    @property
    def tiles_of_column(self) -> int:
        return -(-self.rows // self.height)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, lanes, size = emitter, isa.lanes, self.vector
        x = e.pointer("x", isa.stored)
        constants = e.pointer("constants", "int32")
        y = e.pointer("y", "float32" if self.real else isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        fetching = Fetching(e) if self.ahead else None
        reach = self.width * self.pixels
        scalars = HEADER + self.blocks * size
        weights = HEADER + 2 * self.blocks * size
        floats, rows = f"float32x{lanes}", self.images * self.tiles_of_column
        # Unknown to LLVM, so that what is added to it depends on the tile.
        nothing = number(e, constants, Word.NOTHING) if self.weights > _KEPT else integer(0)
        with e.loop(begin, end) as unit:
            if fetching:
                fetching.start(unit)
            of_block, of_row = (divided(unit, rows), remainder(unit, rows))
            if self.by_rows:
                of_block, of_row = remainder(unit, self.blocks), divided(unit, self.blocks)
            block, row_of_all = e.bind(of_block, "int32"), e.bind(of_row, "int32")
            image, row = divided(row_of_all, self.tiles_of_column), remainder(row_of_all, self.tiles_of_column)
            row = row * self.height
            if self.rows % self.height:
                row = minimum(row, integer(self.rows - self.height))
            row = e.bind(row, "int32")
            channel = (
                minimum(block * size, integer(blocks(self.pixel, self.vector)[-1])) if self.blocks > 1 else integer(0)
            )
            x_row = e.bind(image * self.x.image + row * self.x.row + channel, "int32")
            y_row = e.bind(image * self.y.image + row * self.y.row + channel, "int32")
            first = e.bind(block * size, "int32")
            table = e.bind(weights + block * (self.weights * isa.weight_words), "int32")
            factors = e.bind(integer(scalars) + first, "int32")
            with e.loop(0, self.tiles) as tile:
                if fetching:
                    for line in range(self.ahead):
                        fetching.fetch(tile * self.ahead + line)
                start = tile * reach
                if self.columns % reach:
                    start = minimum(start, integer(self.columns - reach))
                start = e.bind(start, "int32")
                bias = [e.load(constants, HEADER + first + v * lanes, lanes) for v in range(4)]
                bias = [e.bind(item, f"int32x{lanes}") for item in bias]
                sums = [
                    [[e.register(lanes, "int32", item) for item in bias] for _ in range(self.width)]
                    for _ in range(self.height)
                ]
                place = e.bind(x_row + start * self.x.column, "int32")
                self._products(e, isa, (x, constants), place, e.bind(table + tile * nothing, "int32"), sums)
                scales = [e.load(constants, factors + v * lanes, lanes) for v in range(4)]
                scales = [e.bind(reinterpret(floats, item), floats) for item in scales]
                grid = result_grid(e, constants, self.limited)
                for below, row_of_sums in enumerate(sums):
                    for result, group in enumerate(row_of_sums):
                        steps = [cast(floats, group[v].get()) * scales[v] for v in range(4)]
                        goes = y_row + below * self.y.row + (start + result * self.pixels) * self.y.column
                        if self.real:
                            self._real(e, isa, constants, steps, y, goes)
                            continue
                        rounded = [steps_rounded(e, isa, item, self.far) for item in steps]
                        isa.narrowed(e, rounded, grid, y, goes, min(self.pixels * self.pixel, size))

    def _real(
        self, e: Emitter, isa: InstructionSet, constants: Pointer, numbers: list[Expr], y: Pointer, goes: Expr
    ) -> None:
        """Store 4 vectors of float32: every 4 lanes are neighbours, wherever interleaving has put them."""
        lanes = isa.lanes
        low, high = (real_number(e, constants, word) for word in (Word.LOW, Word.HIGH))
        for positions, value in zip(isa.order(4).tolist(), numbers, strict=True):
            if self.limited:
                value = minimum(maximum(value, broadcast(low, lanes)), broadcast(high, lanes))
            value = e.bind(value, f"float32x{lanes}")
            for lane in range(0, lanes, 4):
                if positions[lane] < self.pixels * self.pixel:
                    e.store(y, goes + positions[lane], shuffle([value], range(lane, lane + 4)), 4)

    @property
    def by_rows(self) -> bool:
        """Whether all channels of a row come before the next row, whose window sees the same pixels while they are in
        the first-level cache. Else all rows of some channels come first: their weights are too many to be read again
        for every row."""
        return self.blocks * self.weights * self.vector <= _CACHED

    @property
    def weights(self) -> int:
        """Vectors of weights of a block of channels."""
        return self.kernel_rows * len(self.window.patterns) * 4

    def _products(
        self, e: Emitter, isa: InstructionSet, operands: tuple[Pointer, Pointer], place: Expr, table: Expr,
        sums: list[list[list[Register]]],
    ) -> None:  # fmt: skip
        """All products of a tile. Each vector of weights is read once, and each row of x interleaved once."""
        x, constants = operands
        patterns = self.window.patterns
        mixed: dict[tuple[int, int], list[Operand]] = {}

        def interleaved(row: int, four: int) -> list[Operand]:
            """Of the row so many bytes behind the tile's first one."""
            if (row, four) not in mixed:
                positions = self.window.columns[4 * four : 4 * four + 4]
                columns = {
                    at: e.bind(e.load(x, place + (row + at * self.pixel), self.vector), f"{isa.stored}x{self.vector}")
                    for at in dict.fromkeys(positions)
                }
                mixed[row, four] = isa.interleaved(e, [columns[at] for at in positions])
            return mixed[row, four]

        for i in range(self.kernel_rows):
            for four in range(len(self.window.columns) // 4):
                for taps in patterns:
                    results = [item for which, item, seen in self.window.products if (which, seen) == (four, taps)]
                    if not results:
                        continue
                    offset = table + (i * len(patterns) + patterns.index(taps)) * (4 * isa.weight_words)
                    rows = [interleaved(below * self.x.row + i * self.tap_row, four) for below in range(self.height)]
                    for v in range(4):
                        factor = isa.weights(e, constants, offset + v * isa.weight_words)
                        for below, row in enumerate(rows):
                            for result in results:
                                total = sums[below][result][v]
                                total.set(isa.dot(total.get(), row[v], factor, lowest=self.lowest))


def blocks(pixel: int, size: int) -> list[int]:
    """The first channel of each vector of `size` channels. The last one overlaps where they do not divide evenly."""
    return [min(channel, max(pixel - size, 0)) for channel in range(0, pixel, size)]


def packed(weights: np.ndarray, kernel: Depthwise, isa: InstructionSet) -> tuple[np.ndarray, np.ndarray]:
    """Weights int8 [C, KH, KW] as the kernel reads them, and the channel in each lane.

    Weights: [block][KH][pattern][vector][weight_words]; channels: int64, -1 where there is none.
    """
    starts = np.array(blocks(kernel.pixel, kernel.vector))
    lanes = starts[:, None] + isa.order(4).reshape(-1)
    if kernel.pixels > 1:
        lanes = lanes % kernel.pixel
    channels = np.where(lanes < len(weights), lanes, -1)
    # A column and a channel of zeros, for taps and channels that are none: both are found at -1.
    wide = np.pad(weights, ((0, 1), (0, 0), (0, 1)))
    taps = np.array(kernel.window.patterns)
    made = wide[channels][:, :, :, taps]  # [block, lane, KH, pattern, 4]
    made = made.transpose(0, 2, 3, 1, 4)
    vectors = made.reshape(*made.shape[:3], 4, isa.lanes, 4)
    return isa.packed(vectors).reshape(-1), channels.reshape(-1)
