"""Small models with what a backend must take: float and quantized, several outputs, integers, control over every name.

Weights are drawn once from a fixed seed, so each model's bytes are the same in every process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


@dataclass
class Net:
    """A model in the making: nodes and constants in order; `q` and `dq` insert quantization as the reference has it."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{op.lower()}.{output}", **attributes))
        return output

    def weights(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return (self.rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def q_dq(self, tensor: str, scale: float, zero_point: int) -> str:
        """An activation through int8: the tensor that the next operator reads."""
        self.constant(f"{tensor}.scale", np.float32(scale))
        self.constant(f"{tensor}.zero_point", np.int8(zero_point))
        parameters = [f"{tensor}.scale", f"{tensor}.zero_point"]
        self.add("QuantizeLinear", [tensor, *parameters], f"{tensor}.q")
        return self.add("DequantizeLinear", [f"{tensor}.q", *parameters], f"{tensor}.dq")

    def int8_weights(self, name: str, shape: tuple[int, ...]) -> str:
        """Per-channel symmetric int8 weights in [-127, 127], behind a DequantizeLinear."""
        values = self.weights(name, shape)
        scales = np.abs(values).reshape(shape[0], -1).max(axis=1) / 127
        whole = np.rint(values / scales.reshape(-1, *[1] * (len(shape) - 1))).astype(np.int8)
        self.constant(f"{name}.q", whole)
        self.constant(f"{name}.scale", scales.astype(np.float32))
        self.constant(f"{name}.zero_point", np.zeros(shape[0], np.int8))
        return self.add("DequantizeLinear", [f"{name}.q", f"{name}.scale", f"{name}.zero_point"], name, axis=0)

    def model(
        self, inputs: dict[str, tuple[int, list[int]]], outputs: dict[str, tuple[int, list[int]]]
    ) -> onnx.ModelProto:
        def infos(tensors):
            return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in tensors.items()]

        graph = helper.make_graph(self.nodes, "net", infos(inputs), infos(outputs), self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def conv_float() -> onnx.ModelProto:
    """Conv, Relu, a residual Add, pooling and Gemm."""
    net = Net()
    for number, shape in (("1", (8, 3, 3, 3)), ("2", (8, 8, 3, 3))):
        net.constant(f"w{number}", net.weights(f"w{number}", shape))
    net.constant("w3", net.weights("w3", (10, 8)))
    net.add("Conv", ["image", "w1"], "c1", pads=[1] * 4)
    net.add("Relu", ["c1"], "r1")
    net.add("Conv", ["r1", "w2"], "c2", pads=[1] * 4)
    net.add("Add", ["c2", "r1"], "sum")
    net.add("GlobalAveragePool", ["sum"], "pooled")
    net.add("Flatten", ["pooled"], "flat")
    net.add("Gemm", ["flat", "w3"], "scores", transB=1)
    return net.model({"image": (1, [1, 3, 16, 16])}, {"scores": (1, [1, 10])})


def conv_int8() -> onnx.ModelProto:
    """The same network as a quantized reference; the output is quantized too, at 1/32."""
    net = Net()
    x = net.q_dq("image", 3 / 127, 5)
    net.add("Conv", [x, net.int8_weights("w1", (8, 3, 3, 3))], "c1", pads=[1] * 4)
    r1 = net.q_dq(net.add("Relu", ["c1"], "r1"), 4 / 255, -128)
    net.add("Conv", [r1, net.int8_weights("w2", (8, 8, 3, 3))], "c2", pads=[1] * 4)
    c2 = net.q_dq("c2", 6 / 255, 0)
    total = net.q_dq(net.add("Add", [c2, r1], "sum"), 8 / 255, -40)
    pooled = net.q_dq(net.add("GlobalAveragePool", [total], "pooled"), 8 / 255, -40)
    flat = net.q_dq(net.add("Flatten", [pooled], "flat"), 8 / 255, -40)
    net.add("Gemm", [flat, net.int8_weights("w3", (10, 8))], "raw", transB=1)
    last = net.q_dq("raw", 1 / 32, 3)
    net.add("Identity", [last], "scores")
    return net.model({"image": (1, [1, 3, 16, 16])}, {"scores": (1, [1, 10])})


def gemm_int8() -> onnx.ModelProto:
    """Two Gemms with a Relu in between, quantized, as is the output."""
    return _gemms(quantized_output=True)


def gemm_int8_to_float() -> onnx.ModelProto:
    """The same with an output that is not quantized: what the second Gemm gives is float32."""
    return _gemms(quantized_output=False)


def _gemms(quantized_output: bool) -> onnx.ModelProto:
    net = Net()
    x = net.q_dq("features", 3 / 127, 0)
    net.add("Gemm", [x, net.int8_weights("w1", (32, 16))], "g1", transB=1)
    hidden = net.q_dq(net.add("Relu", ["g1"], "r1"), 4 / 255, -128)
    last = "logits" if not quantized_output else "raw"
    net.add("Gemm", [hidden, net.int8_weights("w2", (4, 32))], last, transB=1)
    if quantized_output:
        net.add("Identity", [net.q_dq("raw", 1 / 32, 3)], "logits")
    return net.model({"features": (1, [1, 16])}, {"logits": (1, [1, 4])})


def outputs_of_every_kind() -> onnx.ModelProto:
    """Two inputs; outputs that are an input, a scalar, integers and truth values; names that are no identifiers."""
    net = Net()
    net.constant("zero", np.float32(0))
    net.add("Identity", ["in,put/ü:0"], "same")
    net.add("ReduceSum", ["in,put/ü:0"], "to/tal", keepdims=0)
    net.add("ArgMax", ["in,put/ü:0"], "index", axis=1, keepdims=0)
    net.add("Greater", ["in,put/ü:0", "zero"], "positive")
    net.add("Add", ["count", "count"], "twice")
    return net.model(
        {"in,put/ü:0": (1, [2, 3]), "count": (TensorProto.INT64, [2])},
        {
            "to/tal": (1, []),
            "same": (1, [2, 3]),
            "twice": (TensorProto.INT64, [2]),
            "index": (TensorProto.INT64, [2]),
            "positive": (TensorProto.BOOL, [2, 3]),
        },
    )


def tokens() -> onnx.ModelProto:
    """Integer tokens through an embedding."""
    net = Net()
    net.constant("table", net.weights("table", (50, 8)))
    net.constant("w", net.weights("w", (8, 3)))
    net.add("Gather", ["table", "tokens"], "embedded")
    net.add("MatMul", ["embedded", "w"], "logits")
    return net.model({"tokens": (TensorProto.INT64, [1, 6])}, {"logits": (1, [1, 6, 3])})


def recurrent() -> onnx.ModelProto:
    """An LSTM with its state as inputs and outputs."""
    net = Net()
    net.constant("w", net.weights("w", (1, 16, 3)))
    net.constant("r", net.weights("r", (1, 16, 4)))
    net.nodes.append(
        helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y", "h_next", "c_next"], "lstm", hidden_size=4)
    )
    state = (1, [1, 1, 4])
    return net.model(
        {"x": (1, [1, 1, 3]), "h": state, "c": state}, {"y": (1, [1, 1, 1, 4]), "h_next": state, "c_next": state}
    )


def branches() -> onnx.ModelProto:
    """An If whose branches compute."""
    info = helper.make_tensor_value_info("out", 1, [2])
    branch = [
        helper.make_graph([helper.make_node(op, ["x"], ["out"], name=op)], op, [], [info]) for op in ("Neg", "Relu")
    ]
    net = Net()
    net.nodes.append(helper.make_node("If", ["c"], ["y"], "choose", then_branch=branch[0], else_branch=branch[1]))
    return net.model({"c": (TensorProto.BOOL, []), "x": (1, [2])}, {"y": (1, [2])})


def with_float_operator() -> onnx.ModelProto:
    """A convolution, then a sine: TensorFlow Lite computes it, in float only."""
    net = Net()
    net.add("Conv", ["x", net.constant("w", net.weights("w", (4, 3, 3, 3)))], "c")
    net.add("Sin", ["c"], "y")
    return net.model({"x": (1, [1, 3, 8, 8])}, {"y": (1, [1, 4, 6, 6])})


def with_unknown_operator() -> onnx.ModelProto:
    """Relu, then an operator that nobody has."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="fine"),
        helper.make_node("Bogus", ["a"], ["y"], name="unknown", domain="com.example"),
    ]
    info = [helper.make_tensor_value_info(name, 1, [2, 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", info[:1], info[1:])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _smaller(net: Net, name: str, shape: tuple[int, ...], axis: int, form: str) -> str:
    """Weights of `form` and the node that makes them float32, as the precision of that name has them."""
    values = net.weights(name, shape)
    if form == "fp16":
        net.constant(f"{name}.half", values.astype(np.float16))
        return net.add("Cast", [f"{name}.half"], name, to=TensorProto.FLOAT)
    scales = np.abs(values).max(axis=tuple(i for i in range(len(shape)) if i != axis)) / 127
    spread = scales.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    net.constant(f"{name}.q", np.rint(values / spread).astype(np.int8))
    net.constant(f"{name}.scale", scales.astype(np.float32))
    return net.add("DequantizeLinear", [f"{name}.q", f"{name}.scale"], name, axis=axis)


def smaller_weights(form: str) -> onnx.ModelProto:
    """Conv, ConvTranspose, Gemm, MatMul, an embedding and an LSTM with weights of a smaller type, in float."""
    net = Net()
    net.add("Conv", ["image", _smaller(net, "c", (32, 3, 3, 3), 0, form)], "conv", pads=[1] * 4)
    net.add("Relu", ["conv"], "relu")
    net.add("ConvTranspose", ["relu", _smaller(net, "t", (32, 32, 2, 2), 1, form)], "up", strides=[2, 2])
    net.add("GlobalAveragePool", ["up"], "pooled")
    net.add("Flatten", ["pooled"], "flat")
    net.add("Gemm", ["flat", _smaller(net, "g", (64, 32), 0, form)], "gemm", transB=1)
    net.add("MatMul", ["gemm", _smaller(net, "m", (64, 96), 1, form)], "product")
    net.add("Gather", [_smaller(net, "e", (500, 96), 0, form), "tokens"], "rows")
    net.add("Add", ["rows", "product"], "sum")
    net.constant("axes", np.array([1]))
    net.add("Unsqueeze", ["sum", "axes"], "sequence")
    weights = [_smaller(net, "w", (1, 128, 96), 1, form), _smaller(net, "r", (1, 128, 32), 1, form)]
    net.nodes.append(helper.make_node("LSTM", ["sequence", *weights], ["y"], "lstm", hidden_size=32))
    return net.model(
        {"image": (1, [1, 3, 8, 8]), "tokens": (TensorProto.INT64, [4])},
        {"y": (1, [4, 1, 1, 32]), "product": (1, [1, 96])},
    )


def weights_of_two_layers(form: str) -> onnx.ModelProto:
    """A Conv and a ConvTranspose that share their weights, which engines want in different arrangements."""
    net = Net()
    weights = _smaller(net, "w", (64, 64, 3, 3), 0, form)
    net.add("Conv", ["image", weights], "conv", pads=[1] * 4)
    net.add("Relu", ["conv"], "relu")
    net.add("ConvTranspose", ["relu", weights], "y", pads=[1] * 4)
    return net.model({"image": (1, [1, 64, 8, 8])}, {"y": (1, [1, 64, 8, 8])})


def stored_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all initializers."""
    return sum(numpy_helper.to_array(item).nbytes for item in model.graph.initializer)


SMALLER_WEIGHTS = ("int8-weights", "fp16")
FLOAT: tuple[Callable[[], onnx.ModelProto], ...] = (
    conv_float,
    outputs_of_every_kind,
    tokens,
    recurrent,
)
INT8: tuple[Callable[[], onnx.ModelProto], ...] = (conv_int8, gemm_int8)
"""Quantized throughout: every backend computes all of it in INT8."""


def feeds_for(model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded feeds for every input of a model."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for info in model.graph.input:
        kind = info.type.tensor_type
        shape = [dim.dim_value for dim in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        values = rng.normal(size=shape) if dtype.kind == "f" else rng.integers(0, 2 if dtype.kind == "b" else 40, shape)
        feeds[info.name] = np.asarray(values, dtype=dtype)
    return feeds
