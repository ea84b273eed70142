"""The nodes of the ONNX model in a payload, by the names of the tensors that they make.

A tensor of a .tflite file is called as in the model, or NAME/nhwc or the like where its dimensions are in another
order; what a kernel computes together ends in the tensor of its last node. Layers of an OpenVINO IR have names of their
own, and tensors that came from the model keep theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

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


def tensors_of_layers(ir: Path) -> dict[str, str]:
    """Layers of an OpenVINO IR (the .xml file) to a tensor of the model: the first one on the way from the layer on."""
    root = ElementTree.parse(ir).getroot()
    names: dict[str, str] = {}
    tensors: dict[str, str] = {}
    for layer in root.iter("layer"):
        names[layer.attrib["id"]] = layer.attrib["name"]
        found = [port.attrib["names"] for port in layer.findall("output/port") if "names" in port.attrib]
        if found:
            tensors[layer.attrib["id"]] = found[0].split(",")[0]
    behind: dict[str, list[str]] = {}
    for edge in root.iter("edge"):
        behind.setdefault(edge.attrib["from-layer"], []).append(edge.attrib["to-layer"])
    made: dict[str, str] = {}
    for start, name in names.items():
        waiting, seen = [start], {start}
        while waiting:
            layer_id = waiting.pop(0)
            if layer_id in tensors:
                made[name] = tensors[layer_id]
                break
            fresh = [other for other in behind.get(layer_id, ()) if other not in seen]
            waiting += fresh
            seen.update(fresh)
    return made
