"""Copying elements from one arrangement to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.emitter import Emitter, Expr, Pointer, divided, integer, minimum, remainder
from edgec.backends.tvm.isa.base import InstructionSet

_LONGEST = 64  # bytes of a load


@dataclass(frozen=True)
class Move:
    """y[i, j, ...] = x[i, j, ...] for a box of elements. x, y: strides in elements along its dimensions."""

    dtype: str
    itemsize: int
    shape: tuple[int, ...]
    x: tuple[int, ...]
    y: tuple[int, ...]

    @classmethod
    def of(cls, dtype: str, shape: Sequence[int], x: Sequence[int], y: Sequence[int]) -> Move:
        """Dimensions of one element are left out, and those that lie alike on both sides are made one."""
        made: list[tuple[int, int, int]] = []
        for size, a, b in zip(shape, x, y, strict=True):
            if size == 1:
                continue
            if made and made[-1][1:] == (size * a, size * b):
                size *= made.pop()[0]
            made.append((size, a, b))
        sizes, first, second = zip(*(made or [(1, 1, 1)]), strict=True)
        return cls(dtype, np.dtype(dtype).itemsize, sizes, first, second)

    @property
    def family(self) -> str:
        return "move"

    @property
    def units(self) -> int:
        """A unit is all of the last dimension, or of the last two."""
        return math.prod(self.shape[: self._shared])

    @property
    def _shared(self) -> int:
        return max(0, len(self.shape) - 2) if math.prod(self.shape[:-2]) > 1 else len(self.shape) - 1

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, y = e.pointer("x", self.dtype), e.pointer("y", self.dtype)
        begin, end = e.scalar("begin"), e.scalar("end")
        with e.loop(begin, end) as unit:
            places: list[Expr] = [integer(0), integer(0)]
            left = unit
            for axis in reversed(range(self._shared)):
                at = remainder(left, self.shape[axis]) if axis else left
                left = divided(left, self.shape[axis])
                places = [place + at * steps[axis] for place, steps in zip(places, (self.x, self.y), strict=True)]
            source, goes = (e.bind(place, "int32") for place in places)
            if self._shared == len(self.shape) - 1:
                self._line(e, x, y, source, goes)
            else:
                with e.loop(0, self.shape[-2]) as i:
                    self._line(e, x, y, source + i * self.x[-2], goes + i * self.y[-2])

    def _line(self, e: Emitter, x: Pointer, y: Pointer, source: Expr, goes: Expr) -> None:
        size, lanes = self.shape[-1], 1
        if self.x[-1] == self.y[-1] == 1:
            lanes = _LONGEST // self.itemsize
            while lanes > size:
                lanes //= 2
        with e.loop(0, -(-size // lanes)) as tile:
            at = tile * lanes
            if size % lanes:
                at = minimum(at, integer(size - lanes))
            at = e.bind(at, "int32")
            value = e.load(x, source + at * self.x[-1], lanes)
            e.store(y, goes + at * self.y[-1], value, lanes)
