"""Elementwise operations.

On quantized tensors: a function of one operand is a table with an entry for each of its integers. An entry is the
function of the real number (float32), computed in float64 and rounded to float32, on the grid of the result. Functions
of several operands are computed in float32 from the real numbers and put on the grid of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.kinds.elementwise import COMPARISONS
from edgec.ir.reference.dispatch import Tensor, compute
from edgec.ir.reference.grid import limits, real, requantized, stored, whole
from edgec.ir.reference.products import activated

Function = Callable[[np.ndarray], np.ndarray]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


UNARY: dict[str, Function] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "cos": np.cos,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "erf": _erf,
    "exp": np.exp,
    "floor": np.floor,
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelu_tanh": _gelu_tanh,
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "log": np.log,
    "logical_not": np.logical_not,
    "neg": np.negative,
    "reciprocal": lambda x: 1 / x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "round": np.rint,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": _sigmoid,
    "sign": np.sign,
    "sin": np.sin,
    "softplus": lambda x: np.logaddexp(x, 0),
    "sqrt": np.sqrt,
    "square": np.square,
    "tan": np.tan,
    "tanh": np.tanh,
}
"""What each function of `Unary` is, for floats of any width."""


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)))


BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _divided,
    "pow": np.power,
    "floor_mod": np.mod,
    "floor_div": np.floor_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "squared_difference": lambda a, b: np.square(a - b),
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "shift_left": np.left_shift,
    "shift_right": np.right_shift,
}
"""What each function of `Binary` is."""


@compute.register
def _(kind: kinds.Unary, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    return [_of_one(UNARY[kind.function], operands[0], results[0])]


@compute.register
def _(kind: kinds.HardSigmoid, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    slope, offset = np.float32(kind.slope), np.float32(kind.offset)
    return [_of_one(lambda x: np.clip(x * slope + offset, 0, 1), operands[0], results[0])]


@compute.register
def _(kind: kinds.LeakyRelu, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    alpha = np.float32(kind.alpha)
    return [_of_one(lambda x: np.where(x < 0, x * alpha, x), operands[0], results[0])]


@compute.register
def _(kind: kinds.Clip, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    def clipped(x: np.ndarray) -> np.ndarray:
        if x.dtype.kind == "f":
            return np.asarray(np.minimum(np.maximum(x, np.float32(kind.low)), np.float32(kind.high)))
        low, high = np.iinfo(x.dtype).min, np.iinfo(x.dtype).max
        return np.asarray(np.clip(x, int(max(kind.low, low)), int(min(kind.high, high))))

    return [_of_one(clipped, operands[0], results[0])]


def _of_one(function: Function, x: Tensor, result: TensorType) -> np.ndarray:
    with np.errstate(all="ignore"):
        if x.type.quantization is None:
            return stored(function(x.data), result)
        low, _ = limits(x.type.dtype)
        return np.asarray(table(function, x.type, result)[x.data.astype(np.int64) - low])


def table(function: Function, of: TensorType, result: TensorType) -> np.ndarray:
    """What a function makes of each integer of an 8- or 16-bit type, the smallest first: [256] or [65536]."""
    low, high = limits(of.dtype)
    integers = np.arange(low, high + 1).astype(of.dtype)
    values = real(Tensor(integers, of.of_shape(integers.shape)))
    with np.errstate(all="ignore"):
        made = np.asarray(function(values.astype(np.float64))).astype(np.float32)
    return stored(made, result.of_shape(made.shape))


@compute.register
def _(kind: kinds.Binary, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    a, b = (real(item) for item in operands)
    with np.errstate(all="ignore"):
        made = BINARY[kind.function](a, b)
    if kind.function in COMPARISONS:
        return [made]
    return [stored(activated(made, kind.activation), results[0])]


@compute.register
def _(kind: kinds.PRelu, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    x, slope = (real(item) for item in operands)
    return [stored(np.where(x < 0, x * slope, x), results[0])]


@compute.register
def _(kind: kinds.Select, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    a, b = (requantized(item, results[0]) for item in operands[1:])
    return [np.where(operands[0].data, a, b)]


@compute.register
def _(kind: kinds.Cast, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    x = operands[0].data
    if np.issubdtype(x.dtype, np.floating) and np.issubdtype(kind.dtype, np.integer):
        return [whole(x, kind.dtype)]
    return [x.astype(kind.dtype)]
