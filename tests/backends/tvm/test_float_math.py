"""Functions of float32 are as near to the true values as they say, all over their ranges.

The true value is numpy's in float64, and errors are counted in units of the last place (ulp) of the float32 next to it.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import TensorType

pytest.importorskip("tvm")

from tests.backends.tvm.compiled import HOST_RUNS_IT, engine_of

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")

_erf = np.vectorize(math.erf, otypes=[np.float64])

# Function: the true values, the range of arguments, and the largest error in ulp.
FUNCTIONS = {
    "exp": (np.exp, (-103, 88.7), 1.5),
    "log": (np.log, (1e-42, 1e38), 1.5),
    "tanh": (np.tanh, (-12, 12), 2),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), (-80, 80), 3),
    "erf": (_erf, (-5, 5), 2),
    "softplus": (lambda x: np.logaddexp(x, 0), (-80, 80), 3),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), (-80, 10), 2),
    "sin": (np.sin, (-1000, 1000), 1),
    "cos": (np.cos, (-1000, 1000), 1),
    "tan": (np.tan, (-1000, 1000), 1),
    "rsqrt": (lambda x: 1 / np.sqrt(x), (1e-37, 1e38), 1.5),
}

# In units of the last place of x where the result is smaller: 1 + erf cancels.
GELUS = {
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
}

SPECIAL = {
    "exp": {-np.inf: 0, np.inf: np.inf, np.nan: np.nan, 0: 1, -200: 0, 200: np.inf},
    "log": {0: -np.inf, -1: np.nan, np.inf: np.inf, np.nan: np.nan, 1: 0, -np.inf: np.nan},
    "tanh": {-np.inf: -1, np.inf: 1, np.nan: np.nan, 0: 0},
    "sigmoid": {-np.inf: 0, np.inf: 1, np.nan: np.nan, 0: 0.5},
    "erf": {-np.inf: -1, np.inf: 1, np.nan: np.nan, 0: 0},
    "softplus": {-np.inf: 0, np.inf: np.inf, np.nan: np.nan},
    "elu": {-np.inf: -1, np.inf: np.inf, np.nan: np.nan, 0: 0},
    "sin": {np.inf: np.nan, np.nan: np.nan, 0: 0},
    "cos": {np.inf: np.nan, np.nan: np.nan, 0: 1},
    "tan": {np.inf: np.nan, np.nan: np.nan, 0: 0},
    "rsqrt": {np.inf: 0, np.nan: np.nan, 0: np.inf, -1: np.nan},
    "gelu": {np.inf: np.inf, np.nan: np.nan, 0: 0},
    "gelu_tanh": {np.inf: np.inf, np.nan: np.nan, 0: 0},
    "hard_swish": {np.inf: np.inf, np.nan: np.nan, 0: 0},
}

_COUNT = 20000


def arguments(low: float, high: float) -> np.ndarray:
    """All over a range, and densely near 0; positive ones of all magnitudes."""
    if low > 0:
        return np.exp(np.linspace(math.log(low), math.log(high), _COUNT)).astype(np.float32)
    near = np.geomspace(1e-30, max(-low, high), _COUNT // 4)
    parts = [np.linspace(low, high, _COUNT // 2), near[near < high], -near[near < -low]]
    return np.concatenate(parts).astype(np.float32)


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """What each function gives: (arguments, results)."""
    builder, feeds, outputs = GraphBuilder(), {}, {}
    for function in (*FUNCTIONS, *GELUS):
        low, high = FUNCTIONS[function][1] if function in FUNCTIONS else (-20, 20)
        feeds[function] = np.concatenate([arguments(low, high), np.array(list(SPECIAL[function]), np.float32)])
        x = builder.input(function, TensorType(feeds[function].shape, "float32"))
        outputs[function] = builder.add(kinds.Unary(function), [x], f"{function}_of_x")
    engine = engine_of(builder.finish(list(outputs.values())), tmp_path_factory.mktemp("functions"))
    found = engine.run(feeds)
    return {function: (feeds[function], found[name]) for function, name in outputs.items()}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_errors_are_what_they_are_said_to_be(computed, function):
    exact, _, most = FUNCTIONS[function]
    x, found = (array[: -len(SPECIAL[function])] for array in computed[function])
    expected = exact(x.astype(np.float64))
    ulp = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    errors = np.abs(found.astype(np.float64) - expected) / ulp
    worst = int(errors.argmax())
    assert errors[worst] <= most, (x[worst], found[worst], expected[worst])


@pytest.mark.parametrize("function", GELUS)
def test_products_of_x_and_a_share_of_1_are_as_near_as_x_is(computed, function):
    x, found = (array[: -len(SPECIAL[function])] for array in computed[function])
    expected = GELUS[function](x.astype(np.float64))
    assert np.all(np.abs(found - expected) <= 3 * np.spacing(np.abs(x)).astype(np.float64))


@pytest.mark.parametrize("function", SPECIAL)
def test_special_arguments(computed, function):
    found = computed[function][1][-len(SPECIAL[function]) :]
    np.testing.assert_array_equal(found, np.array(list(SPECIAL[function].values()), np.float32))


def test_powers(tmp_path):
    """Of any base and exponent, within one ulp of float64's; special ones as numpy has them."""
    rng = np.random.default_rng(0)
    special = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2, -2, 0.5, 3, -3, 1e-40], np.float32)
    a, b = (array.ravel() for array in np.meshgrid(special, special))
    bases = np.exp(rng.uniform(-20, 20, 5000)) * rng.choice([1, 1, -1], 5000)
    exponents = np.where(bases < 0, rng.integers(-4, 5, 5000), rng.uniform(-4, 4, 5000))
    a, b = np.concatenate([a, bases]).astype(np.float32), np.concatenate([b, exponents]).astype(np.float32)
    builder = GraphBuilder()
    x, y = (builder.input(name, TensorType(a.shape, "float32")) for name in ("a", "b"))
    functions = ("pow", "floor_mod", "floor_div")
    outputs = [builder.add(kinds.Binary(function), [x, y], function) for function in functions]
    found = engine_of(builder.finish(outputs), tmp_path).run({"a": a, "b": b})
    with np.errstate(all="ignore"):
        wide = np.power(a.astype(np.float64), b.astype(np.float64))
        expected = wide.astype(np.float32)
    odd = ~np.isfinite(expected)
    np.testing.assert_array_equal(np.abs(found["pow"][odd]), np.abs(expected[odd]))
    ulp = np.spacing(np.abs(expected[~odd])).astype(np.float64)
    assert np.all(np.abs(found["pow"][~odd] - wide[~odd]) <= ulp)
    plain = np.isfinite(a) & np.isfinite(b) & (b != 0) & (np.abs(a) < 2.0**29 * np.abs(b))
    np.testing.assert_array_equal(found["floor_mod"][plain], np.mod(a[plain], b[plain]))
    short = plain & (np.abs(a) < 2.0**22 * np.abs(b))  # numpy rounds longer quotients
    np.testing.assert_array_equal(found["floor_div"][short], np.floor_divide(a[short], b[short]))
