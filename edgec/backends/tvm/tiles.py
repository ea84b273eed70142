"""How wide tiles are. Rules per shape, found by measuring on AVX-512."""

from __future__ import annotations

from dataclasses import dataclass

_STEPS = 16
"""Of the loop over input channels, in fours: what `cheapest_tile` reckons with."""

_WIDEST = 16
"""Pixels: of more, LLVM keeps more words of activations than there are registers."""

_MOST = 4
"""Vectors that are stored together."""

_NARROW = 6
"""Pixels of a row that are too few for a tile of a dense product."""

_GRID = 4
"""Registers of numbers that hold for a whole layer: zero point, limits."""


def is_upright(rows: int, columns: int) -> bool:
    """Whether a dense product should take columns for rows: a signal that was laid out as one column, for example, has
    no pixels beside each other that a tile could take."""
    return columns < min(rows, _NARROW)


def even_width(columns: int, most: int) -> int:
    """The width of as few tiles as `most` allows, all about as wide: what overlaps is computed twice."""
    tiles = -(-columns // most)
    return -(-columns // tiles)


@dataclass(frozen=True)
class Core:
    """What decides how fast tiles of dense products are. Cycles, found by measuring.

    registers: vectors that it holds. products, loads: vectors that it multiplies and loads in a cycle.
    weights: cycles that a vector from the second-level cache takes. latency: from a product to the next one that adds
    to it. results: what a group of 1, 2 and 4 vectors takes to be stored. tile: to begin and end a tile.
    """

    registers: int
    products: float
    loads: float
    weights: float
    latency: float
    results: tuple[float, float, float]
    tile: float


@dataclass(frozen=True)
class DepthwiseCosts:
    """What a tile of a depthwise convolution takes, for each vector of `depthwise_tiles.Work`: cycles or instructions,
    whichever it was fitted to. tile: to begin and end one.

    pairs: products are made of pairs of elements, and those with nothing but zeros are left out.
    """

    tile: float
    product: float
    interleaved: float
    load: float
    weights: float
    result: float
    beyond: float
    pairs: bool = False


def cheapest_tile(core: Core, vectors: int, columns: int, taps: int) -> tuple[int, int]:
    """Pixels and most vectors of a tile of a dense product, see `InstructionSet.dense_tile`.

    A tile of m pixels and n vectors keeps m * n sums, n vectors of weights and a word of activations; each step loads
    m + n and multiplies m * n. At the end, n factors and the numbers of the grid have to fit beside the sums. Tiles of
    a row overlap where its width is no multiple of theirs, and the last channels may take a narrower tile.
    """
    steps = _STEPS * taps

    def cost(tile: tuple[int, int]) -> float:
        width, most = tile
        count = -(-columns // width)
        return count * sum(_cycles(core, width, min(most, vectors - at), steps) for at in range(0, vectors, most))

    fitting = {
        (even_width(columns, wanted), most)
        for most in range(1, min(vectors, _MOST) + 1)
        for wanted in range(1, _WIDEST + 1)
        if wanted * most + 2 * most + _GRID <= core.registers
    }
    return min(sorted(fitting), key=cost)


def _cycles(core: Core, width: int, vectors: int, steps: int) -> float:
    """Of one tile."""
    products, loads = width * vectors / core.products, (width + vectors) / core.loads
    step = max(products, loads, vectors * core.weights, core.latency)
    one, two, four = core.results
    results = vectors % 2 * one + vectors // 2 % 2 * two + vectors // 4 * four
    return core.tile + steps * step + width * results
