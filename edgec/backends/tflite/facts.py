"""What a report says of a payload: which operators compute in integers, and what is left of transposes and floats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from edgec.backends.tflite.fast_kernels import FASTER_IN_FLOAT
from edgec.backends.tflite.lowering import Lowered
from edgec.backends.tflite.writer import Written
from edgec.ir.accounting import account
from edgec.ir.graph import Graph
from edgec.ir.passes.integers import FloatOperation
from edgec.ir.passes.transposes import RemainingTranspose
from edgec.onnx_graph.cost import StoredBytes, macs, stored_bytes
from edgec.onnx_graph.graph import MAC_OPS
from edgec.onnx_graph.graph import Graph as OnnxGraph
from edgec.quantization.given_legality import objections

NAMED = 4
"""Kinds of operations that one remark names."""


_FLOATS = ("float16", "float32", "float64")


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


def facts(lowered: Lowered, written: Written, declared: Declared) -> dict[str, Any]:
    """Observations in JSON form; a function of the model and of what was made of it."""
    products = account(lowered.graph).products
    cost = declared.cost
    total = sum(cost.values())
    executed = {name for item in products if item.integers for name in item.origin}
    lost = [name for name in declared.integer if name not in executed]
    left = {name for item in lowered.in_float if item.reason == FASTER_IN_FLOAT for name in item.origin}

    def share(nodes: Sequence[str]) -> float:
        return sum(cost.get(name, 0) for name in nodes) / total if total else float(bool(nodes))

    in_float = lowered.in_float if declared.integer else ()
    return {
        "int8_primitives": sum(item.integers for item in products),
        "float_primitives": sum(not item.integers for item in products),
        "operators": dict(written.operators),
        "float_layers": list(dict.fromkeys(item.origin[0] for item in products if not item.integers and item.origin)),
        "float_operations": [
            {"operation": item.label, "result": item.result, "macs": item.macs, "reason": item.reason}
            for item in in_float
        ],
        "lost_int8": lost,
        "lost_int8_macs": {name: cost.get(name, 0) for name in lost},
        "int8_mac_fraction_declared": share([name for name in declared.integer if name not in left]),
        "int8_mac_fraction_executed": share([name for name in declared.integer if name in executed]),
        "transposes": [
            {"value": item.value, "permutation": list(item.permutation), "bytes": item.bytes, "why": item.why}
            for item in lowered.transposes
        ],
        "minimum_runtime": written.runtime,
        "weight_bytes": written.stored.total,
        "remarks": [*_in_words_of(in_float), *_of_transposes(lowered.transposes)],
    }


def _in_words_of(in_float: Sequence[FloatOperation]) -> list[str]:
    """What computes in float although the model is quantized, in one sentence."""
    if not in_float:
        return []
    counts = Counter(item.label for item in in_float).most_common()
    kinds = ", ".join(f"{count} {label}" for label, count in counts[:NAMED])
    more = " and others" if len(counts) > NAMED else ""
    number = "1 operation computes" if len(in_float) == 1 else f"{len(in_float)} operations compute"
    return [f"{number} in float between integers ({kinds}{more}): the report says why."]


def _of_transposes(transposes: Sequence[RemainingTranspose]) -> list[str]:
    """What is moved at every inference, in one sentence."""
    if not transposes:
        return []
    moved = sum(item.bytes for item in transposes) / 1000
    number = "1 transpose is" if len(transposes) == 1 else f"{len(transposes)} transposes are"
    return [f"{number} left ({moved:,.1f} kB at each inference): the report says why."]


def declared_integer(graph: OnnxGraph) -> list[str]:
    """Names of the nodes that the model has between integers that TFLite's kernels multiply, in its order.

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


def border(graph: Graph, names: Sequence[str], contract: Mapping[str, str]) -> list[dict[str, Any]]:
    """Inputs or outputs as the engine has to feed and read them.

    contract: name and dtype of each, in order.

    index_name: the tensor's name in the file; name: in the contract. permutation: dimension i in the file is dimension
    permutation[i] of the contract's; None where they are the same. scale, zero_point: of integers that stand for the
    contract's floats; None where the file has what the contract has. contract: the dtype of the contract's floats where
    it is not float32; None where it is, and for integers.
    """
    found = []
    for name, (wanted, dtype) in zip(names, contract.items(), strict=True):
        of, order = graph.type(name), graph.layouts.get(name)
        grid = of.quantization if dtype in _FLOATS else None
        found.append(
            {
                "name": wanted,
                "index_name": name,
                "permutation": list(order) if order is not None and list(order) != list(range(of.rank)) else None,
                "dtype": of.dtype,
                "scale": grid.scale[0] if grid is not None else None,
                "zero_point": grid.zero_point[0] if grid is not None else None,
                "contract": dtype if dtype in _FLOATS and dtype != "float32" else None,
            }
        )
    return found
