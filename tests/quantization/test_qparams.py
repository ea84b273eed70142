"""The arithmetic of scales: what QuantizeLinear does, and what a scale promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from edgec.quantization.qparams import (
    BIAS_LIMIT,
    INT32_MAX,
    SMALLEST_SCALE,
    QParams,
    affine,
    dequantize,
    floored_for_bias,
    on_grid,
    quantize,
    quantize_bias,
    quantize_weights,
    weight_scales,
)
from edgec.reference import Reference
from tests.quantization.tiny import network, node

REALS = st.floats(-1e6, 1e6, allow_subnormal=False, width=32)
RANGES = st.tuples(REALS, REALS).map(sorted)
NORMAL = float(np.finfo(np.float32).tiny)


@given(RANGES)
def test_zero_is_exact_and_the_range_is_covered(limits):
    params = affine(*limits)
    assert -128 <= params.zero_point <= 127
    assert dequantize(quantize(np.float32(0), params), params) == 0
    low, high = min(limits[0], 0), max(limits[1], 0)
    slack = params.scale * 0.501 + 1e-6 * (high - low)
    assert params.low <= low + slack
    assert params.high >= high - slack


@given(RANGES, st.floats(0, 1))
def test_values_within_the_range_are_off_by_half_a_step_at_most(limits, position):
    params = affine(*limits)
    low, high = min(limits[0], 0), max(limits[1], 0)
    x = np.float32(low + position * (high - low))
    assert abs(float(on_grid(x, params)) - float(x)) <= params.scale * 0.5001 + 1e-6 * max(-low, high)


@given(REALS, st.floats(2.0**-20, 2.0**20, width=32), st.integers(-128, 127))
def test_quantizing_is_idempotent(x, scale, zero_point):
    params = QParams(scale, zero_point)
    once = on_grid(np.float32(x), params)
    assert on_grid(once, params) == once


def test_halves_go_to_the_even_step():
    values = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    assert quantize(values, QParams(1.0, 0)).tolist() == [-2, -2, 0, 0, 2, 2]


@given(st.lists(REALS, min_size=1, max_size=20), st.floats(2.0**-20, 2.0**20, width=32), st.integers(-128, 127))
def test_it_is_what_onnx_runtime_computes(values, scale, zero_point):
    x = np.array(values, np.float32)
    model = network(
        [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])],
        {"x": [len(x)]},
        ["q", "y"],
        {"s": np.float32(scale), "z": np.int8(zero_point)},
        dtypes={"q": TensorProto.INT8},
    )
    outputs = Reference(model.SerializeToString(), "none").run({"x": x})
    params = QParams(scale, zero_point)
    assert quantize(x, params).tolist() == outputs["q"].tolist()
    assert dequantize(outputs["q"], params).tolist() == outputs["y"].tolist()


@pytest.mark.parametrize("limits", [(0, 0), (0, 1e-30), (-1e-40, 1e-40)])
def test_a_range_without_width_has_a_scale_that_is_a_normal_number(limits):
    params = affine(*limits)
    assert params.scale == SMALLEST_SCALE
    assert params.scale**2 > NORMAL, "so that a bias, whose scale is a product of two, has one"


@given(
    st.lists(REALS, min_size=12, max_size=12),
    st.sampled_from([None, 0, 1]),
    st.sampled_from([127, 63]),
)
def test_weights_are_symmetric_and_off_by_half_a_step_at_most(values, axis, limit):
    weights = np.array(values, np.float32).reshape(3, 4)
    quantized = quantize_weights(weights, weight_scales(weights, axis, limit), axis, limit)
    assert np.abs(quantized.values.astype(int)).max() <= limit
    step = quantized.scales if axis is None else np.expand_dims(quantized.scales, 1 - axis)
    error = np.abs(quantized.dequantized() - weights)
    assert (error <= step * 0.5001 + 1e-6 * np.abs(weights)).all()


@given(REALS, st.floats(2.0**-30, 2.0**10, width=32), st.floats(2.0**-60, 2.0**10, width=32))
def test_no_bias_overflows_on_a_floored_scale(bias, input_scale, scale):
    biases = np.array([bias], np.float32)
    scales = floored_for_bias(np.array([scale], np.float32), biases, input_scale)
    quantized = quantize_bias(biases, input_scale, scales)
    assert quantized.saturated == 0
    assert abs(int(quantized.values[0])) <= BIAS_LIMIT * 1.0001
    assert quantized.values[0] * float(quantized.scales[0]) == pytest.approx(
        bias, abs=float(quantized.scales[0]) * 0.5001, rel=1e-6
    )


def test_a_bias_that_does_not_fit_is_counted():
    quantized = quantize_bias(np.array([1e9, 1.0], np.float32), 1e-3, np.array([1e-3, 1e-3], np.float32))
    assert quantized.saturated == 1
    assert quantized.values.tolist() == [INT32_MAX, 10**6]
