"""Writing what multiplies and accumulates."""

from __future__ import annotations

import numpy as np

from edgec.backends.tflite.schema import ACTIVATIONS, PADDINGS, options
from edgec.backends.tflite.writer.graph_writer import Site, Tensor, write_kind
from edgec.backends.tflite.writer.padding import scheme, transposed_scheme
from edgec.ir.graph import Quantization, TensorType
from edgec.ir.kinds import BatchMatMul, Conv2D, FullyConnected, TransposeConv2D

_DEPTHWISE = (3, 1, 2, 0)
"""From [O, KH, KW, 1] to the order that DEPTHWISE_CONV_2D reads: [1, KH, KW, O]."""


def is_depthwise(kind: Conv2D, x: TensorType, weights: TensorType) -> bool:
    """Whether every input channel is convolved for itself."""
    return kind.groups > 1 and kind.groups == x.shape[3] and weights.shape[3] == 1


@write_kind.register
def _(kind: Conv2D, site: Site) -> None:
    x, weights = site.type(0), site.type(1)
    padding = scheme(x.shape[1:3], weights.shape[1:3], kind.stride, kind.dilation, kind.padding)
    assert padding is not None, site.name  # the legal graph pads explicitly
    fields = {
        "padding": PADDINGS[padding],
        "strideH": kind.stride[0],
        "strideW": kind.stride[1],
        "dilationHFactor": kind.dilation[0],
        "dilationWFactor": kind.dilation[1],
        "fusedActivationFunction": ACTIVATIONS[kind.activation],
    }
    if is_depthwise(kind, x, weights):
        table = options("DepthwiseConv2DOptions", depthMultiplier=weights.shape[0] // x.shape[3], **fields)
        operands = [site.input(0), _turned(site), _bias(site)]
        site.emit("DEPTHWISE_CONV_2D", table, inputs=operands)
    else:
        site.emit("CONV_2D", options("Conv2DOptions", **fields), inputs=[site.input(0), site.input(1), _bias(site)])


@write_kind.register
def _(kind: TransposeConv2D, site: Site) -> None:
    assert kind.dilation == (1, 1) and kind.groups == 1 and kind.activation == "none", site.name
    assert kind.output_padding == (0, 0), site.name
    padding = transposed_scheme(kind, site.type(0).shape[1:3], site.type(1).shape[1:3])
    assert padding is not None, site.name  # the legal graph cuts off by a Slice
    shape = site.integers("shape", site.result.shape)
    x, weights = site.input(0), site.input(1)
    table = options("TransposeConvOptions", padding=PADDINGS[padding], strideH=kind.stride[0], strideW=kind.stride[1])
    site.emit("TRANSPOSE_CONV", table, inputs=[shape, weights, x, _bias(site)])


@write_kind.register
def _(kind: FullyConnected, site: Site) -> None:
    table = options(
        "FullyConnectedOptions",
        keepNumDims=site.type(0).rank != 2,
        fusedActivationFunction=ACTIVATIONS[kind.activation],
    )
    site.emit("FULLY_CONNECTED", table, inputs=[site.input(0), site.input(1), _bias(site)])


@write_kind.register
def _(kind: BatchMatMul, site: Site) -> None:
    site.emit("BATCH_MATMUL", options("BatchMatMulOptions", adjX=kind.transpose_a, adjY=kind.transpose_b))


def _turned(site: Site) -> Tensor:
    """The weights as DEPTHWISE_CONV_2D reads them. Stored weights stay stored, in the other order."""
    writer, name = site.writer, site.operation.inputs[1]
    value = writer.graph.values[name]
    if value.data is not None:
        return writer.constant(
            f"{name}/depthwise", value.data.transpose(_DEPTHWISE), _along_last(value.type.quantization)
        )
    turned = TensorType(tuple(value.type.shape[axis] for axis in _DEPTHWISE), value.type.dtype, value.type.quantization)
    result = writer.between(f"{name}/depthwise", turned)
    if (operation := writer.stored(name)) is None:
        writer.emit(
            "TRANSPOSE",
            [writer.tensor(name), site.integers("depthwise/permutation", _DEPTHWISE)],
            [result],
            options("TransposeOptions"),
        )
        return result
    source = writer.graph.values[operation.inputs[0]]
    assert source.data is not None
    stored = writer.constant(
        f"{source.name}/depthwise", source.data.transpose(_DEPTHWISE), _along_last(source.type.quantization)
    )
    writer.emit("DEQUANTIZE", [stored], [result], options("DequantizeOptions"))
    return result


def _along_last(quantization: Quantization | None) -> Quantization | None:
    """Scales of output channels, where those have become the last dimension."""
    if quantization is None or quantization.axis is None:
        return quantization
    assert quantization.axis == 0
    return Quantization(quantization.scale, quantization.zero_point, 3)


def _bias(site: Site) -> Tensor:
    """The bias; zeros where there is none, because not every kernel does without.

    Beside int16 activations it is int64: that is what the kernels add to their accumulators.
    """
    x, weights = site.type(0), site.type(1)
    if site.has(2):
        value = site.writer.graph.values[site.operation.inputs[2]]
        if x.dtype == "int16" and value.data is not None and value.type.dtype == "int32":
            return site.writer.constant(value.name, value.data.astype(np.int64), value.type.quantization)
        return site.input(2)
    zeros = np.zeros(weights.shape[0], {"int8": np.int32, "int16": np.int64}.get(x.dtype, np.float32))
    return site.writer.constant(f"{site.name}/zero_bias", zeros, _bias_quantization(x, weights))


def _bias_quantization(x: TensorType, weights: TensorType) -> Quantization | None:
    """What one step of the accumulator is worth: the product of the steps of x and of the weights."""
    if x.quantization is None or weights.quantization is None:
        return None
    scales = tuple(float(np.float32(x.quantization.scale[0]) * np.float32(s)) for s in weights.quantization.scale)
    return Quantization(scales, (0,) * len(scales), None if len(scales) == 1 else 0)
