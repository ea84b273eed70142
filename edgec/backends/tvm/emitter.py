"""Statements of TIR, written one after the other: TVM as an assembler with types.

No scheduling pass runs over what is written here, so what is emitted is what LLVM sees: loops are loops, a `Register`
becomes a register, a load of 64 bytes becomes one. A kernel is a plain C function; TVM's packed calling convention and
its checks are not made at all (see `generating.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tvm
from tvm import tirx
from tvm.tirx import op

Expr = Any
"""An expression of TIR. TVM's classes overload the operators of Python, and have no types that mypy could use."""

_ANY_SIZE = 1 << 30  # elements of a buffer: TIR wants to know, and nothing depends on it


class Pointer:
    """A parameter of the kernel that points to elements of one dtype. Offsets count elements."""

    def __init__(self, name: str, dtype: str) -> None:
        self.dtype = dtype
        self.variable = tirx.Var(name, tvm.ir.PointerType(tvm.ir.PrimType(dtype)))
        self.buffer = tirx.decl_buffer((_ANY_SIZE,), dtype, name=f"{name}_data", data=self.variable)


class Register:
    """A vector that is written more than once. LLVM keeps it in a register, or spills it where there are too many."""

    def __init__(self, emitter: Emitter, buffer: Any, lanes: int) -> None:
        self._emitter = emitter
        self._buffer = buffer
        self._index = [_index(0, lanes)]

    def get(self) -> Expr:
        return tirx.BufferLoad(self._buffer, self._index)

    def set(self, value: Expr) -> None:
        self._emitter.emit(tirx.BufferStore(self._buffer, value, self._index))


class Emitter:
    """The body of one kernel in the writing."""

    def __init__(self) -> None:
        self._blocks: list[list[Any]] = [[]]
        self._count = 0
        self._parameters: list[Any] = []

    # --- parameters ---

    def pointer(self, name: str, dtype: str) -> Pointer:
        """The kernel's next parameter: an address. No two of them overlap where one is written through."""
        made = Pointer(name, dtype)
        self._parameters.append(made.variable)
        self.emit(tirx.DeclBuffer(made.buffer, data=made.variable))
        return made

    def scalar(self, name: str) -> Expr:
        """The kernel's next parameter: an int32."""
        made = tirx.Var(name, "int32")
        self._parameters.append(made)
        return made

    # --- statements ---

    def emit(self, statement: Any) -> None:
        self._blocks[-1].append(statement)

    def bind(self, value: Expr, dtype: str) -> Expr:
        """Compute `value` here, once, and give it a name."""
        variable = tirx.Var(self._fresh("v"), dtype)
        self.emit(tirx.Bind(variable, value))
        return variable

    def register(self, lanes: int, dtype: str, value: Expr) -> Register:
        """A vector that starts as `value`.

        The scope has to be "global": TVM's LowerTVMBuiltin keeps only small buffers of that scope on the stack, whence
        LLVM takes them into registers. Of any other scope it makes a call of TVMBackendAllocWorkspace.
        """
        buffer = tirx.decl_buffer((lanes,), dtype, name=self._fresh("r"), scope="global")
        self.emit(tirx.AllocBuffer(buffer))
        made = Register(self, buffer, lanes)
        made.set(value)
        return made

    @contextmanager
    def loop(self, begin: Expr | int, end: Expr | int) -> Iterator[Expr]:
        """Statements for each int32 in [begin, end); no loop where there is one such number, known here."""
        if isinstance(begin, int) and isinstance(end, int) and end - begin == 1:
            yield integer(begin)
            return
        variable = tirx.Var(self._fresh("i"), "int32")
        self._blocks.append([])
        yield variable
        body = _sequence(self._blocks.pop())
        first, last = integer(begin), integer(end)
        self.emit(tirx.For(variable, first, last - first, tirx.ForKind.SERIAL, body))

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        """Statements that are executed only where a condition holds."""
        self._blocks.append([])
        yield
        self.emit(tirx.IfThenElse(condition, _sequence(self._blocks.pop()), None))

    # --- memory ---

    def load(self, pointer: Pointer, offset: Expr | int, lanes: int = 1) -> Expr:
        """`lanes` elements that lie together; aligned to nothing but their size."""
        return tirx.BufferLoad(pointer.buffer, [_index(offset, lanes)])

    def store(self, pointer: Pointer, offset: Expr | int, value: Expr, lanes: int = 1) -> None:
        self.emit(tirx.BufferStore(pointer.buffer, value, [_index(offset, lanes)]))

    def prefetch(self, pointer: Pointer, offset: Expr) -> None:
        """Ask for the cache line at `offset` to be brought into the second-level cache, for reading."""
        self._prefetch(tirx.BufferLoad(pointer.buffer, [integer(offset)]), level=2)

    def _prefetch(self, element: Expr, level: int) -> None:
        locality = 4 - level  # in LLVM's words: 3 is the first-level cache
        read, data = integer(0), integer(1)
        # Of any other type than void, TVM does not find the intrinsic.
        call = op.call_llvm_intrin("void", "llvm.prefetch", op.address_of(element), read, integer(locality), data)
        self.emit(tirx.Evaluate(call))

    # --- the whole ---

    def align_stack(self, lanes: int) -> None:
        """Let the function's stack begin at a multiple of a vector's length: `lanes` of int32.

        LLVM does not do so by itself for registers that it spills: it first learns of them when it is too late. Those
        that lie across two cache lines, or worse two pages, then cost up to half of a kernel's time, depending on where
        the caller's stack happens to be. A variable of that alignment does it, whose address something wants.
        """
        buffer = tirx.decl_buffer((1,), f"int32x{lanes}", name="aligned", scope="global")
        self.emit(tirx.AllocBuffer(buffer))
        self._prefetch(tirx.BufferLoad(buffer, [integer(0)]), level=1)

    def finish(self, name: str) -> Any:
        """The function `void name(parameters...)` with C's calling convention."""
        body = _sequence(self._blocks[0])
        # LowerTVMBuiltin asks which device memory is allocated for; MakePackedAPI, which is not run, would tell it.
        for attribute, value in (("device_type", 1), ("device_id", 0)):
            body = tirx.AttrStmt(tvm.ir.StringImm("default"), attribute, integer(value), body)
        function = tirx.PrimFunc(self._parameters, body)
        return function.with_attr("global_symbol", name).with_attr("tirx.noalias", True)

    def _fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"


# --- expressions ---


def integer(value: Expr | int) -> Expr:
    """An int32."""
    return tirx.const(int(value), "int32") if isinstance(value, int | np.integer) else value


def constant(value: float, dtype: str) -> Expr:
    """A scalar of a dtype."""
    return tirx.const(value, dtype)


def broadcast(value: Expr, lanes: int) -> Expr:
    return tirx.Broadcast(value, lanes) if lanes > 1 else value


def ramp(lanes: int) -> Expr:
    """The int32 0, 1, 2 ... of so many lanes."""
    return _index(0, lanes)


def vector(dtype: str, lanes: int) -> str:
    """The type of so many elements: "float32x16"; of one, "float32"."""
    return f"{dtype}x{lanes}" if lanes > 1 else dtype


def reinterpret(dtype: str, value: Expr) -> Expr:
    """The same bits as another dtype: "float32x16"."""
    return op.reinterpret(dtype, value)


def cast(dtype: str, value: Expr) -> Expr:
    """The same numbers as another dtype."""
    return tirx.Cast(dtype, value)


def minimum(a: Expr, b: Expr) -> Expr:
    return tirx.Min(a, b)


def maximum(a: Expr, b: Expr) -> Expr:
    return tirx.Max(a, b)


def select(condition: Expr, a: Expr, b: Expr) -> Expr:
    """a where the condition holds, else b; both are computed."""
    return tirx.Select(condition, a, b)


def divided(a: Expr, b: int) -> Expr:
    """a // b of an int32 that is not negative."""
    return tirx.floordiv(a, integer(b)) if b > 1 else a


def remainder(a: Expr, b: int) -> Expr:
    """a % b of an int32 that is not negative."""
    return tirx.floormod(a, integer(b)) if b > 1 else integer(0)


def truncated_division(a: Expr, b: Expr) -> Expr:
    """a / b of integers, rounded toward zero."""
    return tirx.truncdiv(a, b)


def floor_division(a: Expr, b: Expr) -> Expr:
    """a / b of integers, rounded down."""
    return tirx.floordiv(a, b)


def shuffle(vectors: Sequence[Expr], lanes: Sequence[int]) -> Expr:
    """The elements at the given positions of vectors that are laid end to end."""
    return tirx.Shuffle(list(vectors), [integer(lane) for lane in lanes])


def intrinsic(dtype: str, name: str, *operands: Expr) -> Expr:
    """What an intrinsic function of LLVM without side effects returns."""
    return op.call_llvm_pure_intrin(dtype, name, *operands)


def exactly(dtype: str, value: Expr) -> Expr:
    """A float that is rounded before it is used.

    TVM lets LLVM fuse a product with the sum that reads it (llvm::FPOpFusion::Fast), which then rounds once instead of
    twice, on some targets and not on others. llvm.arithmetic.fence forbids it, and costs nothing.
    """
    return intrinsic(dtype, "llvm.arithmetic.fence", value)


def _index(offset: Expr | int, lanes: int) -> Expr:
    return tirx.Ramp(integer(offset), integer(1), lanes) if lanes > 1 else integer(offset)


def _sequence(statements: Sequence[Any]) -> Any:
    """TVM refuses a sequence of one statement."""
    return tirx.SeqStmt(list(statements)) if len(statements) > 1 else statements[0]
