"""Shapes of dense kernels without their tiles, and tiles that fit one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Kernel
from edgec.backends.tvm.kernels.dense import Dense, channel_tiles
from edgec.backends.tvm.tiles import even_width
from edgec.backends.tvm.tuning.database import TileSize

CANDIDATES = 12
"""Tiles that are measured of one kernel, besides the rule's."""

_STORED = 8
"""Channels that are stored together at least: the shortest store of any instruction set."""

_WIDEST = 16
_MOST = 8
_LARGEST = 64
"""Sums of a tile: more than twice the registers that any processor has; code for more takes long to compile."""


def shape_of(kernel: Dense) -> str:
    """What a kernel is without its tile, and without what it fetches for others."""
    return repr(replace(kernel, tiles=((kernel.vectors,),), width=0, ahead=False))


def tile_of(kernel: Dense) -> TileSize:
    """Pixels, and vectors of the largest tile."""
    return kernel.width, max(map(sum, kernel.tiles))


def is_searched(kernel: Kernel) -> bool:
    """Whether tiles are searched for a kernel: integers in, integers out, all channels with all."""
    return isinstance(kernel, Dense) and not (kernel.offsets or kernel.block or kernel.starts or kernel.real)


def fits(kernel: Dense, tile: TileSize, isa: InstructionSet) -> bool:
    """Whether a kernel can have a tile. Its results do not depend on that."""
    width, most = tile
    whole = most * isa.lanes % _STORED == 0
    return (
        1 <= width <= min(kernel.columns, _WIDEST)
        and 1 <= most <= min(kernel.vectors, _MOST)
        and width * most <= _LARGEST
        and whole
    )


def with_tile(kernel: Dense, tile: TileSize, isa: InstructionSet) -> Dense:
    """The kernel with another tile, which has to fit."""
    assert fits(kernel, tile, isa), (kernel, tile)
    width, most = tile
    return replace(kernel, tiles=channel_tiles(kernel.vectors * isa.lanes, isa.lanes, most), width=width)


def searched(kernel: Dense, tiles: Mapping[str, TileSize], isa: InstructionSet) -> Dense:
    """The kernel with the tile that was found for its shape; as it is where none was."""
    found = tiles.get(shape_of(kernel)) if tiles else None
    return kernel if found is None else with_tile(kernel, found, isa)


def candidates(kernel: Dense, isa: InstructionSet) -> list[Dense]:
    """The kernel with other tiles that are worth measuring, the most promising first.

    They are those whose sums fit into the registers, by how much they multiply (tiles overlap where a row is no
    multiple of their width) and load.
    """
    unit = max(1, _STORED // isa.lanes)
    sizes = {
        (even_width(kernel.columns, wanted), most)
        for most in range(unit, min(kernel.vectors, _MOST) + 1, unit)
        for wanted in range(1, min(kernel.columns, _WIDEST) + 1)
        if wanted * most <= isa.registers - most - 1
    }
    made = {with_tile(kernel, size, isa) for size in sizes if fits(kernel, size, isa)} - {kernel}
    return sorted(made, key=lambda each: (_work(each), tile_of(each)))[:CANDIDATES]


def _work(kernel: Dense) -> float:
    """Vectors that are multiplied and loaded in one step of all tiles of a row. 4 products of a register follow each
    other at a distance of 4 cycles at best, so that smaller tiles wait."""
    width = kernel.width
    tiles = [max(width * sum(tile), 8) + width + 2 * sum(tile) for tile in kernel.tiles]
    return kernel.tiles_of_row * sum(tiles)
