"""What OpenVINO really runs: the kernels that it chose for a model on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgec.onnx_graph.graph import MAC_OPS

if TYPE_CHECKING:
    import onnx

_PRODUCTS = frozenset(
    {"Convolution", "Deconvolution", "FullyConnected", "GroupConvolution", "MatMul"}
    | {"GRUCell", "GRUSequence", "LSTMCell", "LSTMSequence", "RNNCell", "RNNSequence"}
)
"""Layers that multiply and accumulate: where the work is."""

_NOT_RUN = frozenset({"Const", "Input", "Output"})


@dataclass(frozen=True)
class Primitive:
    """One layer as compiled: what it computes, the kernel that does so, and which of the IR's nodes it stands for."""

    layer: str
    kernel: str
    origin: str

    @property
    def is_product(self) -> bool:
        return self.layer in _PRODUCTS

    @property
    def is_int8(self) -> bool:
        return "i8" in self.kernel.lower().split("_")  # "brgconv_avx512_1x1_I8", "brgemm_avx512_i8", "ref_any_i8"


def chosen(compiled: Any) -> list[Primitive]:
    """The primitives of an `openvino.CompiledModel`, constants and the graph's ends left out."""
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        layer, kernel, origin = (
            str(facts[key].value) if key in facts else ""
            for key in ("layerType", "primitiveType", "originalLayersNames")
        )
        if layer not in _NOT_RUN:
            found.append(Primitive(layer, kernel, origin))
    return found


def facts(primitives: list[Primitive], names: Mapping[str, str], model: onnx.ModelProto) -> dict[str, Any]:
    """What a report says about them.

    names: the IR's node names to those that OpenVINO had given them, as `rename_nodes` returned them.
    model: the ONNX model, in whose terms float layers are named.
    """
    products = [item for item in primitives if item.is_product]
    operators: dict[str, dict[str, int]] = {}
    for item in primitives:
        count = operators.setdefault(item.layer, {"int8": 0, "float": 0})
        count["int8" if item.is_int8 else "float"] += 1
    makers = {output: node.name or output for node in model.graph.node for output in node.output}
    float_layers = [_origin(item, names, makers) for item in products if not item.is_int8]
    declared = _declared_int8(model)
    return {
        "int8_primitives": sum(item.is_int8 for item in products),
        "float_primitives": sum(not item.is_int8 for item in products),
        "operators": dict(sorted(operators.items())),
        "kernels": dict(sorted(Counter(f"{item.layer} {item.kernel}" for item in primitives).items())),
        "float_layers": float_layers,
        "lost_int8": [name for name in dict.fromkeys(float_layers) if name in declared],
    }


def _declared_int8(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that multiply and accumulate what DequantizeLinear nodes give: INT8 as the graph says it."""
    makers = {output: node for node in model.graph.node for output in node.output}

    def dequantized(name: str) -> bool:
        return name in makers and makers[name].op_type == "DequantizeLinear"

    return {
        node.name or node.output[0]
        for node in model.graph.node
        if node.op_type in MAC_OPS and all(dequantized(name) for name in node.input[:2])
    }


def _origin(primitive: Primitive, names: Mapping[str, str], makers: Mapping[str, str]) -> str:
    """The ONNX node that a primitive computes (the first one, where several were fused).

    OpenVINO calls a node by its ONNX name or by that of its output.
    """
    first = primitive.origin.split(",")[0]
    name = names.get(first, first).removesuffix("/WithoutBiases")
    return makers.get(name, name)
