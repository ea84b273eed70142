"""What TFLite computes in integers, and why not what it does not.

The answers are what ai-edge-litert and tflite-runtime 2.14 were both seen to compute within the stated steps of the
reference executor (tests/backends/tflite/test_kernels.py): what is not in here is computed in float between DEQUANTIZE
and QUANTIZE.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from edgec.backends.tflite.legal.ranks import REDUCE as REDUCED_DIMENSIONS
from edgec.backends.tflite.legal.ranks import reduced_groups
from edgec.backends.tflite.writer.padding import scheme
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation, Quantization, TensorType
from edgec.ir.kinds import Kind

SIGMOID = {"int8": Quantization.per_tensor(1 / 256, -128), "int16": Quantization.per_tensor(1 / 32768, 0)}
"""The grid that LOGISTIC and SOFTMAX write."""

TANH = {"int8": Quantization.per_tensor(1 / 128, 0), "int16": Quantization.per_tensor(1 / 32768, 0)}
LOG_SOFTMAX = {"int8": Quantization.per_tensor(16 / 256, 127)}

UNARY: dict[str, tuple[str, ...]] = {
    "abs": ("int8", "int16"),
    "elu": ("int8",),
    "exp": ("int8",),
    "gelu": ("int8",),
    "gelu_tanh": ("int8",),
    "hard_swish": ("int8",),
    "relu": ("int8", "int16"),
    "relu6": ("int8", "int16"),
    "rsqrt": ("int8",),
    "sigmoid": ("int8", "int16"),
    "square": ("int8",),
    "tanh": ("int8", "int16"),
}
"""Functions of one operand, and the widths that have kernels."""

BINARY: dict[str, tuple[str, ...]] = {
    "add": ("int8", "int16"),
    "maximum": ("int8", "int16"),
    "minimum": ("int8", "int16"),
    "mul": ("int8", "int16"),
    "squared_difference": ("int8",),
    "sub": ("int8", "int16"),
}
"""Functions of two operands, and the widths that have kernels."""

REDUCE: dict[str, tuple[str, ...]] = {
    "max": ("int8", "int16"),
    "mean": ("int8", "int16"),
    "min": ("int8", "int16"),
    "sum": ("int8",),
}

_ONE_GRID = "TFLite moves integers as they are, and the scales before and after it differ"


@dataclass(frozen=True)
class Case:
    """An operation on quantized tensors that a backend is asked for."""

    graph: Graph
    operation: Operation
    inputs: tuple[TensorType, ...]
    output: TensorType

    @property
    def data(self) -> int:
        """The position of the first operand that holds data: a choice has its condition before."""
        return 1 if isinstance(self.operation.kind, kinds.Select) else 0

    @property
    def dtype(self) -> str:
        return self.inputs[self.data].dtype

    def constant(self, position: int) -> bool:
        """Whether an operand is a constant."""
        return self.graph.constant(self.operation.inputs[position]) is not None


class TFLiteKernels:
    """The integer kernels of TFLite, for int8 activations and for int16 ones with int8 weights."""

    def objection(
        self, graph: Graph, operation: Operation, inputs: tuple[TensorType, ...], output: TensorType
    ) -> str | None:
        """Why an operation can't be computed in integers, in words for the user; None where it can."""
        case = Case(graph, operation, inputs, output)
        return _width(case) or _offset_of_int16(case) or objection(operation.kind, case)


@singledispatch
def objection(kind: Kind, case: Case) -> str | None:
    """Why a kind can't be computed in integers here: one function for each kind that ever can."""
    return f"TFLite has no integer kernel for {kind.label}"


def _width(case: Case) -> str | None:
    for of in (case.inputs[case.data], case.output):
        if of.quantization is not None and of.dtype not in ("int8", "int16"):
            return f"TFLite's integer kernels compute on int8 and int16, not on {of.dtype}"
    if case.inputs[case.data].quantization is None:
        return f"its operand {case.operation.inputs[case.data]!r} is not quantized"
    if case.output.quantization is None and not isinstance(case.operation.kind, kinds.ArgReduce):
        return "TFLite's integer kernels give integers"
    same = case.output.quantization is None or case.output.dtype == case.dtype
    if not same and not isinstance(case.operation.kind, kinds.Quantize):
        return f"it would read {case.dtype} and write {case.output.dtype}"
    return None


def _offset_of_int16(case: Case) -> str | None:
    for of in (*case.inputs, case.output):
        if of.dtype == "int16" and of.quantization is not None and any(of.quantization.zero_point):
            return "TFLite's int16 kernels need a zero point of 0"
    return None


def _only(function: str, case: Case, widths: tuple[str, ...] | None) -> str | None:
    if widths is None:
        return f"TFLite has no integer kernel for {function}"
    return None if case.dtype in widths else f"TFLite has no {case.dtype} kernel for {function}"


def _tied(case: Case, *positions: int) -> str | None:
    """Whether these operands (all, where none is given) and the result are on one grid."""
    chosen = positions or range(len(case.inputs))
    grids = {(case.inputs[i].dtype, case.inputs[i].quantization) for i in chosen}
    return None if grids == {(case.output.dtype, case.output.quantization)} else _ONE_GRID


def _writes(case: Case, grids: dict[str, Quantization]) -> str | None:
    """Whether the result is on the grid that a kernel prescribes."""
    prescribed = grids.get(case.dtype)
    if prescribed is None:
        return f"TFLite has no {case.dtype} kernel for {case.operation.kind.label}"
    found = case.output.quantization
    close = (
        found is not None
        and found.zero_point == prescribed.zero_point
        and abs(found.scale[0] / prescribed.scale[0] - 1) < 1e-6
    )
    if close:
        return None
    return f"TFLite's kernel writes steps of {prescribed.scale[0]:.6g} from {prescribed.zero_point[0]}, and no others"


# --- products ---


@objection.register(kinds.Conv2D)
@objection.register(kinds.TransposeConv2D)
@objection.register(kinds.FullyConnected)
def _(kind: Kind, case: Case) -> str | None:
    weights = case.inputs[1]
    if not case.constant(1):
        return "its weights are computed at run time, and TFLite's integer kernels prepare them beforehand"
    if weights.dtype != "int8" or weights.quantization is None:
        return f"its weights are {weights.dtype}, and TFLite's integer kernels take int8"
    if any(weights.quantization.zero_point):
        return "its weights have a zero point, and TFLite's integer kernels take symmetric ones"
    if len(case.inputs) > 2:
        if not case.constant(2):
            return "its bias is computed at run time"
        if case.inputs[2].dtype != "int32":
            return f"its bias is {case.inputs[2].dtype}, and TFLite's integer kernels add int32"
    return None


@objection.register
def _(kind: kinds.BatchMatMul, case: Case) -> str | None:
    if case.inputs[1].dtype != case.dtype:
        return f"it would multiply {case.dtype} with {case.inputs[1].dtype}"
    if case.inputs[1].quantization is None or case.inputs[1].quantization.axis is not None:
        return "its second operand has a scale for each channel, and TFLite's BATCH_MATMUL takes one"
    return None


# --- windows ---


@objection.register(kinds.MaxPool2D)
@objection.register(kinds.ResizeNearest)
def _(kind: Kind, case: Case) -> str | None:
    return _tied(case)


@objection.register
def _(kind: kinds.ResizeBilinear, case: Case) -> str | None:
    return _tied(case) or _only("ResizeBilinear", case, ("int8",))  # int16 is off by up to 7 steps


@objection.register
def _(kind: kinds.AveragePool2D, case: Case) -> str | None:
    if scheme(case.inputs[0].shape[1:3], kind.kernel, kind.stride, (1, 1), kind.padding) is None:
        return "its padding is neither SAME nor VALID, so that its divisor would have to change at the border"
    return _tied(case)


# --- elementwise ---


@objection.register
def _(kind: kinds.Unary, case: Case) -> str | None:
    if (reason := _only(kind.function, case, UNARY.get(kind.function))) is not None:
        return reason
    if kind.function == "sigmoid":
        return _writes(case, SIGMOID)
    if kind.function == "tanh":
        return _writes(case, TANH)
    if kind.function == "rsqrt" and case.inputs[0].quantization is not None:
        lowest = np.iinfo(case.dtype).min - case.inputs[0].quantization.zero_point[0]
        return "its operand can be negative, and TFLite's kernel stops there" if lowest < 0 else None
    return None


@objection.register
def _(kind: kinds.Binary, case: Case) -> str | None:
    if (reason := _only(kind.function, case, BINARY.get(kind.function))) is not None:
        return reason
    if case.inputs[1].dtype != case.dtype or case.inputs[1].quantization is None:
        return f"it would compute on {case.dtype} and {case.inputs[1].dtype}"
    if kind.function in ("maximum", "minimum"):
        return _tied(case) or ("it has an activation" if kind.activation != "none" else None)
    if kind.activation != "none" and kind.function == "squared_difference":
        return "it has an activation"
    return None


@objection.register
def _(kind: kinds.HardSigmoid, case: Case) -> str | None:
    if not (kind.slope > 0 and kind.offset > 0):
        return "TFLite can only write it with a slope and an offset above 0"
    return _only(kind.label, case, ("int8",))


@objection.register
def _(kind: kinds.LeakyRelu, case: Case) -> str | None:
    return None


@objection.register
def _(kind: kinds.PRelu, case: Case) -> str | None:
    if not case.constant(1):
        return "its slope is computed at run time"
    if case.inputs[1].dtype != "int8" or case.inputs[1].quantization is None:
        return "its slope is not int8"
    return _only("PRelu", case, ("int8",))


@objection.register
def _(kind: kinds.Clip, case: Case) -> str | None:
    return None


@objection.register
def _(kind: kinds.Select, case: Case) -> str | None:
    return _tied(case, 1, 2)


# --- movement ---


@objection.register(kinds.Reshape)
@objection.register(kinds.Transpose)
@objection.register(kinds.Concat)
@objection.register(kinds.Split)
@objection.register(kinds.Slice)
@objection.register(kinds.BroadcastTo)
@objection.register(kinds.Reverse)
def _(kind: Kind, case: Case) -> str | None:
    return _tied(case)


@objection.register(kinds.Gather)
@objection.register(kinds.GatherND)
@objection.register(kinds.Pad)
@objection.register(kinds.TopK)
def _(kind: Kind, case: Case) -> str | None:
    return _tied(case, 0)


@objection.register
def _(kind: kinds.ScatterND, case: Case) -> str | None:
    return _only("ScatterND", case, ("int8",)) or _tied(case, 0, 2)


@objection.register(kinds.Tile)
@objection.register(kinds.DepthToSpace)
@objection.register(kinds.SpaceToDepth)
def _(kind: Kind, case: Case) -> str | None:
    return _only(kind.label, case, ("int8",)) or _tied(case)


# --- normalization, reductions, quantization ---


@objection.register
def _(kind: kinds.Softmax, case: Case) -> str | None:
    return _writes(case, SIGMOID)


@objection.register
def _(kind: kinds.LogSoftmax, case: Case) -> str | None:
    return _writes(case, LOG_SOFTMAX)


@objection.register
def _(kind: kinds.Reduce, case: Case) -> str | None:
    if (reason := _only(kind.label, case, REDUCE.get(kind.function))) is not None:
        return reason
    if kind.function in ("max", "min"):
        return _tied(case)
    if len(reduced_groups(kind, case.inputs[0].rank)) > REDUCED_DIMENSIONS:
        return "it reduces dimensions that are too many and too far apart for one kernel, and two would round twice"
    return None


@objection.register
def _(kind: kinds.ArgReduce, case: Case) -> str | None:
    return _only(kind.label, case, ("int8",))


@objection.register
def _(kind: kinds.Quantize, case: Case) -> str | None:
    if case.dtype == "int8" and case.output.dtype == "int16":
        return "tflite-runtime 2.14 does not widen int8 to int16"
    return None
