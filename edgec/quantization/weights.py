"""The constants of kernels that multiply and accumulate: int8 weights, int32 biases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgec.onnx_graph.graph import Graph, attribute
from edgec.quantization.bias_correction import shift_of_outputs
from edgec.quantization.placement import Kernel
from edgec.quantization.qparams import (
    BIAS_LIMIT,
    Float32,
    QuantizedBias,
    QuantizedWeights,
    floored_for_bias,
    quantize_bias,
    quantize_weights,
    weight_scales,
)
from edgec.quantization.statistics import TensorStatistics


@dataclass(frozen=True)
class MacConstants:
    """What a MAC kernel holds. `operand` is the position of its weights."""

    operand: int
    weights: QuantizedWeights
    bias: QuantizedBias | None


@dataclass(frozen=True)
class WeightGrid:
    """What an engine takes for weights.

    limit: the largest weight in steps: 127, or 63 where pairs of products must not saturate 16 bits.
    per_tensor: operators whose weights must all share one scale; those of others have one for each output channel.
    """

    limit: int = 127
    per_tensor: frozenset[str] = frozenset()

    def scale_axis(self, graph: Graph, kernel: Kernel) -> int | None:
        """The axis of the weights along which scales differ; None where there is one scale."""
        return None if kernel.anchor.op_type in self.per_tensor else channel_axis(graph, kernel)


ANY_GRID = WeightGrid()

WeightRounding = Callable[[Kernel, Float32, Float32, int | None, int], QuantizedWeights]
"""From a kernel, its weights, their scales, the axis of the scales and the limit to integers on that grid."""


def nearest(_: Kernel, weights: Float32, scales: Float32, axis: int | None, limit: int) -> QuantizedWeights:
    """Every weight to the step nearest to it."""
    return quantize_weights(weights, scales, axis, limit)


def mac_constants(
    graph: Graph,
    kernel: Kernel,
    input_scale: float,
    statistics: TensorStatistics | None,
    *,
    grid: WeightGrid = ANY_GRID,
    rounding: WeightRounding = nearest,
) -> MacConstants | None:
    """Quantize the weights and the bias of a kernel; None for a MatMul of two activations.

    input_scale: the scale of the kernel's one quantized input.
    statistics: of that input; when given, the bias also makes up for the mean shift that rounding the weights causes.
    grid: what the engine takes. rounding: how weights become integers on the grid of their scales.
    """
    operand = weight_operand(graph, kernel)
    if operand is None:
        return None
    node = kernel.anchor
    weights = graph.constant(node.input[operand])
    assert weights is not None
    axis, limit = grid.scale_axis(graph, kernel), grid.limit
    given = float_bias(graph, kernel)
    wanted: Float32 | None = given
    for _ in range(3):
        scales = weight_scales(weights, axis, limit)
        if wanted is not None:
            scales = _floored(graph, kernel, scales, wanted, input_scale)
        quantized = rounding(kernel, weights, scales, axis, limit)
        if statistics is not None and (shift := shift_of_outputs(node, weights, quantized, statistics)) is not None:
            wanted = np.asarray(-shift if given is None else given - shift, np.float32)
        if wanted is None:
            return MacConstants(operand, quantized, None)
        bias = quantize_bias(wanted, input_scale, _per_output(graph, kernel, scales))
        if not bias.saturated and np.abs(bias.values).max(initial=0) <= 2 * BIAS_LIMIT - 1:
            break
    return MacConstants(operand, quantized, bias)


def weight_operand(graph: Graph, kernel: Kernel) -> int | None:
    """The position of the constant operand; None when both are activations."""
    return next((i for i in (1, 0) if graph.constant(kernel.anchor.input[i]) is not None), None)


def channel_axis(graph: Graph, kernel: Kernel) -> int | None:
    """The axis of the weights that runs over the output channels; None where there is no such axis."""
    node = kernel.anchor
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1  # channel j of every group shares a scale: the axis that DequantizeLinear can name
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    weights = graph.constant(node.input[1])
    return 1 if weights is not None and weights.ndim == 2 else None


def float_bias(graph: Graph, kernel: Kernel) -> Float32 | None:
    """The bias, one value for each output channel; None when there is none."""
    node = kernel.anchor
    if kernel.bias_add is not None:
        value = next(v for v in map(graph.constant, kernel.bias_add.input) if v is not None)
        return np.asarray(value, np.float32).reshape(-1)
    if node.op_type == "MatMul" or len(node.input) < 3 or not node.input[2]:
        return None
    bias, weights, axis = graph.constant(node.input[2]), graph.constant(node.input[1]), channel_axis(graph, kernel)
    assert bias is not None and weights is not None and axis is not None
    outputs = weights.shape[axis] * _groups(kernel)
    return np.broadcast_to(np.asarray(bias, np.float32).reshape(-1), (outputs,)).copy()


def _groups(kernel: Kernel) -> int:
    """How many times the scales repeat over the output channels."""
    return int(attribute(kernel.anchor, "group", 1)) if kernel.anchor.op_type == "ConvTranspose" else 1


def _per_output(graph: Graph, kernel: Kernel, scales: Float32) -> Float32:
    return np.tile(scales, _groups(kernel)) if scales.ndim else scales


def _floored(graph: Graph, kernel: Kernel, scales: Float32, bias: Float32, input_scale: float) -> Float32:
    """Scales that fit the largest bias of all the channels that share one."""
    largest = np.abs(bias).reshape(_groups(kernel), -1).max(axis=0) if scales.ndim else bias
    return floored_for_bias(scales, largest, input_scale)
