"""Bias correction takes out the mean shift of rounded weights, and nothing else."""

import numpy as np
import pytest

from edgec.onnx_graph.canonicalization import canonical
from edgec.onnx_graph.graph import Graph
from edgec.quantization.bias_correction import shift_of_outputs
from edgec.quantization.emit import emit
from edgec.quantization.placement import place
from edgec.quantization.qparams import quantize_weights, weight_scales
from edgec.quantization.scales import choose_scales
from edgec.quantization.weights import WeightGrid
from edgec.reference import Reference
from tests.quantization.tiny import network, node, statistics_of

RNG = np.random.default_rng(3)


def skewed(*shape):
    """Inputs with means away from zero that differ by channel, as behind a Relu."""
    offsets = np.arange(shape[1]).reshape(1, -1, *[1] * (len(shape) - 2))
    return [{"x": (RNG.random(shape) + offsets).astype(np.float32)} for _ in range(6)]


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


CASES = {
    "1x1": (node("Conv", ["x", "w"], ["y"]), (1, 6, 9, 7), (4, 6, 1, 1), 0),
    "padded 3x3": (node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]), (1, 6, 9, 7), (4, 6, 3, 3), 0),
    "depthwise, strided": (node("Conv", ["x", "w"], ["y"], group=6, strides=[2, 2]), (1, 6, 9, 7), (6, 1, 3, 3), 0),
    "grouped": (node("Conv", ["x", "w"], ["y"], group=3), (1, 6, 9, 7), (9, 2, 3, 3), 0),
    "1-D": (node("Conv", ["x", "w"], ["y"], pads=[2, 2]), (1, 6, 20), (4, 6, 5), 0),
    "transposed": (node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]), (1, 6, 5, 5), (6, 4, 3, 3), 1),
    "Gemm": (node("Gemm", ["x", "w"], ["y"]), (3, 8), (8, 5), 1),
    "Gemm, transposed": (node("Gemm", ["x", "w"], ["y"], transB=1), (3, 8), (5, 8), 0),
    "MatMul": (node("MatMul", ["x", "w"], ["y"]), (1, 6, 8), (8, 5), 1),
}


@pytest.mark.parametrize("name", CASES)
def test_the_predicted_shift_is_the_measured_one(name):
    op, shape, weight_shape, axis = CASES[name]
    w, feeds = weights(*weight_shape), skewed(*shape)
    quantized = quantize_weights(w, weight_scales(w, axis, 7), axis, 7)  # three bits: a shift to be seen
    models = [network([op], {"x": shape}, ["y"], {"w": value}) for value in (w, quantized.dequantized())]
    before, after = (
        np.stack([Reference(model.SerializeToString()).run(feed)["y"] for feed in feeds]).astype(np.float64)
        for model in models
    )
    channel = before.ndim - 1 if op.op_type in ("Gemm", "MatMul") else 2
    measured = (after - before).mean(axis=tuple(i for i in range(before.ndim) if i != channel))
    predicted = shift_of_outputs(models[0].graph.node[0], w, quantized, statistics_of(models[0], feeds)["x"])
    assert predicted == pytest.approx(measured, abs=0.02 * np.abs(measured).max())


def test_without_means_there_is_nothing_to_predict():
    model = network([node("Relu", ["x"], ["y"])], {"x": [1, 6]}, ["y"])
    statistics = statistics_of(model, skewed(1, 6))["x"]
    w = weights(5, 5)  # of a node that the means do not fit
    quantized = quantize_weights(w, weight_scales(w, 1), 1)
    assert shift_of_outputs(node("MatMul", ["x", "w"], ["y"]), w, quantized, statistics) is None


def test_the_emitted_graph_has_the_right_mean():
    model = network(
        [node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], {"x": [1, 6, 9, 7]}, ["y"], {"w": weights(4, 6, 3, 3)}
    )
    feeds = skewed(1, 6, 9, 7)
    statistics = statistics_of(model, feeds)
    graph = Graph(canonical(model).model)
    placement = place(graph, "islands")
    scales = choose_scales(graph, placement, statistics, "minmax")

    def shift(correction):
        emitted = emit(graph, placement, scales.slots, correction, grid=WeightGrid(7))
        original, candidate = Reference(model.SerializeToString()), Reference(emitted.model.SerializeToString(), "none")
        errors = [candidate.run(feed)["y"] - original.run(feed)["y"] for feed in feeds]
        return np.abs(np.mean(errors, axis=(0, 1, 3, 4))).max()

    assert shift(statistics) < shift(None) / 10
