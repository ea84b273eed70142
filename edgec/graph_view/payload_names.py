"""The nodes of the ONNX model among the operators of a .tflite file, by the names of the tensors that they make.

A tensor is called there as in the model, or NAME/nhwc or the like where its dimensions are in another order. What a
kernel computes together ends in the tensor of its last node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgec.graph_view.layers import GraphNode


def payload_names(
    nodes: Sequence[GraphNode],
    kernels: Mapping[str, Sequence[GraphNode]],
    lowered: Sequence[GraphNode],
    tensors: Sequence[str],
) -> dict[str, str]:
    """Names of the payload's tensors by the nodes that make them. A kernel stands for its first node.

    lowered: the nodes of the model that was lowered, where a quantized output of the model has another name.
    """
    called = {node.name: node.outputs for node in lowered}
    made: dict[str, str] = {}
    for name in tensors:
        made.setdefault(name.rsplit("/", 1)[0], name)
    made |= {name: name for name in tensors}
    found: dict[str, str] = {}
    within = {node.name for chain in kernels.values() for node in chain[1:]}
    for node in nodes:
        if node.name in within:
            continue
        chain = kernels.get(node.name, [node])
        outputs = (output for member in reversed(chain) for output in called.get(member.name, member.outputs))
        match = next((made[output] for output in outputs if output in made), None)
        if match is not None:
            found[node.name] = match
    return found


def tensor_names(file: Path) -> list[str]:
    """The tensors of a .tflite file."""
    from ai_edge_litert.interpreter import Interpreter

    return [str(item["name"]) for item in Interpreter(model_path=str(file)).get_tensor_details() if item["name"]]
