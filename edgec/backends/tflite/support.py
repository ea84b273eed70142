"""Which nodes TFLite can take, asked of the code that will lower them."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto, NodeProto

from edgec.backends.base import OpVerdict
from edgec.ir.importer import examine
from edgec.onnx_graph.graph import load_model


def verdicts(path: Path) -> list[OpVerdict]:
    """One verdict for each node of the main graph of an ONNX file, in its order.

    A node that can't be imported is named with the importer's reason; where all can, the graph is made, and the nodes
    that an operation without a TFLite kernel comes from are named with the reason of the rule for its kind. What the
    model itself has that no graph can hold (an input of strings) refuses all nodes.
    """
    model = load_model(path)
    refused = {item.node: (item.reason, item.remedy) for item in examine(model)}
    if not refused:
        refused = _without_kernel(model)
    names = {_name(node) for node in model.graph.node}
    outside = [f"{node!r}: {reason}" for node, (reason, _) in refused.items() if node not in names]
    remedies = dict.fromkeys(remedy for node, (_, remedy) in refused.items() if node not in names)
    found = []
    for node in model.graph.node:
        reason, remedy = refused.get(_name(node), ("; ".join(outside), "\n".join(remedies)))
        found.append(OpVerdict(_name(node), _operator(node), not reason, reason, remedy if reason else ""))
    return found


def _without_kernel(model: ModelProto) -> dict[str, tuple[str, str]]:
    from edgec.backends.tflite.legal import objections
    from edgec.backends.tflite.lowering import without_lacking
    from edgec.ir.importer import import_model

    found: dict[str, tuple[str, str]] = {}
    for item in objections(without_lacking(import_model(model))):
        for node in item.operation.origin or (item.operation.outputs[0],):
            found.setdefault(node, (item.reason, item.remedy))
    return found


def _name(node: NodeProto) -> str:
    return node.name or (node.output[0] if node.output else "")


def _operator(node: NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)
