"""Small models, made where they are needed."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def two_layers(opset: int = 17, ir_version: int = 8, batch: int | str = 1) -> onnx.ModelProto:
    """x [batch, 3, 8, 8] -> Conv, Relu, GlobalAveragePool, Flatten, Gemm -> y [batch, 5]."""
    random = np.random.default_rng(7)
    weights = {
        "conv.weight": random.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "conv.bias": random.standard_normal(4).astype(np.float32),
        "fc.weight": random.standard_normal((4, 5)).astype(np.float32),
        "fc.bias": random.standard_normal(5).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
        helper.make_node("Flatten", ["c"], ["d"], name="flat"),
        helper.make_node("Gemm", ["d", "fc.weight", "fc.bias"], ["y"], name="fc"),
    ]
    return model_of(nodes, {"x": [batch, 3, 8, 8]}, {"y": [batch, 5]}, weights, opset=opset, ir_version=ir_version)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int | str] | None],
    outputs: dict[str, list[int | str] | None],
    weights: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    ir_version: int = 8,
    domains: dict[str, int] | None = None,
    input_types: dict[str, int] | None = None,
    output_types: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """A model of these nodes; inputs and outputs are float32 unless a type is given."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [_info(name, dims, (input_types or {}).get(name, TensorProto.FLOAT)) for name, dims in inputs.items()],
        [_info(name, dims, (output_types or {}).get(name, TensorProto.FLOAT)) for name, dims in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(domain, version) for domain, version in (domains or {}).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


def _info(name: str, dims: list[int | str] | None, kind: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


def external_tensor(
    name: str, dims: list[int], location: str, offset: int | str | None = 0, length: int | str | None = None
) -> TensorProto:
    """A float32 tensor whose data lies in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return tensor


def with_external_weight(location: str = "weights.data", **entry: int | str | None) -> onnx.ModelProto:
    """x [1, 8] -> MatMul with the external weight "w" [8, 8] (256 bytes) -> y [1, 8]."""
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")], {"x": [1, 8]}, {"y": [1, 8]})
    model.graph.initializer.append(external_tensor("w", [8, 8], location, **entry))
    return model


def saved(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Write a model as it is, right or wrong."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path
