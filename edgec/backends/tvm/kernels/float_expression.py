"""Small expressions of values, element by element: what a kernel does with what it has in registers.

Values are float32, or integers that stand for themselves; bool is uint8, 0 or 1. Each function computes what
`edgec.ir.reference.elementwise` defines: +, -, *, /, limits and comparisons to the bit (`exactly`: no product is fused
with a sum), others as precisely as `float_math` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgec.backends.tvm.emitter import (
    Expr,
    exactly,
    floor_division,
    intrinsic,
    maximum,
    minimum,
    select,
    truncated_division,
    vector,
)
from edgec.backends.tvm.kernels.float_math import FloatMath

MOST_TERMS = 12
"""Of one expression: more of them hold more vectors than there are registers."""


@dataclass(frozen=True)
class Term:
    """One function. operands: numbers of the expression's operands, then of terms before. dtype: of what it makes.
    numbers: parameters of the kind."""

    function: str
    operands: tuple[int, ...]
    dtype: str = "float32"
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True)
class Expression:
    """operands: their dtypes. terms: in the order of computation; the last one is the result, which is the first
    operand where there is none."""

    operands: tuple[str, ...]
    terms: tuple[Term, ...] = ()

    @property
    def dtype(self) -> str:
        """Of the result."""
        return self.terms[-1].dtype if self.terms else self.operands[0]

    @property
    def label(self) -> str:
        """What it computes, for reports."""
        return "_".join(term.function for term in self.terms)

    def emit(self, functions: FloatMath, values: Sequence[Expr]) -> Expr:
        """The result, of the operands' vectors (which are bound)."""
        known, dtypes = list(values), list(self.operands)
        for term in self.terms:
            operands = [known[number] for number in term.operands]
            of = dtypes[term.operands[0] if term.function != "select" else term.operands[1]]
            made = _computed(_Context(functions, of, term), operands)
            known.append(functions.bind(made, in_memory(term.dtype)))
            dtypes.append(term.dtype)
        return known[-1] if self.terms else known[0]


def in_memory(dtype: str) -> str:
    """bool takes a byte."""
    return "uint8" if dtype == "bool" else dtype


@dataclass(frozen=True)
class _Context:
    """What a function may ask. of: dtype of its operands."""

    math: FloatMath
    of: str
    term: Term

    @property
    def is_real(self) -> bool:
        return self.of.startswith("float")

    def number(self, value: float) -> Expr:
        """In the operands' dtype."""
        return self.math.number(value if self.is_real else int(value), in_memory(self.of))

    def product(self, a: Expr, b: Expr) -> Expr:
        """Rounded by itself."""
        return exactly(vector(self.of, self.math.lanes), a * b) if self.is_real else a * b

    def truth(self, condition: Expr) -> Expr:
        """A condition as a byte."""
        return select(condition, self.math.number(1, "uint8"), self.math.number(0, "uint8"))

    def in_float64(self, value: Expr) -> Expr:
        return self.math.bind(self.math.as_type(value, "float64"), "float64")


Function = Callable[..., Expr]


def _computed(at: _Context, operands: Sequence[Expr]) -> Expr:
    return FUNCTIONS[at.term.function](at, *operands)


def is_known(function: str, dtype: str) -> bool:
    """Whether a function of operands of a dtype can be computed."""
    if function not in FUNCTIONS:
        return False
    return dtype == "float32" or function not in _REAL_ONLY


# --- functions of one value ---


def _sign(at: _Context, x: Expr) -> Expr:
    zero, one = at.number(0), at.number(1)
    negative = at.number(-1) if not at.of.startswith("u") and at.of != "bool" else zero
    return select(x > zero, one, select(x < zero, negative, x))


def _limited(at: _Context, x: Expr, low: float, high: float) -> Expr:
    """NaN comes through, see `float_math`."""
    if low > -math.inf:
        x = maximum(at.number(low), x)
    return minimum(at.number(high), x) if high < math.inf else x


def _clip(at: _Context, x: Expr) -> Expr:
    low, high = at.term.numbers
    return _limited(at, x, low, high)


def _hard_swish(at: _Context, x: Expr) -> Expr:
    share = at.product(x, at.number(1 / 6)) + at.number(0.5)
    return x * _limited(at, share, 0, 1)


def _hard_sigmoid(at: _Context, x: Expr) -> Expr:
    slope, offset = at.term.numbers
    return _limited(at, at.product(x, at.number(slope)) + at.number(offset), 0, 1)


def _gelu(at: _Context, x: Expr) -> Expr:
    m = at.math
    return at.number(0.5) * x * (at.number(1) + m.erf(m.bind(x * at.number(math.sqrt(0.5)))))


def _gelu_tanh(at: _Context, x: Expr) -> Expr:
    m = at.math
    inner = at.number(math.sqrt(2 / math.pi)) * (x + at.number(0.044715) * x * x * x)
    return at.number(0.5) * x * (at.number(1) + m.tanh(m.bind(inner)))


def _elu(at: _Context, x: Expr) -> Expr:
    return select(x > at.number(0), x, at.math.less_than_zero_expm1(at.math.bind(minimum(at.number(0), x))))


def _absolute(at: _Context, x: Expr) -> Expr:
    return at.math.absolute(x) if at.of == "float32" else select(x < at.number(0), at.number(0) - x, x)


def _cast(at: _Context, x: Expr) -> Expr:
    to = at.term.dtype
    if to == "bool":
        return _differ(at, x, at.number(0))
    if (at.of, to) == ("int64", "float32"):
        return at.math.from_long(x)
    if at.of == "float32" and not to.startswith("float"):
        if to == "int64":
            return at.math.to_long(x)
        x = at.math.to_integer(x)
    return at.math.as_type(x, to)


# --- functions of two values ---


def _divided(at: _Context, a: Expr, b: Expr) -> Expr:
    if at.is_real:
        return a / b
    return _guarded(at, a, b, truncated_division, at.number(0) - a)


def _floor_divided(at: _Context, a: Expr, b: Expr) -> Expr:
    if at.is_real:
        return at.math.as_type(_floored(at, at.in_float64(a) / at.in_float64(b)), "float32")
    return _guarded(at, a, b, floor_division, at.number(0) - a)


def _floor_mod(at: _Context, a: Expr, b: Expr) -> Expr:
    """a - floor(a / b) * b, exact in float64 where the quotient has up to 29 bits."""
    if not at.is_real:
        return _guarded(at, a, b, lambda x, y: x - floor_division(x, y) * y, at.number(0))
    x, y = at.in_float64(a), at.in_float64(b)
    rest = at.math.as_type(x - _floored(at, x / y) * y, "float32")
    # Of an infinite b nothing is taken; where the signs differ, all of it.
    infinite, finite = at.math.absolute(b) == at.number(math.inf), at.math.absolute(a) < at.number(math.inf)
    return select(finite, select(infinite, select(a * b < at.number(0), b, a), rest), at.number(math.nan))


def _floored(at: _Context, x: Expr) -> Expr:
    return at.math.bind(intrinsic(vector("float64", at.math.lanes), "llvm.floor", x), "float64")


def _guarded(at: _Context, a: Expr, b: Expr, quotient: Callable[[Expr, Expr], Expr], by_minus_one: Expr) -> Expr:
    """An integer division that no divisor stops: by 0 it gives 0, and by -1 what is said."""
    zero, one = at.number(0), at.number(1)
    if at.of.startswith("u"):
        return select(b == zero, zero, quotient(a, select(b == zero, one, b)))
    minus_one = at.number(-1)
    harmless = at.math.bind(select((b + one) * b == zero, one, b), at.of)
    return select(b == zero, zero, select(b == minus_one, by_minus_one, quotient(a, harmless)))


def _maximum(at: _Context, a: Expr, b: Expr) -> Expr:
    return at.math.larger(a, b) if at.is_real else maximum(a, b)


def _minimum(at: _Context, a: Expr, b: Expr) -> Expr:
    return at.math.smaller(a, b) if at.is_real else minimum(a, b)


def _differ(at: _Context, a: Expr, b: Expr) -> Expr:
    """NaN differs from everything: TVM's != says otherwise."""
    return select(a == b, at.math.number(0, "uint8"), at.math.number(1, "uint8"))


def _squared_difference(at: _Context, a: Expr, b: Expr) -> Expr:
    difference = at.math.bind(a - b, at.of)
    return at.product(difference, difference)


def _is_no_number(at: _Context, x: Expr) -> Expr:
    """Whether x != x, which TVM's simplifier takes for false."""
    return at.math.is_nan(x) if at.is_real else x != x


def _is_number(at: _Context, x: Expr) -> Expr:
    """Whether x == x."""
    return at.math.absolute(x) <= at.number(math.inf) if at.is_real else x == x


def _leaky(at: _Context, x: Expr, slope: Expr) -> Expr:
    return select(x < at.number(0), at.product(x, slope), x)


FUNCTIONS: dict[str, Function] = {
    # of one value
    "abs": _absolute,
    "ceil": lambda at, x: at.math.intrinsic("llvm.ceil", x),
    "cos": lambda at, x: at.math.sine(x, 1),
    "elu": _elu,
    "erf": lambda at, x: at.math.erf(x),
    "exp": lambda at, x: at.math.exp(x),
    "floor": lambda at, x: at.math.intrinsic("llvm.floor", x),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hard_swish": _hard_swish,
    "log": lambda at, x: at.math.log(x),
    "logical_not": lambda at, x: at.truth(x == at.number(0)),
    "neg": lambda at, x: -x if at.is_real else at.number(0) - x,
    "reciprocal": lambda at, x: at.number(1) / x,
    "relu": lambda at, x: _limited(at, x, 0, math.inf),
    "relu6": lambda at, x: _limited(at, x, 0, 6),
    "round": lambda at, x: at.math.intrinsic("llvm.rint", x),
    "rsqrt": lambda at, x: at.number(1) / at.math.square_root(x),
    "sigmoid": lambda at, x: at.math.sigmoid(x),
    "sign": _sign,
    "sin": lambda at, x: at.math.sine(x),
    "softplus": lambda at, x: at.math.softplus(x),
    "sqrt": lambda at, x: at.math.square_root(x),
    "square": lambda at, x: at.product(x, x),
    "tan": lambda at, x: at.math.tangent(x),
    "tanh": lambda at, x: at.math.tanh(x),
    "clip": _clip,
    "hard_sigmoid": _hard_sigmoid,
    "leaky_relu": lambda at, x: _leaky(at, x, at.number(at.term.numbers[0])),
    "cast": _cast,
    # of two
    "add": lambda at, a, b: a + b,
    "sub": lambda at, a, b: a - b,
    "mul": lambda at, a, b: at.product(a, b),
    "div": _divided,
    "pow": lambda at, a, b: at.math.power(a, b),
    "floor_mod": _floor_mod,
    "floor_div": _floor_divided,
    "maximum": _maximum,
    "minimum": _minimum,
    "squared_difference": _squared_difference,
    "prelu": _leaky,
    "equal": lambda at, a, b: at.truth(_is_number(at, a) if a is b else a == b),
    "not_equal": lambda at, a, b: at.truth(_is_no_number(at, a)) if a is b else _differ(at, a, b),
    "less": lambda at, a, b: at.truth(a < b),
    "less_equal": lambda at, a, b: at.truth(_is_number(at, a) if a is b else a <= b),
    "greater": lambda at, a, b: at.truth(a > b),
    "greater_equal": lambda at, a, b: at.truth(_is_number(at, a) if a is b else a >= b),
    "logical_and": lambda at, a, b: at.truth((a * b) != at.number(0)),
    "logical_or": lambda at, a, b: at.truth((a | b) != at.number(0)),
    "logical_xor": lambda at, a, b: at.truth(a != b),
    "bitwise_and": lambda at, a, b: a & b,
    "bitwise_or": lambda at, a, b: a | b,
    "bitwise_xor": lambda at, a, b: a ^ b,
    "shift_left": lambda at, a, b: a << b,
    "shift_right": lambda at, a, b: a >> b,
    # of three
    "select": lambda at, condition, a, b: select(condition != at.math.number(0, "uint8"), a, b),
}
"""What each term computes."""

_REAL_ONLY = frozenset({
    "ceil", "cos", "elu", "erf", "exp", "floor", "gelu", "gelu_tanh", "hard_swish", "log", "reciprocal", "round",
    "rsqrt", "sigmoid", "sin", "softplus", "sqrt", "tan", "tanh", "hard_sigmoid", "leaky_relu", "prelu", "pow",
})  # fmt: skip
"""Functions of float32 only."""
