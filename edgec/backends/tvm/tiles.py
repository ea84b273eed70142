"""How wide tiles are: rules for each shape, with numbers of a core that were found by measuring."""

from __future__ import annotations

from dataclasses import dataclass

_WIDEST = 14
"""Pixels. Wider tiles are slower than their neighbours, up to a third, for no reason that was found."""

_MOST = 6
"""Vectors of a tile."""

_TOGETHER = 4
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
    """What decides how fast tiles of dense products are. Cycles, fitted to times: what they are good for is to order
    tiles, not to tell how long one takes.

    registers: vectors that it holds. products, loads: vectors that it multiplies and loads in a cycle. weights: cycles
    that a vector from the second-level cache takes. latency: a step takes at least. step: to begin and end one.
    results: what a group of 1, 2 and 4 vectors of a pixel takes to be stored. together: the same for 2 and 4 vectors of
    several pixels. tile: to begin and end a tile. sums: for each of its sums. beyond: for each register that is
    missing, in a step and in the end.
    """

    registers: int
    products: float
    loads: float
    weights: float
    latency: float
    step: float
    results: tuple[float, float, float]
    together: tuple[float, float]
    tile: float
    sums: float
    beyond: float


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


def cheapest_tile(core: Core, vectors: int, columns: int, steps: int) -> tuple[int, int]:
    """Pixels and most vectors of a tile of a dense product, see `InstructionSet.dense_tile`.

    A tile of m pixels and n vectors keeps m * n sums, n vectors of weights and a word of activations; each step loads
    m + n and multiplies m * n. At the end, n factors and the numbers of the grid have to fit beside the sums. Tiles of
    a row overlap where its width is no multiple of theirs, and the last channels may take a narrower tile.
    """

    def cost(tile: tuple[int, int]) -> float:
        width, most = tile
        sizes = [min(most, vectors - at) for at in range(0, vectors, most)]
        return -(-columns // width) * sum(_cycles(core, width, size, steps, len(sizes) == 1) for size in sizes)

    fitting = {
        (even_width(columns, wanted), most)
        for most in range(1, min(vectors, _MOST) + 1)
        for wanted in range(1, _WIDEST + 1)
        if wanted * most <= core.registers - (most + 1 if core.registers > 16 else 0)
    }
    return min(sorted(fitting), key=cost)


def _cycles(core: Core, width: int, vectors: int, steps: int, whole: bool) -> float:
    """Of one tile. whole: it has all vectors of its pixels."""
    sums = width * vectors
    products, loads = sums / core.products, (width + vectors) / core.loads
    missing = max(0, sums + vectors + 1 - core.registers)
    step = max(products, loads, vectors * core.weights, core.latency) + core.step + core.beyond * missing
    missing = max(0, sums + 2 * vectors + _GRID - core.registers)
    stored = _stored(core, width, vectors, whole and vectors < _TOGETHER)
    return core.tile + core.sums * sums + steps * step + stored + core.beyond * missing


def _stored(core: Core, width: int, vectors: int, together: bool) -> float:
    """Cycles to store all results of a tile. together: several pixels at once."""
    one, two, four = core.results
    if together and vectors in (1, 2):
        several, all_four = core.together
        rest = width * vectors % _TOGETHER
        last = rest // 2 * two if vectors == 2 else rest // 2 * several + rest % 2 * one
        return width * vectors // _TOGETHER * all_four + last
    return width * (vectors % 2 * one + vectors // 2 % 2 * two + vectors // 4 * four)
