"""Functions of float32 vectors, computed without a call of the C library.

Each reduces its argument to a short interval and evaluates a polynomial there. Coefficients were fitted by least
squares with Lawson's weights towards the smallest largest relative error (`exp`, `log`, `tanh`, `erf`), or are those of
Taylor's series (what is computed in float64: its rounding is far below a float32's). Errors are said at each, in units
of the last place (ulp); `tests/backends/tvm/test_float_math.py` measures them against float64 all over their ranges.

NaN gives NaN, and infinities what IEEE 754 says of the function. Every comparison with NaN is false, TVM's a != b too,
and `maximum(limit, x)` is `limit > x ? limit : x`: with the limit first, NaN comes through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgec.backends.tvm.emitter import (
    Emitter,
    Expr,
    broadcast,
    cast,
    constant,
    intrinsic,
    maximum,
    minimum,
    reinterpret,
    select,
    vector,
)

_LOG2_E = 1 / math.log(2)

_LN2_HIGH = 0.693359375
"""ln 2 in 9 bits: its product with an exponent is exact."""

_LN2_LOW = math.log(2) - _LN2_HIGH

_ROUNDING = 1.5 * 2.0**23
"""Added to a float32 below 2^22, it leaves the nearest integer in the lowest bits."""

_ROUNDING_64 = 1.5 * 2.0**52
"""The same of float64."""

_EXP = (0.4999999344756022, 0.16666520629439158, 0.041668388092689454, 0.008368717090864862, 0.0013814596382734478)
"""(exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2: relative error of exp(r) 3e-9."""

_LOG = (
    0.33333312602802917, -0.2500000960365491, 0.20002118732199164, -0.16667995667061022, 0.14219550908277245,
    -0.12405591417685778, 0.11888174598552746, -0.11675641300419602, 0.0674660132391101,
)  # fmt: skip
"""(log(1 + f) - f + f^2 / 2) / f^3 for 1 + f in [sqrt(1/2), sqrt(2)]: relative error of log(1 + f) 8e-10."""

_TANH = (-0.33333281940191073, 0.13331442157724332, -0.05373971216996058, 0.02063907877859043, -0.005704978411242201)
"""(tanh(x) - x) / x^3 in powers of x^2 for |x| <= 0.625: relative error of tanh(x) 5e-9."""

_TANH_SMALL = 0.625

_ERF = (
    0.1283791657265698, -0.3761262582376679, 0.1128358514447507, -0.026853811782933112, 0.005188327418275587,
    -0.0008010191399070721, 7.853854285856665e-05,
)  # fmt: skip
"""erf(x) / x - 1 in powers of x^2 for |x| <= 1: relative error of erf(x) 2e-9."""

_ERFC = (
    -1.1284800405925803, -0.6358314703791038, -0.10511614971527916, 0.022798469502571583, -0.0031869488679803215,
    0.00021064349777050184,
)  # fmt: skip
"""log(1 - erf(x)) / x for x in [1, 4]: relative error of erf(x) 3e-9."""

_SQRT_HALF_BITS = int(np.float32(math.sqrt(0.5)).view(np.int32))
_SQRT_HALF_BITS_64 = int(np.float64(math.sqrt(0.5)).view(np.int64))
_TINY = float(np.finfo(np.float32).tiny)


class FloatMath:
    """Functions of vectors of so many lanes. Operands are evaluated as often as they are used: `bind` them."""

    def __init__(self, emitter: Emitter, lanes: int) -> None:
        self.emitter = emitter
        self.lanes = lanes

    # --- numbers ---

    def number(self, value: float, dtype: str = "float32") -> Expr:
        """The same number in every lane."""
        return broadcast(constant(value, dtype), self.lanes)

    def bind(self, value: Expr, dtype: str = "float32") -> Expr:
        """Compute a vector here, once, and exactly as it is written.

        Through a register, because TVM's simplifier puts an expression that only has a name wherever the name is,
        copies and all, and takes (x + c) - c for x.
        """
        made = self.emitter.register(self.lanes, dtype, value)
        return self.emitter.bind(made.get(), vector(dtype, self.lanes))

    def bits(self, value: Expr, dtype: str = "int32") -> Expr:
        """A float's bits, as integers of its width."""
        return reinterpret(vector(dtype, self.lanes), value)

    def from_bits(self, value: Expr, dtype: str = "float32") -> Expr:
        return reinterpret(vector(dtype, self.lanes), value)

    def as_type(self, value: Expr, dtype: str) -> Expr:
        return cast(vector(dtype, self.lanes), value)

    def intrinsic(self, name: str, *operands: Expr) -> Expr:
        """Of float32."""
        return intrinsic(vector("float32", self.lanes), name, *operands)

    def polynomial(self, x: Expr, coefficients: Sequence[float], dtype: str = "float32") -> Expr:
        """Coefficients of x^0, x^1, ..."""
        made = self.number(coefficients[-1], dtype)
        for coefficient in reversed(coefficients[:-1]):
            made = made * x + self.number(coefficient, dtype)
        return self.bind(made, dtype)

    # --- int64, by halves: LLVM calls functions that not every runtime library of ARMv7 has ---

    def from_long(self, x: Expr) -> Expr:
        """int64 to float32."""
        wide = "float64"
        high = self.as_type(self.as_type(x >> self.number(32, "int64"), "int32"), wide)
        low = self.as_type(self.as_type(x, "uint32"), wide)
        return self.as_type(high * self.number(2.0**32, wide) + low, "float32")

    def to_long(self, x: Expr) -> Expr:
        """float32 to int64, toward zero; of what an int64 does not hold, the lowest one, see
        `edgec.ir.reference.grid.whole`."""
        wide, long = "float64", "int64"
        size = self.bind(self.as_type(self.absolute(x), wide), wide)
        high = self.bind(self.as_type(size * self.number(2.0**-32, wide), "uint32"), "uint32")
        low = self.as_type(size - self.as_type(high, wide) * self.number(2.0**32, wide), "uint32")
        whole = (self.as_type(high, long) << self.number(32, long)) + self.as_type(low, long)
        whole = self.bind(whole, long)
        signed = select(x < self.number(0.0), self.number(0, long) - whole, whole)
        return select(self.absolute(x) < self.number(2.0**63), signed, self.number(-(2**63), long))

    def to_integer(self, x: Expr) -> Expr:
        """float32 to int32, toward zero; of what an int32 does not hold, the lowest one."""
        return select(self.absolute(x) < self.number(2.0**31), self.as_type(x, "int32"), self.number(-(2**31), "int32"))

    # --- simple ones ---

    def absolute(self, x: Expr) -> Expr:
        return self.intrinsic("llvm.fabs", x)

    def at_least(self, limit: float, x: Expr) -> Expr:
        return maximum(self.number(limit), x)

    def at_most(self, limit: float, x: Expr) -> Expr:
        return minimum(self.number(limit), x)

    def larger(self, a: Expr, b: Expr) -> Expr:
        """NaN where either is."""
        return self.intrinsic("llvm.maximum", a, b)

    def smaller(self, a: Expr, b: Expr) -> Expr:
        """NaN where either is."""
        return self.intrinsic("llvm.minimum", a, b)

    def is_nan(self, x: Expr) -> Expr:
        """By its bits: TVM's simplifier knows that x == x."""
        size = self.bits(x) & self.number(0x7FFFFFFF, "int32")
        return size > self.number(0x7F800000, "int32")

    def square_root(self, x: Expr) -> Expr:
        return self.intrinsic("llvm.sqrt", x)

    # --- exponentials ---

    def exp(self, x: Expr) -> Expr:
        """e^x within 1 ulp; 0 below -104, inf above 88.73, denormal numbers between -104 and -87.3."""
        n, r = self._reduced(self.bind(self.at_most(89.0, self.at_least(-104.0, x))))
        grown = self.polynomial(r, _EXP) * (r * r) + r + self.number(1.0)
        # 2^n in two factors: n is between -151 and 128, beyond what an exponent holds.
        half = self.bind(n >> self.number(1, "int32"), "int32")
        return self.bind(grown * self._power_of_2(half) * self._power_of_2(n - half))

    def less_than_zero_expm1(self, x: Expr) -> Expr:
        """e^x - 1 for x <= 0, within 2 ulp."""
        n, r = self._reduced(self.bind(self.at_least(-87.0, x)))
        small = self.bind(self.polynomial(r, _EXP) * (r * r) + r)
        scale = self.bind(self._power_of_2(n))
        return self.bind((scale - self.number(1.0)) + scale * small)

    def _reduced(self, x: Expr) -> tuple[Expr, Expr]:
        """n (int32) and r with x = n * ln 2 + r, |r| <= ln(2) / 2."""
        shifted = self.bind(x * self.number(_LOG2_E) + self.number(_ROUNDING))
        n = self.bind(shifted - self.number(_ROUNDING))
        r = self.bind((x - n * self.number(_LN2_HIGH)) - n * self.number(_LN2_LOW))
        whole = self.bits(shifted) - self.number(int(np.float32(_ROUNDING).view(np.int32)), "int32")
        return self.bind(whole, "int32"), r

    def _power_of_2(self, exponent: Expr) -> Expr:
        """2^exponent for an int32 between -126 and 127."""
        return self.from_bits((exponent + self.number(127, "int32")) << self.number(23, "int32"))

    def sigmoid(self, x: Expr) -> Expr:
        """1 / (1 + e^-x) within 3 ulp."""
        one = self.number(1.0)
        return self.bind(one / (one + self.exp(-x)))

    def tanh(self, x: Expr) -> Expr:
        """Within 2 ulp."""
        size = self.bind(self.absolute(x))
        square = self.bind(x * x)
        small = self.polynomial(square, _TANH) * square * x + x
        grown = self.exp(size + size)
        large = self.bind(self.number(1.0) - self.number(2.0) / (grown + self.number(1.0)))
        return self.bind(select(size < self.number(_TANH_SMALL), small, self._signed(large, x)))

    def erf(self, x: Expr) -> Expr:
        """Within 2 ulp."""
        size = self.bind(self.absolute(x))
        square = self.bind(x * x)
        small = self.polynomial(square, _ERF) * x + x
        limited = self.bind(self.at_most(4.0, size))  # 1 - erf(4) is less than half an ulp of 1
        large = self.bind(self.number(1.0) - self.exp(self.polynomial(limited, _ERFC) * limited))
        return self.bind(select(size < self.number(1.0), small, self._signed(large, x)))

    def _signed(self, size: Expr, sign: Expr) -> Expr:
        return select(sign < self.number(0.0), -size, size)

    # --- logarithms ---

    def log(self, x: Expr) -> Expr:
        """Within 1 ulp; of numbers below 0 NaN, of 0 -inf."""
        tiny = x < self.number(_TINY)
        scaled = self.bind(select(tiny, x * self.number(2.0**23), x))
        integers = self.bind(self.bits(scaled), "int32")
        above = integers - self.number(_SQRT_HALF_BITS, "int32")
        exponent = self.bind(above >> self.number(23, "int32"), "int32")
        mantissa = self.from_bits(integers - (exponent << self.number(23, "int32")))
        f = self.bind(mantissa - self.number(1.0))
        taken = select(tiny, self.number(-23, "int32"), self.number(0, "int32"))
        n = self.bind(self.as_type(exponent + taken, "float32"))
        square = self.bind(f * f)
        rest = self.polynomial(f, _LOG) * (f * square) + n * self.number(_LN2_LOW)
        rest = self.bind(rest - square * self.number(0.5))
        found = self.bind((f + rest) + n * self.number(_LN2_HIGH))
        infinite = self.number(math.inf)
        of_no_number = select(x == self.number(0.0), -infinite, self.number(math.nan))
        return self.bind(select(x > self.number(0.0), select(x < infinite, found, x), of_no_number))

    def softplus(self, x: Expr) -> Expr:
        """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|) within 3 ulp."""
        one = self.number(1.0)
        power = self.exp(-self.absolute(x))
        sum_ = self.bind(one + power)
        # What the sum lost by rounding, in units of it: the derivative of the logarithm is 1 / sum.
        lost = self.bind((sum_ - one) - power)
        return self.bind(self.at_least(0.0, x) + (self.log(sum_) - lost / sum_))

    # --- in float64 ---

    def sine(self, x: Expr, quarters: int = 0) -> Expr:
        """sin(x + quarters * pi / 2) within 1 ulp for |x| < 2^20 (of what is left of x, beyond)."""
        parity, sign, sine, cosine = self._angles(x)
        # quarters + quadrant: odd ones are the cosine, 2 and 3 are negative.
        even, odd = (sine, cosine) if quarters == 0 else (cosine, sine)
        negative = sign if quarters == 0 else sign ^ parity
        size = select(parity == self.number(0, "int64"), even, odd)
        return self.as_type(self._negated(size, negative), "float32")

    def tangent(self, x: Expr) -> Expr:
        """Within 1 ulp, like `sine`."""
        parity, _, sine, cosine = self._angles(x)
        made = select(parity == self.number(0, "int64"), sine / cosine, -(cosine / sine))
        return self.as_type(made, "float32")

    def _negated(self, value: Expr, bit: Expr) -> Expr:
        return select(bit == self.number(0, "int64"), value, -value)

    def _angles(self, x: Expr) -> tuple[Expr, Expr, Expr, Expr]:
        """The two bits of the quadrant (int64), and sine and cosine of what is left, |r| <= pi / 4 (float64)."""
        wide, long = "float64", "int64"
        x = self.bind(self.as_type(x, wide), wide)
        shifted = self.bind(x * self.number(2 / math.pi, wide) + self.number(_ROUNDING_64, wide), wide)
        n = self.bind(shifted - self.number(_ROUNDING_64, wide), wide)
        # pi / 2 in 33 bits and the rest: n of up to 20 bits times the first is exact.
        high = 1.5707963267341256
        low = 6.077100506506192e-11
        r = self.bind((x - n * self.number(high, wide)) - n * self.number(low, wide), wide)
        square = self.bind(r * r, wide)
        sine = self.polynomial(square, [(-1) ** k / math.factorial(2 * k + 1) for k in range(7)], wide) * r
        cosine = self.polynomial(square, [(-1) ** k / math.factorial(2 * k) for k in range(8)], wide)
        quadrant = self.bind(self.bits(shifted, long), long)
        one = self.number(1, long)
        parity = self.bind(quadrant & one, long)
        sign = self.bind((quadrant >> one) & one, long)
        return parity, sign, self.bind(sine, wide), cosine

    def power(self, a: Expr, b: Expr) -> Expr:
        """a^b as IEEE 754 defines it, within 1 ulp."""
        wide, zero, one, infinite = "float64", self.number(0.0), self.number(1.0), self.number(math.inf)
        size = self.bind(self.absolute(a))
        logarithm = self._log_64(self.bind(self.as_type(size, wide), wide))
        logarithm = select(size == zero, self.number(-math.inf, wide), logarithm)
        logarithm = select(size < infinite, logarithm, self.as_type(size, wide))  # inf and NaN
        made = self.as_type(self._exp_64(self.bind(logarithm * self.as_type(b, wide), wide)), "float32")
        made = self.bind(select(size == one, one, made))
        half = self.bind(b * self.number(0.5))
        odd = self.intrinsic("llvm.floor", half) != half
        whole = self.intrinsic("llvm.floor", b) == b
        of_none = select(size < infinite, self.number(math.nan), made)  # -inf has a size in any power
        of_negative = select(whole, select(odd, -made, made), of_none)
        negative = a < zero
        made = self.bind(select(negative, of_negative, made))
        return self.bind(select(b == zero, one, made))

    def _log_64(self, x: Expr) -> Expr:
        """Of float64 that are normal and positive: 2 * atanh((m - 1) / (m + 1)) + exponent * ln 2."""
        wide, long = "float64", "int64"
        integers = self.bind(self.bits(x, long), long)
        above = integers - self.number(_SQRT_HALF_BITS_64, long)
        exponent = self.bind(above >> self.number(52, long), long)
        m = self.bind(self.from_bits(integers - (exponent << self.number(52, long)), wide), wide)
        s = self.bind((m - self.number(1.0, wide)) / (m + self.number(1.0, wide)), wide)
        square = self.bind(s * s, wide)
        series = self.polynomial(square, [2 / (2 * k + 1) for k in range(9)], wide)
        exponent = self.as_type(self.as_type(exponent, "int32"), wide)
        return self.bind(series * s + exponent * self.number(math.log(2), wide), wide)

    def _exp_64(self, x: Expr) -> Expr:
        """Of float64, limited to where a float32 is 0 or infinite."""
        wide, long = "float64", "int64"
        x = self.bind(minimum(self.number(200.0, wide), maximum(self.number(-200.0, wide), x)), wide)
        shifted = self.bind(x * self.number(_LOG2_E, wide) + self.number(_ROUNDING_64, wide), wide)
        n = self.bind(shifted - self.number(_ROUNDING_64, wide), wide)
        r = self.bind(x - n * self.number(math.log(2), wide), wide)
        series = self.polynomial(r, [1 / math.factorial(k) for k in range(11)], wide)
        whole = self.bits(shifted, long) - self.number(int(np.float64(_ROUNDING_64).view(np.int64)), long)
        scale = self.from_bits((whole + self.number(1023, long)) << self.number(52, long), wide)
        return self.bind(series * scale, wide)
