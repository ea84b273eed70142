"""Shapes of kernels without their tiles, and tiles that fit one: of dense products, and of depthwise convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeGuard, TypeVar

from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels import depthwise_tiles
from edgec.backends.tvm.kernels.base import Kernel
from edgec.backends.tvm.kernels.dense import Dense, channel_tiles
from edgec.backends.tvm.kernels.depthwise import Depthwise
from edgec.backends.tvm.tiles import even_width
from edgec.backends.tvm.tuning.database import DenseTile, DepthwiseTile, TileSize

CANDIDATES = 12
"""Tiles that are measured of one kernel, besides the rule's."""

_STORED = 8
"""Channels that are stored together at least: the shortest store of any instruction set."""

_WIDEST = 16
_MOST = 8
_LARGEST = 64
"""Sums of a tile: more than twice the registers that any processor has; code for more takes long to compile."""

Tiled = Dense | Depthwise
"""Kernels that tiles are searched for."""

AnyTiled = TypeVar("AnyTiled", Dense, Depthwise)


def is_searched(kernel: Kernel) -> TypeGuard[Tiled]:
    """Whether tiles are searched for a kernel: integers in; of all channels with all, integers out and constant weights
    of one group."""
    if isinstance(kernel, Dense):
        return not (kernel.offsets or kernel.block or kernel.starts or kernel.real)
    return isinstance(kernel, Depthwise)


def alone(kernel: Tiled) -> Tiled:
    """The kernel without what it fetches for others."""
    return replace(kernel, ahead=False) if isinstance(kernel, Dense) else replace(kernel, ahead=0)


def shape_of(kernel: Tiled) -> str:
    """What a kernel is without its tile, and without what it fetches for others."""
    if isinstance(kernel, Dense):
        return repr(replace(kernel, tiles=((kernel.vectors,),), width=0, ahead=False))
    return repr(replace(kernel, form="columns", pixels=0, height=0, width=0, ahead=0))


def tile_of(kernel: Tiled) -> TileSize:
    """The tile that a kernel has."""
    if isinstance(kernel, Dense):
        return DenseTile(kernel.width, max(map(sum, kernel.tiles)))
    return DepthwiseTile(kernel.form, kernel.pixels, kernel.height, kernel.width)


def fits(kernel: Tiled, tile: TileSize, isa: InstructionSet) -> bool:
    """Whether a kernel can have a tile. Its results do not depend on that."""
    if isinstance(kernel, Depthwise):
        return any(tile_of(each) == tile for each in depthwise_tiles.tiles(kernel, isa))
    if not isinstance(tile, DenseTile):
        return False
    return (
        1 <= tile.pixels <= min(kernel.columns, _WIDEST)
        and 1 <= tile.vectors <= min(kernel.vectors, _MOST)
        and tile.pixels * tile.vectors <= _LARGEST
        and tile.vectors * isa.lanes % _STORED == 0
    )


def with_tile(kernel: AnyTiled, tile: TileSize, isa: InstructionSet) -> AnyTiled:
    """The kernel with another tile, which has to fit."""
    assert fits(kernel, tile, isa), (kernel, tile)
    if isinstance(kernel, Depthwise):
        return next(each for each in depthwise_tiles.tiles(kernel, isa) if tile_of(each) == tile)
    assert isinstance(tile, DenseTile)
    tiles = channel_tiles(kernel.vectors * isa.lanes, isa.lanes, tile.vectors)
    return replace(kernel, tiles=tiles, width=tile.pixels)


def searched(kernel: AnyTiled, tiles: Mapping[str, TileSize], isa: InstructionSet) -> AnyTiled:
    """The kernel with the tile that was found for its shape; as it is where none was."""
    found = tiles.get(shape_of(kernel)) if tiles else None
    return kernel if found is None else with_tile(kernel, found, isa)


def candidates(kernel: Tiled, isa: InstructionSet) -> list[Tiled]:
    """The kernel with other tiles that are worth measuring, the most promising first."""
    if isinstance(kernel, Depthwise):
        others = [each for each in depthwise_tiles.tiles(kernel, isa) if each != kernel]
        return [*sorted(others, key=lambda each: depthwise_tiles.cost(each, isa))[:CANDIDATES]]
    return [*_of_dense(kernel, isa)[:CANDIDATES]]


def _of_dense(kernel: Dense, isa: InstructionSet) -> list[Dense]:
    """Those whose sums fit into the registers, by how much they multiply (tiles overlap where a row is no multiple of
    their width) and load."""
    unit = max(1, _STORED // isa.lanes)
    sizes = {
        DenseTile(even_width(kernel.columns, wanted), most)
        for most in range(unit, min(kernel.vectors, _MOST) + 1, unit)
        for wanted in range(1, min(kernel.columns, _WIDEST) + 1)
        if wanted * most <= isa.registers - most - 1
    }
    made = {with_tile(kernel, size, isa) for size in sizes if fits(kernel, size, isa)} - {kernel}
    return sorted(made, key=lambda each: (_work(each), each.width, max(map(sum, each.tiles))))


def _work(kernel: Dense) -> float:
    """Vectors that are multiplied and loaded in one step of all tiles of a row. 4 products of a register follow each
    other at a distance of 4 cycles at best, so that smaller tiles wait."""
    width = kernel.width
    tiles = [max(width * sum(tile), 8) + width + 2 * sum(tile) for tile in kernel.tiles]
    return kernel.tiles_of_row * sum(tiles)
