"""Rounding weights so that what a kernel computes changes least, instead of the weights themselves.

GPTQ (Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2023) rounds
the columns of W one after the other and lets those that are left make up for the error. In terms of the output error
tr(E H E^T), H = R R^T with R upper triangular, that is successive rounding: column j becomes the nearest step to

    w_j + sum over i < j of (w_i - q_i) R_ij / R_jj

(Babai's nearest plane; the equivalence: Chen et al., "The Geometry of LLM Quantization: GPTQ as Babai's Nearest Plane
Algorithm", 2025). It takes one Cholesky factorization and no inverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from edgec.quantization.patches import from_rows, rows_of
from edgec.quantization.qparams import Float32, QuantizedWeights, quantize_weights, spread
from edgec.quantization.second_moments import Array, SecondMoments

LEAST_SHRINKAGE = 0.01
"""Share of the correlations that is always given up: H is an estimate, and must be safely invertible."""

NOISE = 0.1
"""Variance of the noise that the inputs of a layer are taken to carry when all before it is INT8, as a share of their
mean variance (10 dB). Without it, inputs that hardly vary would be given large weights to make up for others, and noise
that is the same for all inputs of a tensor would pass through them."""

_BLOCK = 64  # columns that are rounded before the rest hears of it


@dataclass(frozen=True)
class Rounded:
    """Weights on their grid, and what they cost.

    error, nearest_error: E[(output - float output)^2], summed over output channels, as the moments predict it; for the
    weights at hand, and for rounding each weight to its nearest step.
    """

    weights: QuantizedWeights
    error: float
    nearest_error: float


def rounded(
    node: NodeProto,
    operand: int,
    weights: Float32,
    scales: Float32,
    axis: int | None,
    moments: SecondMoments,
    limit: int = 127,
    *,
    centred: bool = True,
) -> Rounded:
    """Round the weights of a kernel to steps of `scales` within [-limit, limit].

    node: the kernel's Conv, ConvTranspose, Gemm or MatMul; operand: the position of its weights. scales, axis: as for
    quantize_weights. moments: of the patches that the node sees. centred: whether its bias makes up for the mean shift,
    so that only the variance of the error counts.

    No output channel has a larger expected error than rounding to the nearest gives it. Raises ValueError when the
    moments do not fit the weights.
    """
    nearest = quantize_weights(weights, scales, axis, limit)
    rows = np.ascontiguousarray(rows_of(node, operand, weights), np.float32)
    steps = rows_of(node, operand, np.broadcast_to(spread(scales, axis, weights.ndim), weights.shape))[..., 0]
    if moments.mean.shape != (rows.shape[0], rows.shape[2]):
        raise ValueError(f"moments of {list(moments.mean.shape)} do not fit weights of {list(rows.shape)}")
    H = moments.covariance if centred else moments.products()
    usual = rows_of(node, operand, nearest.values).astype(np.float32)
    found = successively_rounded(rows, steps, H, limit, shrinkage(H, moments.count))
    before = output_errors(usual * steps[..., None] - rows, H)
    after = output_errors(found * steps[..., None] - rows, H)
    better = after < before
    best = np.where(better[..., None], found, usual).astype(np.int8)
    values = np.ascontiguousarray(from_rows(node, operand, best, weights.shape))
    result = QuantizedWeights(values, nearest.scales, axis)
    return Rounded(result, float(np.minimum(after, before).sum()), float(before.sum()))


def output_errors(E: Float32, H: Array) -> Array:
    """float64 [G, M]: diag(E H E^T) for errors E [G, M, K] of the weights and moments H [G, K, K]."""
    errors: Array = np.einsum("gmk,gmk->gm", E @ H.astype(np.float32), E, dtype=np.float64)
    return errors


def shrinkage(H: Array, count: int) -> Array:
    """float64 [G]: how far the correlations of `count` patches are to be trusted; 1 is not at all.

    Oracle approximating shrinkage (Chen et al., "Shrinkage Algorithms for MMSE Covariance Estimation", 2010, equation
    23), of the correlations towards none. A matrix of more inputs than there were patches says that some directions
    never occur, which is not so.
    """
    length = H.shape[-1]
    deviations = np.sqrt(np.maximum(np.einsum("gkk->gk", H), 0))
    inverse = np.divide(1, deviations, out=np.zeros_like(deviations), where=deviations > 0)
    squares = np.einsum("gij,gij,gi,gj->g", H, H, inverse**2, inverse**2, optimize=True)  # tr(S^2); tr(S) = K
    weight = (1 - 2 / length) * squares + length**2
    against = (count + 1 - 2 / length) * (squares - length)
    share = np.divide(weight, against, out=np.ones_like(weight), where=against > 0)
    shares: Array = np.clip(share, LEAST_SHRINKAGE, 1)
    return shares


def successively_rounded(rows: Float32, steps: Float32, H: Array, limit: int, shrink: Array) -> Float32:
    """GPTQ on a grid: whole numbers in float32 [G, M, K].

    rows: float32 [G, M, K]. steps: float32 [G, M], their scales. H: float64 [G, K, K], symmetric and positive
    semidefinite. shrink: [G], how much of its off-diagonal elements is given up; above 0.
    """
    length = rows.shape[2]
    diagonal = np.einsum("gkk->gk", H)
    order = np.argsort(-diagonal, axis=1, kind="stable")  # what matters most is rounded while most can make up for it
    factors = _factors(H, order, shrink, NOISE * diagonal.mean(axis=1))
    W = np.take_along_axis(rows, order[:, None, :], axis=2).swapaxes(1, 2)  # [G, K, M]: a column is contiguous
    W = np.ascontiguousarray(W / steps[:, None, :], np.float32)
    Q, E = np.empty_like(W), np.empty_like(W)
    for begin in range(0, length, _BLOCK):
        end = min(begin + _BLOCK, length)
        wanted = W[:, begin:end].copy()
        if begin:
            wanted += factors[:, :begin, begin:end].swapaxes(1, 2) @ E[:, :begin]
        for j in range(begin, end):
            if j > begin:
                wanted[:, j - begin] += (factors[:, None, begin:j, j] @ E[:, begin:j])[:, 0]
            np.clip(np.rint(wanted[:, j - begin]), -limit, limit, out=Q[:, j])
            np.subtract(W[:, j], Q[:, j], out=E[:, j])
    found = np.empty_like(rows)
    np.put_along_axis(found, order[:, None, :], Q.swapaxes(1, 2), axis=2)
    return found


def _factors(H: Array, order: npt.NDArray[np.int64], shrink: Array, noise: Array) -> Float32:
    """float32 [G, K, K]: R_ij / R_jj above the diagonal, for H in the given order, shrunk, with noise of a variance.

    H = D C D with D the deviations; R_ij / R_jj is D_i / D_j times that of C, whose diagonal is 1.
    """
    groups, length = order.shape
    found = np.empty(H.shape, np.float32)
    for g in range(groups):
        own = H[g][np.ix_(order[g], order[g])]
        variances = np.maximum(np.diag(own), 0) + noise[g]
        deviations = np.sqrt(np.where(variances > 0, variances, 1))  # all are 0 where no input ever varies
        own *= (1 - shrink[g]) / deviations[:, None]
        own /= deviations
        own[np.arange(length), np.arange(length)] = 1
        R = np.linalg.cholesky(own[::-1, ::-1])[::-1, ::-1]
        found[g] = R / np.diag(R) * deviations[:, None] / deviations
    return found
