"""GPTQ: on the grid, never worse than nearest, close to the best there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.quantization.gptq import rounded, shrinkage
from edgec.quantization.patches import rows_of
from edgec.quantization.qparams import quantize_weights, weight_scales
from edgec.quantization.second_moments import SecondMoments
from tests.quantization.tiny import node

GEMM = node("Gemm", ["x", "w"], ["y"], transB=1)


def moments_of(rng, groups, length, patches=200, strength=2.0):
    """Moments of correlated inputs of unlike size, with a mean."""
    mixing = rng.normal(size=(groups, length, length)) + strength * rng.normal(size=(groups, length, 1))
    x = rng.normal(size=(groups, patches, length)) @ mixing + rng.normal(size=(groups, 1, length))
    mean = x.mean(axis=1)
    covariance = x.swapaxes(1, 2) @ x / patches - mean[:, :, None] * mean[:, None, :]
    return SecondMoments(covariance, mean, patches, patches)


def cost(op, operand, w, quantized, H):
    """E[(output error)^2] of each output channel, by the definition."""
    E = rows_of(op, operand, quantized.dequantized().astype(np.float64) - w)
    return np.einsum("gmi,gij,gmj->gm", E, H, E)


CASES = {
    "Conv": (node("Conv", ["x", "w"], ["y"]), 1, (6, 4, 3, 3), 0, 1),
    "depthwise": (node("Conv", ["x", "w"], ["y"], group=5), 1, (10, 1, 3, 3), 0, 5),
    "grouped": (node("Conv", ["x", "w"], ["y"], group=2), 1, (6, 3, 2, 2), 0, 2),
    "1-D": (node("Conv", ["x", "w"], ["y"]), 1, (6, 4, 5), 0, 1),
    "transposed": (node("ConvTranspose", ["x", "w"], ["y"]), 1, (4, 6, 3, 3), 1, 1),
    "transposed, grouped": (node("ConvTranspose", ["x", "w"], ["y"], group=2), 1, (6, 4, 2, 2), 1, 2),
    "Gemm": (node("Gemm", ["x", "w"], ["y"]), 1, (30, 5), 1, 1),
    "Gemm, transposed": (GEMM, 1, (5, 80), 0, 1),
    "MatMul": (node("MatMul", ["x", "w"], ["y"]), 1, (30, 5), 1, 1),
    "MatMul from the left, one scale": (node("MatMul", ["w", "x"], ["y"]), 0, (5, 30), None, 1),
}


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_no_channel_is_worse_than_nearest_and_all_together_are_better(name, centred):
    op, operand, shape, axis, groups = CASES[name]
    rng = np.random.default_rng(1)
    w = rng.normal(size=shape).astype(np.float32)
    moments = moments_of(rng, groups, rows_of(op, operand, w).shape[2])
    H = moments.covariance if centred else moments.products()
    scales = weight_scales(w, axis, 7)
    found = rounded(op, operand, w, scales, axis, moments, 7, centred=centred)
    nearest = quantize_weights(w, scales, axis, 7)
    before, after = cost(op, operand, w, nearest, H), cost(op, operand, w, found.weights, H)
    assert (after <= before * (1 + 1e-4)).all()
    assert after.sum() < 0.8 * before.sum()
    assert (found.error, found.nearest_error) == pytest.approx((after.sum(), before.sum()), rel=1e-3)
    assert found.weights.values.dtype == np.int8 and found.weights.values.shape == shape
    assert np.abs(found.weights.values).max() <= 7
    assert np.array_equal(found.weights.scales, scales) and found.weights.axis == axis


@given(st.integers(1, 70), st.integers(1, 5), st.integers(0, 99), st.sampled_from([1, 7, 127]))
def test_uncorrelated_inputs_leave_nothing_to_make_up_for(length, units, seed, limit):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(units, length)).astype(np.float32)
    variances = rng.random((1, length)) * 10.0 ** rng.integers(-9, 9, (1, length)) * (rng.random((1, length)) < 0.8)
    moments = SecondMoments(variances[:, :, None] * np.eye(length), np.zeros((1, length)), 1000, 1000)
    scales = weight_scales(w, 0, limit)
    found = rounded(GEMM, 1, w, scales, 0, moments, limit).weights
    assert np.array_equal(found.values, quantize_weights(w, scales, 0, limit).values)


@given(st.integers(0, 10_000))
def test_close_to_the_best_of_all_roundings(seed):
    """Brute force over the steps around each of four weights."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(1, 4)).astype(np.float32)
    moments = moments_of(rng, 1, 4, strength=1.0)
    scales = weight_scales(w, 0, 3)
    H = moments.covariance[0]
    near = np.rint(w / scales[:, None])[0]
    tried = np.array(list(itertools.product(*[np.clip(np.arange(n - 2, n + 3), -3, 3) for n in near]))) * scales - w
    best = np.einsum("ni,ij,nj->n", tried, H, tried).min()
    found = rounded(GEMM, 1, w, scales, 0, moments, 3)
    nearest = cost(GEMM, 1, w, quantize_weights(w, scales, 0, 3), moments.covariance).item()
    assert best <= found.error * (1 + 1e-5) + 1e-12 and found.error <= nearest * (1 + 1e-5)


def test_most_of_the_way_to_the_best_of_all_roundings():
    rng = np.random.default_rng(0)
    best, found, nearest = [], [], []
    for _ in range(200):
        w = rng.normal(size=(1, 4)).astype(np.float32)
        moments = moments_of(rng, 1, 4)
        scales = weight_scales(w, 0, 7)
        near = np.rint(w / scales[:, None])[0]
        tried = np.array(list(itertools.product(*[np.clip(np.arange(n - 2, n + 3), -7, 7) for n in near]))) * scales - w
        best.append(np.einsum("ni,ij,nj->n", tried, moments.covariance[0], tried).min())
        result = rounded(GEMM, 1, w, scales, 0, moments, 7)
        found.append(result.error)
        nearest.append(result.nearest_error)
    assert np.mean(nearest) - np.mean(found) > 0.8 * (np.mean(nearest) - np.mean(best))


def test_an_input_that_never_varies_is_rounded_to_the_nearest():
    rng = np.random.default_rng(2)
    w = rng.normal(size=(3, 6)).astype(np.float32)
    moments = moments_of(rng, 1, 6)
    moments.covariance[:, 2] = moments.covariance[:, :, 2] = 0
    scales = weight_scales(w, 0, 7)
    found = rounded(GEMM, 1, w, scales, 0, moments, 7).weights.values
    assert np.array_equal(found[:, 2], quantize_weights(w, scales, 0, 7).values[:, 2])


def test_no_input_varies_at_all():
    w = np.ones((2, 3), np.float32)
    moments = SecondMoments(np.zeros((1, 3, 3)), np.ones((1, 3)), 5, 5)
    found = rounded(GEMM, 1, w, weight_scales(w, 0), 0, moments)
    assert (found.weights.values == 127).all() and found.error == 0


def test_equal_inputs_give_equal_bytes():
    def once():
        rng = np.random.default_rng(3)
        w = rng.normal(size=(8, 130)).astype(np.float32)
        return rounded(GEMM, 1, w, weight_scales(w, 0), 0, moments_of(rng, 1, 130)).weights.values.tobytes()

    assert once() == once()


def test_few_patches_are_not_trusted():
    """Eight patches of 100 inputs leave 92 directions that seem never to occur; a thousand others do occur."""
    rng = np.random.default_rng(4)
    mixing = rng.normal(size=(100, 100)) + 2 * rng.normal(size=(100, 1))
    few, many = (rng.normal(size=(n, 100)) @ mixing for n in (8, 1000))
    H = [np.cov(x.T, bias=True)[None] for x in (few, many)]
    trust = [shrinkage(H[0], 8).item(), shrinkage(H[1], 1000).item()]
    assert 1 >= trust[0] > 5 * trust[1] > 0


def test_moments_of_another_layer_are_refused():
    w = np.ones((2, 3), np.float32)
    moments = SecondMoments(np.zeros((1, 4, 4)), np.ones((1, 4)), 5, 5)
    with pytest.raises(ValueError, match="do not fit"):
        rounded(GEMM, 1, w, weight_scales(w, 0), 0, moments)
