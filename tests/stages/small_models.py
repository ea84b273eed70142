"""Models small enough to run in milliseconds, samples for them, and the folders that stages leave."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgec.contract import Contract, TensorSpec
from edgec.samples import Sample
from edgec.stage import StageContext
from edgec.stages import lower
from edgec.targets import load_target

SHAPE = (1, 3, 12, 12)
SCALE = 0.05


@dataclass(frozen=True)
class Arrays:
    """Samples of one step."""

    count: int
    constant: bool = False
    digest: str = "arrays"

    def __len__(self):
        return self.count

    def read(self, indices=None):
        for index in range(self.count) if indices is None else indices:
            image = np.random.default_rng(0 if self.constant else index).normal(size=SHAPE).astype(np.float32)
            yield Sample(str(index), ({"x": image},))


@dataclass(frozen=True)
class Sequences(Arrays):
    """Samples of five steps."""

    def read(self, indices=None):
        for index in range(self.count) if indices is None else indices:
            rng = np.random.default_rng(index)
            yield Sample(str(index), tuple({"x": rng.normal(size=(1, 4)).astype(np.float32)} for _ in range(5)))


def convolution(gain=1.0, quantized=False):
    """x -> Conv -> Relu -> y; quantized, with a Q/DQ pair at its output."""
    weights = np.random.default_rng(1).normal(size=(8, 3, 3, 3)).astype(np.float32) * 0.2 * gain
    last = "r" if quantized else "y"
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], [last], name="relu"),
    ]
    constants = [numpy_helper.from_array(weights, "w")]
    if quantized:
        nodes += [
            helper.make_node("QuantizeLinear", ["r", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ]
        constants += [
            numpy_helper.from_array(np.float32(SCALE), "s"),
            numpy_helper.from_array(np.int8(-128), "z"),
        ]
    return model(nodes, constants, [("x", SHAPE)], [("y", (1, 8, 12, 12))])


def recurrent():
    """h' = tanh(x + 0.5 h), y = h' W."""
    nodes = [
        helper.make_node("Mul", ["h", "half"], ["m"]),
        helper.make_node("Add", ["x", "m"], ["a"]),
        helper.make_node("Tanh", ["a"], ["hn"]),
        helper.make_node("MatMul", ["hn", "w"], ["y"]),
    ]
    weights = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
    constants = [numpy_helper.from_array(np.float32(0.5), "half"), numpy_helper.from_array(weights, "w")]
    return model(nodes, constants, [("x", (1, 4)), ("h", (1, 4))], [("y", (1, 3)), ("hn", (1, 4))])


def model(nodes, constants, inputs, outputs):
    def values(items):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in items]

    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def ingested(folder, made):
    folder.mkdir()
    (folder / "ingest.json").write_text('{"metadata": {}, "macs": 1000}')
    onnx.save(made, folder / "model.onnx")
    specs = [
        tuple(
            TensorSpec(item.name, "float32", tuple(d.dim_value for d in item.type.tensor_type.shape.dim))
            for item in part
        )
        for part in (made.graph.input, made.graph.output)
    ]
    (folder / "contract.json").write_text(json.dumps(Contract(*specs).to_json()))
    return folder


def quantized(folder, made):
    folder.mkdir()
    onnx.save(made, folder / "qdq.onnx")
    (scale,) = (numpy_helper.to_array(item) for item in made.graph.initializer if item.name in ("s", "ys"))
    table = {"tensors": {"y": {"scale": float(scale), "zero_point": -128, "dtype": "int8"}}, "weights": {}}
    (folder / "qparams.json").write_text(json.dumps(table))
    return folder


def lowered(folder, made, precision="float"):
    folder.mkdir()
    onnx.save(made, folder / "model.onnx")
    lower.run(
        folder,
        lower.LowerParams("openvino", load_target("host"), precision, "model.onnx"),
        StageContext("lower", folder, lambda event: None),
    )
    return folder


@dataclass(frozen=True)
class Bright(Arrays):
    """Samples near the top of their range."""

    def read(self, indices=None):
        for index in range(self.count) if indices is None else indices:
            image = np.random.default_rng(index).uniform(0.5, 1, (1, 16, 12, 12)).astype(np.float32)
            yield Sample(str(index), ({"x": image},))


def full_range():
    """A convolution whose INT8 weights use all 8 bits: (float model, the same quantized)."""
    values = np.where(np.random.default_rng(3).random((16, 16, 3, 3)) < 0.9, 127, 60).astype(np.int8)
    shapes = [("x", (1, 16, 12, 12))], [("y", (1, 16, 12, 12))]
    conv = {"name": "conv", "pads": [1, 1, 1, 1]}
    weights = numpy_helper.from_array(values.astype(np.float32) / 127, "w")
    original = model([helper.make_node("Conv", ["x", "w"], ["y"], **conv)], [weights], *shapes)
    scales = {"xs": np.float32(1 / 255), "ws": np.float32(1 / 127), "ys": np.float32(150 / 255)}
    zeros = {"xz": np.int8(-128), "wz": np.int8(0), "yz": np.int8(-128)}
    constants = [numpy_helper.from_array(value, name) for name, value in {**scales, **zeros, "wq": values}.items()]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["c"], **conv),
        helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
    ]
    return original, model(nodes, constants, *shapes)
