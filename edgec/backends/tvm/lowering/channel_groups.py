"""Output channels in tiles, where they are those of several groups: which input channels each tile reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels import dense

_BYTES = 16
"""Of a pixel that are stored together: tiles begin at multiples of it."""


@dataclass(frozen=True)
class Cut:
    """How channels are divided into tiles. width: pixels of a tile. words: fours of input channels that each reads,
    beginning at its `starts`."""

    tiles: tuple[dense.Tile, ...]
    width: int
    words: int
    starts: tuple[int, ...]


def cut_of(isa: InstructionSet, weights: Sequence[int], groups: int, shape: tuple[int, int, int], pixel: int) -> Cut:
    """The tiles of all output channels. weights: [O, KH, KW, C / groups], how many. shape: images, rows, columns of the
    result. pixel: elements of a pixel of x.

    A tile multiplies the input channels of all groups that it has outputs of: the more groups, the more zeros. So tiles
    do not reach into a second group where groups are multiples of what is stored together, and are narrow where they
    have to: chosen is what takes the fewest instructions for a pixel, products and loads of activations.
    """
    outputs, height, width, depth = weights
    lanes, each = isa.lanes, outputs // groups
    images, rows, columns = shape
    cuts: list[tuple[float, Cut]] = []
    span = each if each % _BYTES == 0 else outputs
    for vectors in [dense.vectors_of(span, lanes)] if groups == 1 else _sizes(span, lanes):
        pixels, most = isa.dense_tile(vectors, images * rows, columns, height * width * -(-depth // 4))
        tiles = dense.channel_tiles(span, lanes, min(most, vectors)) * (outputs // span)
        ranges = _ranges(tiles, lanes, outputs, groups, depth)
        words = max(-(-(end - begin) // 4) for begin, end in ranges)
        starts = tuple(min(begin, pixel - 4 * words) for begin, _ in ranges)
        cost = words * sum(sum(tile) + 1 for tile in tiles)
        cuts.append((cost, Cut(tiles, pixels, words, starts)))
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


def spread(weights: np.ndarray, cut: Cut, groups: int, lanes: int) -> np.ndarray:
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
