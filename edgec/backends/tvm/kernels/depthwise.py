"""Convolutions of each channel for itself, on 8-bit integers: y[c] from x[c] and w[c, KH, KW].

The formulas are those of `dense.py`. The instruction for products adds up 4 neighbouring bytes, and here neighbouring
bytes are of different channels. So 4 columns of the window are interleaved first, as often as there are rows:

    column 0: a0 b0 c0 ...                   a0 a1 a2 a3 b0 b1 b2 b3 ...
    column 1: a1 b1 c1 ...    interleaved:
    ...

which costs 8 unpacking instructions for all channels of a vector, and serves every one of a few neighbouring results
whose window has one of these columns: each of them has weights of its own, shifted, with zeros for columns outside of
its window. Four rows can be interleaved as well as four columns (`Form`).

Processors without such an instruction multiply each channel by itself: two products of int8 are added up in 16 bits,
and then widened. That needs no interleaving, and no zeros.

A vector of bytes holds that many channels, or some pixels that are neighbours and begin anywhere within a vector: their
bytes follow each other, and those of the same tap of the window do so too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import gcd
from typing import Literal

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

Form = Literal["columns", "rows", "apart"]
"""Which 4 pixels are interleaved: neighbours in a row, or in a column; or none, and each channel is multiplied by
itself (`InstructionSet.apart`)."""

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
        rest = wanted[len(wanted) // 4 * 4 :]
        # The last four's others are multiplied by zeros: those that cost the least to interleave.
        filled = {0: rest, 1: rest * 4, 2: rest * 2, 3: [*rest, *rest[-1:]]}[len(rest)]
        columns = [*wanted[: len(wanted) - len(rest)], *filled]
        products = []
        for four in range(len(columns) // 4):
            for result in range(width):
                seen = []
                for place in range(4 * four, 4 * four + 4):
                    tap, beside = divmod(columns[place] - result * step, dilation)
                    there = place < len(wanted) and not beside and 0 <= tap < taps
                    seen.append(tap if there else -1)
                if any(tap >= 0 for tap in seen):
                    products.append((four, result, (seen[0], seen[1], seen[2], seen[3])))
        return cls(tuple(columns), tuple(products))

    @property
    def patterns(self) -> list[Taps]:
        """All different taps: weights are stored once for each."""
        return sorted({taps for _, _, taps in self.products})


@dataclass(frozen=True)
class Axis:
    """One direction of a tile: how many neighbouring results it has, taps of the window, and bytes of x from a result's
    window to the next one's, and from a tap to the next."""

    results: int
    taps: int
    step: int
    tap: int

    @property
    def unit(self) -> int:
        """Bytes that all positions are multiples of."""
        return gcd(self.step, self.tap)

    @property
    def positions(self) -> list[int]:
        """Bytes from the first tap of the first result to every one that a result sees, each once."""
        places = product(range(self.results), range(self.taps))
        return sorted({result * self.step + tap * self.tap for result, tap in places})

    @property
    def window(self) -> Window:
        """How the results share what is interleaved along this direction. Positions are in units."""
        return Window.of(self.taps, self.step // self.unit, self.tap // self.unit, self.results)


@dataclass(frozen=True)
class Depthwise:
    """images, rows, columns: of the result. x, y: from one of its pixels to the next, where the window starts and where
    the result goes. window: rows and columns of the kernel. taps: between those, in bytes of x (image is 0).

    vector: bytes of a vector. pixel: bytes of a pixel, of both values. pixels: how many neighbouring pixels of the
    result are taken for one: their bytes in a row fill vectors better (`depthwise_tiles.pixels_together`). form: see
    `Form`. width, height: of a tile, in such pixels, and its rows.
    real: the result is float32, activation(float32(sum) * M); a pixel of it has as many elements as one of x has bytes.
    limited: an activation has narrower limits than the dtype. far: steps may be beyond int32. lowest: a weight may be
    -128. ahead: cache lines of constants that a tile fetches for a later layer, see `Fetching`.
    """

    images: int
    rows: int
    columns: int
    x: Steps
    y: Steps
    window: tuple[int, int]
    taps: Steps
    vector: int
    pixel: int
    pixels: int = 1
    form: Form = "columns"
    width: int = 1
    height: int = 1
    real: bool = False
    limited: bool = False
    far: bool = False
    lowest: bool = True
    ahead: int = 0

    @property
    def family(self) -> str:
        return f"depthwise_{self.window[0]}_rows"

    @property
    def blocks(self) -> int:
        """How many vectors of channels a pixel has, or all pixels that are taken for one."""
        return len(self.starts)

    @property
    def starts(self) -> list[int]:
        """The first channel of each vector. The last one overlaps where they do not divide evenly."""
        span = self.pixels * self.pixel
        return [min(channel, max(span - self.vector, 0)) for channel in range(0, span, self.vector)]

    @property
    def tiles(self) -> int:
        """Of a row."""
        return -(-self.columns // (self.width * self.pixels))

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """Down and across."""
        return (
            Axis(self.height, self.window[0], self.x.row, self.taps.row),
            Axis(self.width, self.window[1], self.x.column * self.pixels, self.taps.column),
        )

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
            channel = minimum(block * size, integer(self.starts[-1])) if self.blocks > 1 else integer(0)
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
        rows, columns = self.window
        if self.form == "apart":
            return rows * columns
        along, over = self.directions
        return over.taps * len(along.window.patterns) * 4

    def constants(self, isa: InstructionSet) -> int:
        """Bytes of its block of constants: the header, biases and factors, and weights, see `packed`."""
        return 4 * (HEADER + self.blocks * (2 * self.vector + self.weights * isa.weight_words))

    @property
    def directions(self) -> tuple[Axis, Axis]:
        """That which is interleaved, and the other."""
        down, across = self.axes
        return (down, across) if self.form == "rows" else (across, down)

    def _products(
        self, e: Emitter, isa: InstructionSet, operands: tuple[Pointer, Pointer], place: Expr, table: Expr,
        sums: list[list[list[Register]]],
    ) -> None:  # fmt: skip
        """All products of a tile."""
        if self.form == "apart":
            self._apart(e, isa, operands, place, table, sums)
        else:
            self._interleaved(e, isa, operands, place, table, sums)

    def _interleaved(
        self, e: Emitter, isa: InstructionSet, operands: tuple[Pointer, Pointer], place: Expr, table: Expr,
        sums: list[list[list[Register]]],
    ) -> None:  # fmt: skip
        """Each vector of weights is read once, and each four of x interleaved once."""
        x, constants = operands
        along, over = self.directions
        window, patterns = along.window, along.window.patterns
        mixed: dict[tuple[int, int], list[Operand]] = {}

        def interleaved(behind: int, four: int) -> list[Operand]:
            """At so many bytes behind the tile's first ones, in the other direction."""
            if (behind, four) not in mixed:
                positions = window.columns[4 * four : 4 * four + 4]
                read = {
                    at: e.bind(
                        e.load(x, place + (behind + at * along.unit), self.vector), f"{isa.stored}x{self.vector}"
                    )
                    for at in dict.fromkeys(positions)
                }
                mixed[behind, four] = isa.interleaved(e, [read[at] for at in positions])
            return mixed[behind, four]

        # Fours first: so fewer that are interleaved are kept for the next results.
        for four, tap in product(range(len(window.columns) // 4), range(over.taps)):
            for taps in patterns:
                results = [item for which, item, seen in window.products if (which, seen) == (four, taps)]
                if not results:
                    continue
                offset = table + (tap * len(patterns) + patterns.index(taps)) * (4 * isa.weight_words)
                used = tuple(column >= 0 for column in taps)
                seen = [interleaved(other * over.step + tap * over.tap, four) for other in range(over.results)]
                for v in range(4):
                    factor = isa.weights(e, constants, offset + v * isa.weight_words)
                    for other, activations in enumerate(seen):
                        for result in results:
                            total = (sums[result][other] if self.form == "rows" else sums[other][result])[v]
                            total.set(isa.dot(total.get(), activations[v], factor, lowest=self.lowest, used=used))

    def _apart(
        self, e: Emitter, isa: InstructionSet, operands: tuple[Pointer, Pointer], place: Expr, table: Expr,
        sums: list[list[list[Register]]],
    ) -> None:  # fmt: skip
        """Channel by channel, two taps at once."""
        x, constants = operands
        assert isa.apart is not None
        down, across = self.axes
        dtype, words = f"{isa.stored}x{self.vector}", self.vector // 4
        read: dict[int, Expr] = {}

        def activations(behind: int) -> Expr:
            if behind not in read:
                read[behind] = e.bind(e.load(x, place + behind, self.vector), dtype)
            return read[behind]

        taps = [(row, column) for row in range(down.taps) for column in range(across.taps)]
        together = 1 if self.lowest else 2
        for first in range(0, len(taps), together):
            chosen = taps[first : first + together]
            factors = [
                e.bind(reinterpret(dtype, e.load(constants, table + (first + at) * words, words)), dtype)
                for at in range(len(chosen))
            ]
            for below, row_of_sums in enumerate(sums):
                for result, group in enumerate(row_of_sums):
                    pairs = [
                        (
                            activations(
                                below * down.step + row * down.tap + result * across.step + column * across.tap
                            ),
                            w,
                        )
                        for (row, column), w in zip(chosen, factors, strict=True)
                    ]
                    for total, value in zip(group, isa.apart(e, [item.get() for item in group], pairs), strict=True):
                        total.set(value)


def packed(weights: np.ndarray, kernel: Depthwise, isa: InstructionSet) -> tuple[np.ndarray, np.ndarray]:
    """Weights int8 [C, KH, KW] as the kernel reads them, and the channel in each lane.

    Weights: [block][tap of the other direction][pattern][vector][weight_words], or where they are apart
    [block][KH][KW][lane]; channels: int64, -1 where there is none.
    """
    lanes = np.array(kernel.starts)[:, None] + isa.order(4).reshape(-1)
    if kernel.pixels > 1:
        lanes = lanes % kernel.pixel
    channels = np.where(lanes < len(weights), lanes, -1)
    # A column and a channel of zeros, for taps and channels that are none: both are found at -1.
    if kernel.form == "apart":
        made = np.pad(weights, ((0, 1), (0, 0), (0, 0)))[channels]  # [block, lane, KH, KW]
        return np.ascontiguousarray(made.transpose(0, 2, 3, 1)).reshape(-1).view(np.int32), channels.reshape(-1)
    along, _ = kernel.directions
    turned = weights.swapaxes(1, 2) if kernel.form == "rows" else weights
    wide = np.pad(turned, ((0, 1), (0, 0), (0, 1)))
    taps = np.array(along.window.patterns)
    made = wide[channels][:, :, :, taps]  # [block, lane, other direction, pattern, 4]
    made = made.transpose(0, 2, 3, 1, 4)
    vectors = made.reshape(*made.shape[:3], 4, isa.lanes, 4)
    return isa.packed(vectors).reshape(-1), channels.reshape(-1)
