"""Operations that compute each element for itself. Operands broadcast as in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgec.ir.kinds.base import Activation, Kind

UnaryFunction = Literal[
    "abs", "ceil", "cos", "elu", "erf", "exp", "floor", "gelu", "gelu_tanh", "hard_swish", "log",
    "logical_not", "neg", "reciprocal", "relu", "relu6", "round", "rsqrt", "sigmoid", "sign", "sin", "softplus",
    "sqrt", "square", "tan", "tanh",
]  # fmt: skip
UNARY_FUNCTIONS: frozenset[str] = frozenset(UnaryFunction.__args__)  # type: ignore[attr-defined]

BinaryFunction = Literal[
    "add", "sub", "mul", "div", "pow", "floor_mod", "floor_div", "maximum", "minimum", "squared_difference",
    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor",
    "bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right",
]  # fmt: skip
BINARY_FUNCTIONS: frozenset[str] = frozenset(BinaryFunction.__args__)  # type: ignore[attr-defined]

COMPARISONS = frozenset({"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"})
"""Binary functions whose result is bool, whatever they compare."""


@dataclass(frozen=True)
class Unary(Kind):
    """x -> the same shape and dtype.

    round: half to even. elu: alpha is 1. gelu: with erf; gelu_tanh: its approximation. hard_swish:
    x * clip(x / 6 + 1/2, 0, 1).
    """

    function: UnaryFunction

    @property
    def label(self) -> str:
        return self.function


@dataclass(frozen=True)
class Binary(Kind):
    """a, b -> their broadcast shape. Integer div rounds toward zero; floor_mod has the sign of b."""

    function: BinaryFunction
    activation: Activation = "none"

    @property
    def label(self) -> str:
        return self.function


@dataclass(frozen=True)
class HardSigmoid(Kind):
    """x -> min(max(slope * x + offset, 0), 1)."""

    slope: float
    offset: float


@dataclass(frozen=True)
class LeakyRelu(Kind):
    """x -> max(x, 0) + alpha * min(x, 0)."""

    alpha: float


@dataclass(frozen=True)
class PRelu(Kind):
    """x, slope (broadcasts to x) -> max(x, 0) + slope * min(x, 0)."""


@dataclass(frozen=True)
class Clip(Kind):
    """x -> min(max(x, low), high); limits are real numbers, -inf and inf where there is none."""

    low: float
    high: float


@dataclass(frozen=True)
class Select(Kind):
    """condition (bool), a, b -> a where the condition holds, else b; all three broadcast."""


@dataclass(frozen=True)
class Cast(Kind):
    """x -> the same values as another dtype. Float to integer cuts off the fraction."""

    dtype: str
