"""Boxes of elements: what every kernel loops over that takes elements from where they lie.

A box has as many dimensions as needed, whatever the ranks of the tensors; each operand has its own distance from one
index to the next along each of them: 0 where it is broadcast, negative where it is read backwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from edgec.backends.tvm.emitter import Emitter, Expr, divided, integer, minimum, remainder

_UNITS = 16
"""Units of work that are enough for any number of threads."""

_LONG = 16384
"""Elements of a line that several threads should share."""

Offset = Callable[[int, int, Expr], Expr]
"""operand, dimension, index -> distance of that index from the first one, in elements."""


@dataclass(frozen=True)
class Box:
    """shape: sizes of the dimensions, the outermost first. strides: in elements, of each operand along each dimension.

    Kernels loop over the last one or two dimensions themselves.
    """

    shape: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, shape: Sequence[int], *strides: Sequence[int], apart: Sequence[int] = ()) -> Box:
        """Dimensions of one element are left out; those that follow on each other in all operands are made one.

        apart: dimensions that are not to be made one with others.
        """
        made: list[tuple[int, tuple[int, ...], bool]] = []
        for axis, size in enumerate(shape):
            steps = tuple(item[axis] for item in strides)
            alone = axis in apart
            if size == 1 and not alone:
                continue
            if made and not alone and not made[-1][2] and made[-1][1] == tuple(size * step for step in steps):
                size *= made.pop()[0]
            made.append((size, steps, alone))
        made = made or [(1, (1,) * len(strides), False)]
        return cls(tuple(item[0] for item in made), tuple(zip(*(item[1] for item in made), strict=True)))

    @classmethod
    def as_is(cls, shape: Sequence[int], *strides: Sequence[int]) -> Box:
        """Dimensions of one element are left out, and none are made one: where sums are made of lines."""
        kept = [axis for axis, size in enumerate(shape) if size != 1]
        return cls(tuple(shape[axis] for axis in kept), tuple(tuple(steps[axis] for axis in kept) for steps in strides))

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def last(self, axis: int) -> Box:
        """The same box with a dimension moved to the end."""
        order = [*(at for at in range(self.rank) if at != axis), axis]
        return Box(
            tuple(self.shape[at] for at in order), tuple(tuple(steps[at] for at in order) for steps in self.strides)
        )

    def divided(self) -> Box:
        """The same box with a long single line cut, where it divides, so that threads can share it."""
        size = self.shape[-1]
        if self.rank > 1 or size < _LONG:
            return self
        parts = next((parts for parts in range(_UNITS, 1, -1) if size % parts == 0), 1)
        if parts == 1:
            return self
        each = size // parts
        return Box((parts, each), tuple((steps[0] * each, steps[0]) for steps in self.strides))

    def shared(self, inner: int) -> int:
        """How many of the outer dimensions are divided into units of work; the last `inner` ones never are."""
        most = max(0, self.rank - inner)
        return next((count for count in range(most) if math.prod(self.shape[:count]) >= _UNITS), most)

    def units(self, inner: int) -> int:
        return math.prod(self.shape[: self.shared(inner)])

    @contextmanager
    def places(
        self, e: Emitter, begin: Expr, end: Expr, inner: int, offset: Offset | None = None
    ) -> Iterator[list[Expr]]:
        """Statements for every place in units [begin, end), but for the last `inner` dimensions: the offset of each
        operand there."""
        at = offset or (lambda operand, axis, index: index * self.strides[operand][axis])
        shared = self.shared(inner)
        with ExitStack() as loops:
            unit = loops.enter_context(e.loop(begin, end))
            places = self._added(e, [integer(0) for _ in self.strides], indices(unit, self.shape[:shared]), at)
            for axis in range(shared, self.rank - inner):
                index = loops.enter_context(e.loop(0, self.shape[axis]))
                places = self._added(e, places, [(axis, index)], at)
            yield places

    def at(self, e: Emitter, number: Expr) -> list[Expr]:
        """The offset of each operand at the element with that number."""
        places = [integer(0) for _ in self.strides]
        for axis, index in indices(number, self.shape):
            places = [place + index * steps[axis] for place, steps in zip(places, self.strides, strict=True)]
        return [e.bind(place, "int32") for place in places]

    def _added(self, e: Emitter, places: list[Expr], indices: list[tuple[int, Expr]], at: Offset) -> list[Expr]:
        made = []
        for operand, place in enumerate(places):
            for axis, index in indices:
                if self.shape[axis] > 1:
                    place = place + at(operand, axis, index)
            made.append(e.bind(place, "int32") if indices else place)
        return made


def indices(number: Expr, shape: Sequence[int]) -> list[tuple[int, Expr]]:
    """(dimension, index along it) of the element with that number, the last dimension first."""
    found = []
    for axis in reversed(range(len(shape))):
        found.append((axis, remainder(number, shape[axis]) if axis else number))
        number = divided(number, shape[axis])
    return found


@contextmanager
def line(e: Emitter, size: int, lanes: int) -> Iterator[Expr]:
    """Statements for every `lanes` elements of a line of `size`, at least as many: where they begin. The last ones
    overlap those before where the size does not divide."""
    with e.loop(0, -(-size // lanes)) as tile:
        at = tile * lanes
        yield e.bind(minimum(at, integer(size - lanes)) if size % lanes else at, "int32")


def power_below(size: int, most: int) -> int:
    """The largest power of 2 that is neither above `size` nor above `most`, which is one."""
    while most > size:
        most //= 2
    return most
