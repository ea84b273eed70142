"""Tiles of depthwise convolutions: which there are, what computing one takes, and the cheapest.

A tile is some rows of some neighbouring results; what is interleaved serves all of them whose windows see it, and the
more there are the fewer registers are left. Neighbouring pixels may be taken for one (`pixels_together`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.depthwise import Depthwise, Form
from edgec.backends.tvm.tiles import DepthwiseCosts

MOST = 4
"""Rows of a tile, and results of a row; pixels that are taken for one."""

_VECTORS = 4
"""Of int32, for the results of one vector of bytes."""


@dataclass(frozen=True)
class Work:
    """What one tile takes, in vectors. products: those with weights that are not all 0. interleaved: by shuffling.
    loads: of activations. weights: that are read. results: of bytes. beyond: times that a register is missing."""

    products: int
    interleaved: int
    loads: int
    weights: int
    results: int
    beyond: int

    @classmethod
    def of(cls, kernel: Depthwise, registers: int, pairs: bool) -> Work:
        """pairs: products are made of two elements that lie two apart, and of two such pairs."""
        return _apart(kernel, registers) if kernel.form == "apart" else _interleaved(kernel, registers, pairs)

    def cost(self, costs: DepthwiseCosts) -> float:
        """In the unit of `costs`."""
        return (
            costs.tile
            + costs.product * self.products
            + costs.interleaved * self.interleaved
            + costs.load * self.loads
            + costs.weights * self.weights
            + costs.result * self.results
            + costs.beyond * self.beyond
        )


def _apart(kernel: Depthwise, registers: int) -> Work:
    down, across = kernel.axes
    results, taps = down.results * across.results, down.taps * across.taps
    held = down.results * len(across.positions) + 6  # activations; weights, products
    return Work(
        products=_VECTORS * results * taps,
        interleaved=0,
        loads=len(down.positions) * len(across.positions),
        weights=taps,
        results=results,
        beyond=max(0, _VECTORS * results + held - registers) * down.taps,
    )


def _interleaved(kernel: Depthwise, registers: int, pairs: bool) -> Work:
    along, over = kernel.directions
    window, results = along.window, along.results * over.results
    fours = len(window.columns) // 4
    seen = [len(set(window.columns[4 * four : 4 * four + 4])) for four in range(fours)]
    # What is interleaved stays in registers from the first tap that sees it to the last one.
    seeing: dict[int, list[int]] = {}
    for tap, result in product(range(over.taps), range(over.results)):
        seeing.setdefault(result * over.step + tap * over.tap, []).append(tap)
    kept = max(sum(min(by) <= tap <= max(by) for by in seeing.values()) for tap in range(over.taps))
    halves = 2 if pairs else 1
    used = [
        sum(any(tap >= 0 for tap in taps[half::2]) for half in (0, 1)) if pairs else 1 for _, _, taps in window.products
    ]
    held = _VECTORS * (results + halves * kept) + 1
    patterns = {(four, taps) for four, _, taps in window.products}
    return Work(
        products=_VECTORS * over.taps * over.results * sum(used),
        interleaved=len(over.positions) * sum(8 if count > 2 else 6 for count in seen),
        loads=len(over.positions) * sum(seen),
        weights=_VECTORS * over.taps * len(patterns) * halves,
        results=results,
        beyond=max(0, held - registers) * over.taps * fours,
    )


def pixels_together(kernel: Depthwise) -> list[int]:
    """How many neighbouring pixels may be taken for one, which is their bytes in a row: 1, and those that fill vectors
    better. Results have to lie as their windows do."""
    found, least = [1], -(-kernel.pixel // kernel.vector) * 1.0
    if kernel.x.column == kernel.y.column == kernel.pixel:
        for pixels in range(2, min(MOST, kernel.columns) + 1):
            vectors = -(-pixels * kernel.pixel // kernel.vector) / pixels
            if vectors < least:
                found, least = [*found, pixels], vectors
    return found


def tiles(kernel: Depthwise, isa: InstructionSet) -> Iterator[Depthwise]:
    """The kernel with every tile whose sums fit into the registers. Its results do not depend on that."""
    forms: tuple[Form, ...] = ("apart",) if isa.apart else ("columns", "rows")
    sizes = product(range(1, MOST + 1), range(1, MOST + 1), pixels_together(kernel), forms)
    for height, width, pixels, form in sizes:
        fits = height <= kernel.rows and width * pixels <= kernel.columns
        # An uneven tile takes 4 registers a result, and a few are needed beside.
        if fits and _VECTORS * height * width <= isa.registers - _VECTORS:
            yield replace(kernel, height=height, width=width, pixels=pixels, form=form)


def cost(kernel: Depthwise, isa: InstructionSet) -> float:
    """Of all tiles, in the unit of the instruction set's costs."""
    costs = isa.depthwise
    count = kernel.units * kernel.tiles
    return count * Work.of(kernel, isa.registers, costs.pairs).cost(costs)


def cheapest(kernel: Depthwise, isa: InstructionSet) -> Depthwise:
    """The kernel with the tile that costs the least."""
    return min(tiles(kernel, isa), key=lambda each: (cost(each, isa), -each.height, each.pixels))
