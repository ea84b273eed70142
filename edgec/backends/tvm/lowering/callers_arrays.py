"""The arrays that the caller gives and gets: their shapes, and how their elements lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.constants import StoredType, is_stored_by_grid
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.program import Border, Place
from edgec.backends.tvm.storage import image_shape
from edgec.ir.graph import Graph

Strides = tuple[int, int, int, int]
"""Elements from one image, row, column, channel to the next."""


@dataclass(frozen=True, eq=False)
class CallersArrays:
    """Those of a graph's inputs and outputs: without gaps, in the model's own order of dimensions."""

    graph: Graph
    isa: InstructionSet

    def border(self, name: str) -> Border:
        """An input or output as the model has it."""
        of = self.graph.type(name)
        order = self.graph.layouts.get(name, tuple(range(of.rank)))
        return Border(name, tuple(of.shape[order.index(axis)] for axis in range(of.rank)), of.dtype)

    def strides(self, name: str) -> Strides:
        """Of an input or output, in elements, along N, H, W, C of its image.

        Only of 3 and 4 dimensions there are two orders (`edgec.ir.passes.transposes`).
        """
        of = self.graph.type(name)
        if name in self.graph.layouts:
            shape, order = self.border(name).shape, self.graph.layouts[name]
            assert len(shape) in (3, 4), f"{name} has {len(shape)} dimensions in another order"
            n, h, w, c = (0, *(int(np.prod(shape[axis + 1 :])) for axis in order))[-4:]
            return n, h, w, c
        _, rows, columns, channels = image_shape(of)
        return rows * columns * channels, columns * channels, channels, 1

    def flips(self, name: str) -> bool:
        """Whether a value's integers are stored otherwise than the caller has them: by 128 higher or lower, which is
        the highest bit."""
        of = self.graph.type(name)
        return is_stored_by_grid(of) and StoredType.of(of, self.isa).shift != 0

    def given(self, name: str) -> tuple[Place, Strides]:
        """An input."""
        return Place("input", index=self.graph.inputs.index(name)), self.strides(name)

    def taken(self, name: str) -> list[tuple[Place, Strides]]:
        """An output, as often as it is one."""
        places = [Place("output", index=at) for at, other in enumerate(self.graph.outputs) if other == name]
        return [(place, self.strides(name)) for place in places]
