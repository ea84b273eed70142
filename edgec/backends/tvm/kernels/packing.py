"""What a product of two activations needs before it: one operand packed as weights are, and sums of the other's rows.

With (za, zb) of a and b as they are stored, b being taken as int8, and K products for each sum:

    sum[m, n] = sum over k of (a[m, k] - za) * (b[k, n] - zb)
              = sum of a * b  +  (K * za * zb - za * sum over k of b[k, n])  -  zb * sum over k of a[m, k]
                                 `Pack`'s bias                                   `RowSums`

so that the dense kernel computes the products as those of a layer whose weights come late. All of it wraps around at 32
bits, in any order.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    Pointer,
    broadcast,
    divided,
    integer,
    minimum,
    reinterpret,
    remainder,
    shuffle,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import HEADER, Word, number
from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.dense import Tile
from edgec.backends.tvm.kernels.lanes import channel_sum

_SIGNS = -0x7F7F7F80
"""Of 4 bytes: uint8 less 128 is int8 with the other sign."""

_PLACES = 2  # words that say where a vector's weights go: the first one, and from one step of k to the next


@dataclass(frozen=True)
class Pack:
    """b [..., N, K] to blocks of constants of `dense.Dense`, one for each index of the leading dimensions.

    leading: of the result, with distances in b. depth: K. tiles: of N. real: for a result in float32, see `Dense`.
    Rows of b lie where a table says:

        constants: [header][multiplier of each lane][row of b for each lane, in bytes][place of each vector's weights]
    """

    leading: Box
    depth: int
    tiles: tuple[Tile, ...]
    real: bool = False

    @property
    def family(self) -> str:
        return "pack"

    @property
    def vectors(self) -> int:
        return sum(sum(tile) for tile in self.tiles)

    @property
    def blocks(self) -> int:
        return self.leading.count

    @property
    def units(self) -> int:
        """A unit is a vector."""
        return self.blocks * self.vectors

    @property
    def words(self) -> int:
        """Fours of k."""
        return -(-self.depth // 4)

    def block(self, isa: InstructionSet) -> int:
        """int32 words of a block."""
        return HEADER + self.vectors * (2 * isa.lanes + self.words * isa.weight_words)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, lanes = emitter, isa.lanes
        b, constants, y = e.pointer("b", isa.stored), e.pointer("constants", "int32"), e.pointer("y", "int32")
        begin, end = e.scalar("begin"), e.scalar("end")
        with e.loop(begin, end) as unit:
            number_of_block, vector = divided(unit, self.vectors), e.bind(remainder(unit, self.vectors), "int32")
            block = e.bind(number_of_block * self.block(isa), "int32")
            (source,) = self.leading.at(e, number_of_block)
            with e.loop(minimum(vector, integer(1)), 1), e.loop(0, HEADER) as word:  # by the block's first unit
                e.store(y, block + word, e.load(constants, word))
            lane = e.bind(vector * lanes, "int32")
            rows = integer(HEADER + self.vectors * lanes) + lane
            places = [e.bind(source + e.load(constants, rows + at), "int32") for at in range(lanes)]
            at_place = integer(HEADER + 2 * self.vectors * lanes) + vector * _PLACES
            goes = e.bind(block + e.load(constants, at_place), "int32")
            step = e.bind(e.load(constants, at_place + 1), "int32")
            sums = e.register(lanes, "int32", broadcast(integer(0), lanes))
            whole, rest = divmod(self.depth, 4)
            for first, last, kept in ((0, whole, -1), (whole, whole + (rest > 0), (1 << 8 * rest) - 1)):
                with e.loop(first, last) as word:
                    packed = self._word(e, isa, b, places, word, kept)
                    sums.set(sums.get() + _bytes_added(packed, lanes))
                    for part, item in enumerate(isa.repacked(e, packed)):
                        e.store(y, goes + word * step + part * lanes, item, lanes)
            za, zb = (number(e, constants, word) for word in (Word.A_ZERO_POINT, Word.B_ZERO_POINT))
            bias = broadcast(za * zb * integer(self.depth), lanes) - broadcast(za, lanes) * sums.get()
            e.store(y, block + HEADER + lane, bias, lanes)
            factors = e.load(constants, HEADER + lane, lanes)
            e.store(y, block + (HEADER + self.vectors * lanes) + lane, factors, lanes)

    def _word(self, e: Emitter, isa: InstructionSet, b: Pointer, places: list[Expr], word: Expr, kept: int) -> Expr:
        """4 neighbours of each lane's row, int8. kept: a mask of those that are there."""
        lanes = isa.lanes
        loaded = [reinterpret("int32", e.load(b, place + word * 4, 4)) for place in places]
        made = shuffle(loaded, range(lanes))
        if isa.stored == "uint8":
            made = made ^ broadcast(integer(_SIGNS), lanes)
        if kept != -1:
            made = made & broadcast(integer(kept), lanes)
        return e.bind(made, f"int32x{lanes}")


def _bytes_added(words: Expr, lanes: int) -> Expr:
    """The sum of the 4 signed bytes of each word."""
    top = broadcast(integer(24), lanes)
    parts = [(words << broadcast(integer(shift), lanes)) >> top for shift in (24, 16, 8)]
    return parts[0] + parts[1] + parts[2] + (words >> top)


def outputs_of_lanes(kernel: Pack, isa: InstructionSet, outputs: int) -> np.ndarray:
    """The row of b for each lane: int64. Lanes of no output take the last row: nobody reads what they become."""
    lanes, done = [], 0
    for group in (group for tile in kernel.tiles for group in tile):
        lanes.append(done + (np.arange(group * isa.lanes) if kernel.real else isa.order(group).reshape(-1)))
        done += group * isa.lanes
    return np.asarray(np.minimum(np.concatenate(lanes), outputs - 1))


def tables(kernel: Pack, isa: InstructionSet, outputs: int, row: int) -> np.ndarray:
    """What lies behind the multipliers: int32. row: bytes from one row of b to the next."""
    places, start = [], HEADER + 2 * kernel.vectors * isa.lanes
    for tile in kernel.tiles:
        step = sum(tile) * isa.weight_words
        places += [(start + v * isa.weight_words, step) for v in range(sum(tile))]
        start += kernel.words * step
    rows = outputs_of_lanes(kernel, isa, outputs) * row
    return np.concatenate([rows, np.array(places).reshape(-1)]).astype(np.int32)


@dataclass(frozen=True)
class RowSums:
    """y[...] = -zb * sum over the channels of a[...], int32, one after the other. leading: of a, all but channels."""

    leading: Box
    channels: int

    @property
    def family(self) -> str:
        return "row_sums"

    @property
    def units(self) -> int:
        """A unit is a row."""
        return self.leading.count

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        a, constants, y = e.pointer("a", isa.stored), e.pointer("constants", "int32"), e.pointer("y", "int32")
        begin, end = e.scalar("begin"), e.scalar("end")
        factor = integer(0) - number(e, constants, Word.B_ZERO_POINT)
        with e.loop(begin, end) as unit:
            (source,) = self.leading.at(e, unit)
            total = channel_sum(e, isa, a, nullcontext(source), self.channels)
            e.store(y, unit, total * factor)
