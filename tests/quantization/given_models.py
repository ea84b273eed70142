"""Quantized models as ONNX Runtime's own tools write them."""

from __future__ import annotations

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from tests.contract.models import Net

SHAPE = [1, 3, 12, 12]


def small() -> onnx.ModelProto:
    """Conv, Relu, MaxPool, Conv, a Reshape, a MatMul whose weights pass a Transpose, an Add of a bias."""
    net = Net()
    for name, shape in {"w1": (8, 3, 3, 3), "w2": (16, 8, 3, 3), "w3": (10, 144)}.items():
        net.constant(name, net.weights(name, shape))
    net.constant("b1", net.rng.normal(size=8).astype(np.float32) * np.float32(0.1))
    net.constant("b2", net.rng.normal(size=16).astype(np.float32) * np.float32(0.1))
    net.constant("shape", np.array([1, 144]))
    net.add("Conv", ["image", "w1", "b1"], "c1", pads=[1] * 4)
    net.add("Relu", ["c1"], "r1")
    net.add("MaxPool", ["r1"], "m1", kernel_shape=[2, 2], strides=[2, 2])
    net.add("Conv", ["m1", "w2", "b2"], "c2", pads=[0] * 4, strides=[1, 1])
    net.add("MaxPool", ["c2"], "m2", kernel_shape=[2, 2], strides=[1, 1])
    net.add("Reshape", ["m2", "shape"], "flat")
    net.add("Gemm", ["flat", "w3"], "scores", transB=1)
    return net.model({"image": (1, SHAPE)}, {"scores": (1, [1, 10])})


class _Images(CalibrationDataReader):
    def __init__(self):
        rng = np.random.default_rng(0)
        self._left = [{"image": rng.normal(size=SHAPE).astype(np.float32)} for _ in range(8)]

    def get_next(self):
        return self._left.pop() if self._left else None


def static(folder, *, activations="uint8", per_channel=True, operators=False, symmetric=True):
    """quantize_static of the small model."""
    source, target = folder / "float.onnx", folder / "quantized.onnx"
    onnx.save(small(), source)
    quantize_static(
        source,
        target,
        _Images(),
        quant_format=QuantFormat.QOperator if operators else QuantFormat.QDQ,
        activation_type=QuantType.QUInt8 if activations == "uint8" else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
        op_types_to_quantize=["Conv", "MatMul"] if operators else None,
        extra_options={"WeightSymmetric": symmetric},
    )
    return onnx.load(target)


def dynamic(folder):
    """quantize_dynamic of a MatMul with a bias: DynamicQuantizeLinear and MatMulInteger."""
    net = Net()
    for name, shape in {"w1": (64, 48), "w2": (48, 16)}.items():
        net.constant(name, net.weights(name, shape))
    net.add("MatMul", ["x", "w1"], "h")
    net.add("Relu", ["h"], "r")
    net.add("MatMul", ["r", "w2"], "y")
    onnx.save(net.model({"x": (1, [5, 64])}, {"y": (1, [5, 16])}), folder / "float.onnx")
    quantize_dynamic(folder / "float.onnx", folder / "quantized.onnx", weight_type=QuantType.QInt8)
    return onnx.load(folder / "quantized.onnx")


def feeds(model, seed=0):
    rng = np.random.default_rng(seed)
    return {
        info.name: rng.normal(size=[dim.dim_value for dim in info.type.tensor_type.shape.dim]).astype(np.float32)
        for info in model.graph.input
    }
