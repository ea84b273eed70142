"""Kernels that are nothing but the definition of a kind: loops around one element, or around one line of them.

They take what no other kernel does - rare kinds, rare dtypes - so that no model is left out. What makes them fast
enough is LLVM, which vectorizes the innermost loop where elements lie one after the other and nothing forbids another
order; a sum of floats stays a sum in order. Threads divide them by lines.

A definition of one element is registered in `element`, that of a line in `line` (`plain_definitions.py`); both say what
`edgec.ir.reference` does. Sums and means of float32 are computed in float64, as there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

from edgec.backends.tvm.emitter import Emitter, Expr, Pointer, divided, integer, minimum, remainder, select
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.float_expression import in_memory
from edgec.backends.tvm.kernels.float_math import FloatMath
from edgec.ir.graph import Quantization
from edgec.ir.kinds import Kind

_PART = 4096
"""Elements of a line that are one unit of work, where there is no more than one line."""

Index = Sequence[Expr]


@dataclass(frozen=True)
class Layout:
    """A tensor where it lies. strides: in elements, along each dimension. dtype: bool takes a byte.

    grid: of integers that stand for real numbers.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    grid: Quantization | None = None


class Definition:
    """What a definition is written with: elements of operands and results by their indices, and functions of them."""

    def __init__(self, emitter: Emitter, kernel: Plain, pointers: Sequence[Pointer]) -> None:
        self.emitter = emitter
        self.math = FloatMath(emitter, 1)
        self.operands = kernel.operands
        self.results = kernel.results
        self._pointers = pointers

    def read(self, operand: int, index: Index) -> Expr:
        """An element of an operand, computed once."""
        of = self.operands[operand]
        return self.bind(self.emitter.load(self._pointers[operand], _offset(of, index)), in_memory(of.dtype))

    def spread(self, operand: int, index: Index) -> Expr:
        """An element of an operand that is broadcast to what the index is of."""
        shape = self.operands[operand].shape
        own = index[len(index) - len(shape) :]
        return self.read(operand, [integer(0) if size == 1 else at for size, at in zip(shape, own, strict=True)])

    def inside(self, operand: int, index: Index, otherwise: Expr) -> Expr:
        """An element of an operand, or something else where the index is outside."""
        shape = self.operands[operand].shape
        within: Expr = None
        limited = []
        for at, size in zip(index, shape, strict=True):
            at = self.bind(at, "int32")
            there = (at >= integer(0)) & (at < integer(size))
            within = there if within is None else within & there
            limited.append(select(at < integer(0), integer(0), minimum(at, integer(size - 1))))
        return select(within, self.read(operand, limited), otherwise)

    def result(self, index: Index, number: int = 0) -> Expr:
        """An element of a result that is written already."""
        of, pointer = self.results[number], self._pointers[len(self.operands) + number]
        return self.bind(self.emitter.load(pointer, _offset(of, index)), in_memory(of.dtype))

    def write(self, index: Index, value: Expr, number: int = 0) -> None:
        of, pointer = self.results[number], self._pointers[len(self.operands) + number]
        self.emitter.store(pointer, _offset(of, index), self.math.as_type(value, in_memory(of.dtype)))

    def bind(self, value: Expr, dtype: str) -> Expr:
        return self.math.bind(value, dtype)

    def number(self, value: float, dtype: str) -> Expr:
        return self.math.number(value if dtype.startswith("float") else int(value), in_memory(dtype))


@singledispatch
def element(kind: Kind, at: Definition, index: Index) -> Expr:
    """The element of the (only) result at an index."""
    raise NotImplementedError(kind.label)


@singledispatch
def line(kind: Kind, at: Definition, index: Index, axis: int) -> None:
    """Write all elements of the results along an axis. index: of the other dimensions; that of the axis is not used."""
    raise NotImplementedError(kind.label)


@dataclass(frozen=True)
class Plain:
    """A kind as it is defined. axis: along which lines are, where those are what is defined."""

    kind: Kind
    operands: tuple[Layout, ...]
    results: tuple[Layout, ...]
    axis: int | None = None

    @property
    def family(self) -> str:
        return f"plain_{self.kind.label}"

    @property
    def units(self) -> int:
        """A unit is a line, or a part of the only one."""
        return math.prod(self._outer) * self._parts

    @property
    def _outer(self) -> tuple[int, ...]:
        """Sizes of the dimensions that lines are numbered by."""
        shape = self.results[0].shape
        if self.axis is not None:
            return tuple(1 if at == self.axis else size for at, size in enumerate(shape))
        return shape[:-1]

    @property
    def _parts(self) -> int:
        shape = self.results[0].shape
        if 0 in shape:
            return 0
        alone = self.axis is None and math.prod(shape[:-1]) == 1
        return -(-shape[-1] // _PART) if alone and shape else 1

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        pointers = [e.pointer(f"x{number}", in_memory(of.dtype)) for number, of in enumerate(self.operands)]
        pointers += [e.pointer(f"y{number}", in_memory(of.dtype)) for number, of in enumerate(self.results)]
        begin, end = e.scalar("begin"), e.scalar("end")
        at = Definition(e, self, pointers)
        with e.loop(begin, end) as unit:
            left = e.bind(divided(unit, self._parts), "int32") if self._parts > 1 else unit
            index: list[Expr] = []
            for size in reversed(self._outer):
                index.insert(0, e.bind(remainder(left, size), "int32") if size > 1 else integer(0))
                left = divided(left, size)
            if self.axis is not None:
                line(self.kind, at, index, self.axis)
                return
            shape = self.results[0].shape
            if not shape:
                at.write(index, element(self.kind, at, index))
                return
            size = min(shape[-1], _PART) if self._parts > 1 else shape[-1]
            # The last part overlaps the one before.
            part = minimum(remainder(unit, self._parts) * size, integer(shape[-1] - size)) if self._parts > 1 else 0
            first = e.bind(integer(part), "int32")
            with e.loop(0, size) as last:
                whole = [*index, e.bind(first + last, "int32")]
                at.write(whole, element(self.kind, at, whole))


def _offset(of: Layout, index: Index) -> Expr:
    place: Expr = integer(0)
    for at, size, step in zip(index, of.shape, of.strides, strict=True):
        if size > 1:
            place = place + at * step
    return place
