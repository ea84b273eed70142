"""How wide tiles are. Rules per shape, found by measuring on AVX-512."""

from __future__ import annotations

from dataclasses import dataclass

_STEPS = 16
"""Of the loop over input channels, in fours: what `cheapest_tile` reckons with."""

_WIDEST = 16
"""Pixels: of more, LLVM keeps more words of activations than there are registers."""

_MOST = 4
"""Vectors that are stored together."""

_FEW_ROWS = 8

_NARROW = 6
"""Pixels of a row that are too few for a tile of a dense product."""

_GRID = 4
"""Registers of numbers that hold for a whole layer: zero point, limits."""


def depthwise_tile(
    taps: int, stride: int, rows: int, columns: int, pixels: int, registers: int
) -> tuple[int, int]:  # fmt: skip
    """Rows and vectors, of `pixels` pixels each, of a tile of a depthwise convolution with windows of `taps` columns.

    A vector of results takes 4 registers. Two rows share weights and most of what is interleaved, if they are not among
    few rows of which the last one is then computed twice. Of longer windows 4 neighbours in a row share more, where
    there are registers for their sums; else one is best, or two whose windows are two columns apart.
    """
    if taps > 4:
        width, height = 4 if registers >= 32 else min(stride, 2), 1
    else:
        width, height = 1 if pixels > 1 or stride > 1 else 2, 2
    if stride > 1 or registers < 32 or (rows % 2 and rows <= _FEW_ROWS):
        height = 1
    return height, max(1, min(width if pixels == 1 else 1, columns // pixels))


def pixels_of_vector(pixel: int, vector: int, stride: int, columns: int) -> int:
    """How many neighbouring pixels of a depthwise convolution one vector of bytes can hold; 1 where it holds a part."""
    pixels = vector // pixel
    whole = pixels * pixel == vector and stride == 1 and columns >= pixels
    return pixels if whole else 1


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
