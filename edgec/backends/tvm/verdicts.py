"""Which nodes can be taken, asked of the code that will lower them."""

from __future__ import annotations

from pathlib import Path

from edgec.backends.base import OpVerdict
from edgec.ir.importer import examine
from edgec.onnx_graph.graph import load_model


def verdicts(path: Path) -> list[OpVerdict]:
    """One verdict for each node of the main graph of an ONNX file, in its order: whether it can be imported.

    Whether its integers have a kernel shows only when the model is quantized.
    """
    model = load_model(path)
    refused = {item.node: item for item in examine(model)}
    found = []
    for node in model.graph.node:
        name = node.name or (node.output[0] if node.output else "")
        operator = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)
        item = refused.get(name)
        found.append(OpVerdict(name, operator, item is None, item.reason if item else "", item.remedy if item else ""))
    return found
