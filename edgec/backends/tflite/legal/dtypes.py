"""Which element types the kernel of a kind takes, of tensors without a quantization, and casts around the others.

The tables say what both runtimes compute correctly. Small integers are computed as int32, int64 as int32 where there is
no kernel for it: a value beyond 32 bits is then cut off, as in every engine that indexes with 32 bits.
"""

from __future__ import annotations

from functools import singledispatch

from edgec.backends.tflite.legal.rewriting import Place
from edgec.backends.tflite.writer.elementwise import BINARY as WRITTEN
from edgec.ir import kinds
from edgec.ir.kinds import Kind

Dtypes = frozenset[str]

FLOAT: Dtypes = frozenset({"float32"})
INT32: Dtypes = frozenset({"float32", "int32"})
INT64: Dtypes = frozenset({"float32", "int32", "int64"})
BYTES: Dtypes = frozenset({*INT64, "int8", "uint8"})
NUMBERS: Dtypes = frozenset({*BYTES, "int16"})
ALL: Dtypes = frozenset({*NUMBERS, "bool"})
BOOL: Dtypes = frozenset({"bool"})

UNARY: dict[str, Dtypes] = {"abs": INT32, "neg": INT64, "sign": INT32, "logical_not": BOOL}
"""What is not listed computes in float32 only."""

BINARY: dict[str, Dtypes] = {
    "bitwise_xor": frozenset({"int32", "bool"}),
    "div": INT32,
    "equal": frozenset({*INT64, "bool"}),
    "floor_div": INT32,
    "logical_and": BOOL,
    "logical_or": BOOL,
    "not_equal": frozenset({*INT64, "bool"}),
    "pow": INT32,
    "squared_difference": INT32,
}
"""What is not listed takes float32, int32 and int64."""

_WIDER = {
    "bool": ("int8", "int32", "float32"),
    "int64": ("int32", "float32"),
    "int32": ("float32",),
    "int16": ("int32", "float32"),
    "int8": ("int32", "float32"),
    "uint8": ("int32", "float32"),
}
"""What a dtype may be computed as instead, the best first."""


@singledispatch
def accepted(kind: Kind) -> Dtypes | None:
    """The dtypes of the data operands that a kind has a kernel for; None where that is its rule's own matter."""
    return None


@accepted.register(kinds.Reshape)
@accepted.register(kinds.Transpose)
@accepted.register(kinds.Concat)
@accepted.register(kinds.Slice)
@accepted.register(kinds.Gather)
@accepted.register(kinds.BroadcastTo)
@accepted.register(kinds.Reverse)
def _(kind: Kind) -> Dtypes | None:
    return ALL


@accepted.register(kinds.Split)
@accepted.register(kinds.GatherND)
@accepted.register(kinds.TopK)
@accepted.register(kinds.Pad)
def _(kind: Kind) -> Dtypes | None:
    return NUMBERS


@accepted.register
def _(kind: kinds.Tile) -> Dtypes | None:
    return frozenset({*BYTES, "bool"})


@accepted.register(kinds.DepthToSpace)
@accepted.register(kinds.SpaceToDepth)
def _(kind: Kind) -> Dtypes | None:
    return BYTES


@accepted.register
def _(kind: kinds.CumSum) -> Dtypes | None:
    return INT64


@accepted.register(kinds.MaxPool2D)
@accepted.register(kinds.AveragePool2D)
@accepted.register(kinds.ResizeNearest)
@accepted.register(kinds.ResizeBilinear)
@accepted.register(kinds.Conv2D)
@accepted.register(kinds.TransposeConv2D)
@accepted.register(kinds.FullyConnected)
@accepted.register(kinds.Softmax)
@accepted.register(kinds.LogSoftmax)
@accepted.register(kinds.LayerNorm)
@accepted.register(kinds.HardSigmoid)
@accepted.register(kinds.LeakyRelu)
@accepted.register(kinds.PRelu)
def _(kind: Kind) -> Dtypes | None:
    return FLOAT


@accepted.register
def _(kind: kinds.Clip) -> Dtypes | None:
    return INT64


@accepted.register
def _(kind: kinds.ArgReduce) -> Dtypes | None:
    return INT32


@accepted.register
def _(kind: kinds.Reduce) -> Dtypes | None:
    return BOOL if kind.function in ("any", "all") else INT64


@accepted.register
def _(kind: kinds.Unary) -> Dtypes | None:
    return UNARY.get(kind.function, FLOAT)


@accepted.register
def _(kind: kinds.Binary) -> Dtypes | None:
    return BINARY.get(kind.function, INT64) if kind.function in WRITTEN else None


_DATA = {kinds.Gather: (0,), kinds.GatherND: (0,)}
"""Positions of the operands that hold data, where there are others too."""


def computed_in_another_dtype(place: Place) -> bool:
    """Write casts around an operation whose dtype has no kernel; False where it has one."""
    kind, first = place.operation.kind, place.type(0)
    takes = accepted(kind)
    if takes is None or first.quantization is not None or first.dtype in takes:
        return False
    other = next((dtype for dtype in _WIDER.get(first.dtype, ()) if dtype in takes), None)
    if other is None:
        place.refuse(f"it computes on {first.dtype}, and TFLite's kernel does not")
    data = _DATA.get(type(kind), range(len(place.inputs)))
    operands = [
        place.cast(name, other, f"as_{other}.{i}") if i in data else name for i, name in enumerate(place.inputs)
    ]
    outputs = place.operation.outputs
    written = place.add_all(kind, operands, [f"{other}.{i}" for i in range(len(outputs))])
    for name, output in zip(written, outputs, strict=True):
        wanted = place.type_of(output).dtype
        last: Kind = (
            kinds.Cast(wanted) if place.type_of(name).dtype != wanted else kinds.Reshape(place.type_of(name).shape)
        )
        place.rewriting.write(type(place.operation)(last, (name,), (output,), place.operation.origin))
    return True
