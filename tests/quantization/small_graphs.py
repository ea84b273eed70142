"""Small ONNX models for the tests of calibration, put together node by node."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Collects nodes and weights; `model` checks them."""

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, name, value):
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def conv(self, x, output, weights, **attributes):
        kernel = self.random.normal(size=weights) / np.sqrt(np.prod(weights[1:]))
        names = [
            self.weight(f"{output}_w", kernel.astype(np.float32)),
            self.weight(f"{output}_b", self.random.normal(size=weights[0]).astype(np.float32)),
        ]
        return self.node("Conv", [x, *names], output, **attributes)

    def model(self, inputs, outputs, opset=17):
        """inputs, outputs: name to (dtype, shape)."""
        infos = [
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
                for name, (dtype, shape) in kind.items()
            ]
            for kind in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "small", *infos, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model


def conv_net(size=24, channels=16, opset=17):
    """Conv + Relu, depthwise Conv + Clip, linear Conv, residual Add, an odd number of channels, pooling, Gemm."""
    make = Builder()
    make.weight("zero", np.float32(0))
    make.weight("six", np.float32(6))
    make.conv("image", "stem", (channels, 3, 3, 3), pads=[1] * 4, strides=[2, 2])
    make.node("Relu", ["stem"], "stem_relu")
    make.conv("stem_relu", "depthwise", (channels, 1, 3, 3), pads=[1] * 4, group=channels)
    make.node("Clip", ["depthwise", "zero", "six"], "depthwise_clip")
    make.conv("depthwise_clip", "project", (channels, channels, 1, 1))
    make.node("Add", ["project", "stem_relu"], "sum")
    make.conv("sum", "odd", (channels + 3, channels, 3, 3))
    make.node("Relu", ["odd"], "odd_relu")
    make.node("GlobalAveragePool", ["odd_relu"], "pooled")
    make.node("Flatten", ["pooled"], "flat")
    make.weight("fc_w", make.random.normal(size=(5, channels + 3)).astype(np.float32))
    make.node("Gemm", ["flat", "fc_w"], "logits", transB=1)
    return make.model({"image": ("float32", (1, 3, size, size))}, {"logits": ("float32", (1, 5))}, opset)


def with_all_outputs(model, names):
    """A copy of `model` that also returns the tensors `names`."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    present = {info.name for info in whole.graph.output} | {info.name for info in whole.graph.input}
    whole.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in present
    )
    return whole
