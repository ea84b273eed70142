"""What OpenVINO really runs: the kernels that it chose for a model on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgec.onnx_graph.cost import macs
from edgec.onnx_graph.graph import MAC_OPS, Graph
from edgec.quantization.given_legality import objections

if TYPE_CHECKING:
    import onnx

_PRODUCTS = frozenset(
    {"Convolution", "Deconvolution", "FullyConnected", "GroupConvolution", "MatMul"}
    | {"GRUCell", "GRUSequence", "LSTMCell", "LSTMSequence", "RNNCell", "RNNSeq", "RNNSequence"}
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

    names: the IR's node names to those of the ONNX nodes that they come from, as `rename_nodes` returned them.
    model: the ONNX model, in whose terms layers are named and multiply-accumulates are counted.

    "int8_mac_fraction_declared" is the share of multiply-accumulates that the model has in INT8,
    "int8_mac_fraction_executed" the share that INT8 kernels compute here. A node that OpenVINO does not list counts as
    lost.
    """
    products = [item for item in primitives if item.is_product]
    operators: dict[str, dict[str, int]] = {}
    for item in primitives:
        count = operators.setdefault(item.layer, {"int8": 0, "float": 0})
        count["int8" if item.is_int8 else "float"] += 1
    makers = {output: node.name or output for node in model.graph.node for output in node.output}
    float_layers = [_origins(item, names, makers)[0] for item in products if not item.is_int8]
    executed = {name for item in products if item.is_int8 for name in _origins(item, names, makers)}
    graph = Graph(model)
    cost = macs(graph)
    total = sum(cost.values())
    declared = declared_int8(graph)
    lost = [name for name in declared if name not in executed]

    def share(nodes: Sequence[str]) -> float:
        return sum(cost.get(name, 0) for name in nodes) / total if total else float(bool(nodes))

    return {
        "int8_primitives": sum(item.is_int8 for item in products),
        "float_primitives": sum(not item.is_int8 for item in products),
        "operators": dict(sorted(operators.items())),
        "kernels": dict(sorted(Counter(f"{item.layer} {item.kernel}" for item in primitives).items())),
        "float_layers": float_layers,
        "lost_int8": lost,
        "lost_int8_macs": {name: cost.get(name, 0) for name in lost},
        "int8_mac_fraction_declared": share(declared),
        "int8_mac_fraction_executed": share([name for name in declared if name in executed]),
    }


def declared_int8(graph: Graph) -> list[str]:
    """Names of the nodes that multiply and accumulate in INT8, as the graph says it: between DequantizeLinear nodes of
    a form that INT8 kernels take. In the graph's order."""
    against = {item.node for item in objections(graph)}
    return [node.name for node in graph.nodes if node.op_type in MAC_OPS and node.name not in against]


def _origins(primitive: Primitive, names: Mapping[str, str], makers: Mapping[str, str]) -> list[str]:
    """The ONNX nodes that a primitive computes, the first one first.

    OpenVINO calls a node by its ONNX name or by that of its output, and adds words of its own behind a slash.
    """
    found = []
    for part in primitive.origin.split(","):
        name = names.get(part) or names.get(part.split("/")[0]) or part
        name = name.removesuffix("/WithoutBiases")
        found.append(makers.get(name, name))
    return list(dict.fromkeys(found))
