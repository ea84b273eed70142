"""How much of a quantized model computes in integers: the same count for all backends that lower from `edgec.ir`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from edgec.ir.accounting import account
from edgec.ir.graph import Graph
from edgec.ir.passes.integers import FloatOperation
from edgec.onnx_graph.cost import StoredBytes, macs, stored_bytes
from edgec.onnx_graph.graph import MAC_OPS
from edgec.onnx_graph.graph import Graph as OnnxGraph
from edgec.quantization.given_legality import objections

NAMED = 4
"""Kinds of operations that one remark names."""


@dataclass(frozen=True)
class Declared:
    """What a model says of itself, kept so that the model need not be.

    name: of its graph. cost: multiply-accumulates by node. integer: names of the nodes that multiply integers.
    stored: what its constants take. inputs, outputs: name and dtype, in order.
    """

    name: str
    cost: Mapping[str, int]
    integer: Sequence[str]
    stored: StoredBytes
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    @classmethod
    def by(cls, model: onnx.ModelProto) -> Declared:
        """Of a model."""
        graph = OnnxGraph(model)
        inputs, outputs = ({name: str(graph.dtype(name)) for name in names} for names in (graph.inputs, graph.outputs))
        return cls(model.graph.name, macs(graph), declared_integer(graph), stored_bytes(model), inputs, outputs)


def integer_facts(
    graph: Graph, in_float: Sequence[FloatOperation], declared: Declared, left: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Observations in JSON form, as `Payload.facts` wants them.

    graph: what is computed. in_float: what of it is in float between integers. left: reasons for that which are choices
    of the backend: products that it leaves to faster kernels are not declared as integer, and not lost.
    """
    products = account(graph).products
    cost = declared.cost
    total = sum(cost.values())
    executed = {name for item in products if item.integers for name in item.origin}
    lost = [name for name in declared.integer if name not in executed]
    chosen = {name for item in in_float if item.reason in left for name in item.origin}

    def share(nodes: Sequence[str]) -> float:
        return sum(cost.get(name, 0) for name in nodes) / total if total else float(bool(nodes))

    return {
        "int8_primitives": sum(item.integers for item in products),
        "float_primitives": sum(not item.integers for item in products),
        "float_layers": list(dict.fromkeys(item.origin[0] for item in products if not item.integers and item.origin)),
        "float_operations": [
            {"operation": item.label, "result": item.result, "macs": item.macs, "reason": item.reason}
            for item in (in_float if declared.integer else ())
        ],
        "lost_int8": lost,
        "lost_int8_macs": {name: cost.get(name, 0) for name in lost},
        "int8_mac_fraction_declared": share([name for name in declared.integer if name not in chosen]),
        "int8_mac_fraction_executed": share([name for name in declared.integer if name in executed]),
    }


def in_words(in_float: Sequence[FloatOperation]) -> list[str]:
    """What computes in float although the model is quantized, in one sentence."""
    if not in_float:
        return []
    counts = Counter(item.label for item in in_float).most_common()
    kinds = ", ".join(f"{count} {label}" for label, count in counts[:NAMED])
    more = " and others" if len(counts) > NAMED else ""
    number = "1 operation computes" if len(in_float) == 1 else f"{len(in_float)} operations compute"
    return [f"{number} in float between integers ({kinds}{more}): the report says why."]


def declared_integer(graph: OnnxGraph) -> list[str]:
    """Names of the nodes that the model has between integers that INT8 kernels multiply, in its order.

    A product of two activations that others wrote as integers counts only where its own result is rounded, too.
    """
    against = {item.node for item in objections(graph, wide=True)}
    return [
        node.name
        for node in graph.nodes
        if node.op_type in MAC_OPS
        and node.name not in against
        and (_has_weights(graph, node) or _is_rounded(graph, node))
    ]


def _has_weights(graph: OnnxGraph, node: onnx.NodeProto) -> bool:
    """Whether an operand is a constant, as it is or behind a DequantizeLinear."""
    stored = [graph.producer[name].input[0] if name in graph.producer else name for name in node.input[:2]]
    return any(name in graph.initializers for name in stored)


def _is_rounded(graph: OnnxGraph, node: onnx.NodeProto) -> bool:
    readers = graph.consumers.get(node.output[0], [])
    return bool(readers) and all(reader.op_type == "QuantizeLinear" for reader in readers)
