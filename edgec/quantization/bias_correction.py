"""Analytic bias correction: undo the mean shift that rounding the weights causes.

Rounded weights W + E raise the mean of an output channel by E . E[patch], where E[patch] is the mean input patch that
the channel sees on the calibration data (Nagel et al. 2019, section 4.2, with measured means). The shift is subtracted
from the bias, which has 32 bits to take it.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from edgec.onnx_graph.graph import attribute
from edgec.quantization.expected_patch import mean_shift
from edgec.quantization.qparams import Float32, QuantizedWeights
from edgec.quantization.statistics import TensorStatistics


def shift_of_outputs(
    node: NodeProto, weights: Float32, quantized: QuantizedWeights, statistics: TensorStatistics
) -> np.ndarray | None:
    """By how much rounding raises each output channel in the mean: float64 [C].

    statistics: of the node's input. None where calibration took no mean that fits the node (its input is only moved
    into place by a rewrite, or is read along two different axes), and for weights without an axis of output channels.
    """
    if statistics.mean is None or (quantized.axis is None and weights.ndim != 2 and node.op_type == "MatMul"):
        return None
    change = quantized.dequantized().astype(np.float64) - weights
    attributes = {item.name: attribute(node, item.name) for item in node.attribute}
    try:
        return mean_shift(statistics, node.op_type, attributes, change)
    except ValueError:  # the means run along another axis than the one that is summed over
        return None
