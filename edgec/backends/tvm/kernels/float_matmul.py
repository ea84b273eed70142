"""Products of two matrices that are both computed, of float32: y[m, n] = sum over k of a[m, k] * b[k, n].

Tiles of rows of a and vectors of columns of b, as in `float_dense`. Exactly K elements are read of a row of a; rows of
b are read with their padding, which reaches the padding of y only.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.backends.tvm.emitter import Emitter, broadcast, constant, divided, integer, minimum, remainder, vector
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.float_dense import Channels


@dataclass(frozen=True)
class FloatMatMul:
    """batch: strides of a, b and y from one product to the next. rows, depth: M and K. a: strides along M and K.
    b: from one k to the next. y: from one m to the next. columns: N, padding and all. width: rows of a tile."""

    batch: Box
    rows: int
    depth: int
    a: tuple[int, int]
    b: int
    y: int
    columns: Channels
    width: int

    @property
    def family(self) -> str:
        return "float_matmul"

    @property
    def units(self) -> int:
        """A unit is a tile of rows of one product."""
        return self.batch.count * self._tiles

    @property
    def _tiles(self) -> int:
        return -(-self.rows // self.width)

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, lanes = emitter, self.columns.lanes
        floats = vector("float32", lanes)
        a, b, y = (e.pointer(name, "float32") for name in ("a", "b", "y"))
        begin, end = e.scalar("begin"), e.scalar("end")
        with e.loop(begin, end) as unit:
            places = self.batch.at(e, e.bind(divided(unit, self._tiles), "int32"))
            row = remainder(unit, self._tiles) * self.width
            row = e.bind(minimum(row, integer(self.rows - self.width)), "int32")
            source, goes = e.bind(places[0] + row * self.a[0], "int32"), e.bind(places[2] + row * self.y, "int32")
            for size, number, count in self.columns.runs():
                before = sum(self.columns.tiles[:number])
                with e.loop(0, count) as tile:
                    first = e.bind(integer(before) + tile * size, "int32")
                    starts = [e.bind(self.columns.first_of(first + v), "int32") for v in range(size)]
                    zero = broadcast(constant(0.0, "float32"), lanes)
                    sums = [[e.register(lanes, "float32", zero) for _ in range(size)] for _ in range(self.width)]
                    with e.loop(0, self.depth) as k:
                        line = places[1] + k * self.b
                        factors = [e.bind(e.load(b, line + start, lanes), floats) for start in starts]
                        for m, totals in enumerate(sums):
                            seen = e.load(a, source + m * self.a[0] + k * self.a[1])
                            seen = e.bind(broadcast(seen, lanes), floats)
                            for total, factor in zip(totals, factors, strict=True):
                                total.set(total.get() + seen * factor)
                    for m, totals in enumerate(sums):
                        for start, total in zip(starts, totals, strict=True):
                            e.store(y, goes + m * self.y + start, total.get(), lanes)
