"""Which nodes have no INT8 form for the Edge TPU, before anything is calibrated.

The answer is that of the lowering itself: what it leaves in float of the model's INT8 structure would be in float
in the file, and such a file is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgec.backends.base import OpVerdict

if TYPE_CHECKING:
    import onnx

REMEDY = (
    "End the model before them, or replace them: `edgec inspect` names what may stand in their place. A target that "
    "lists the backend tflite takes them as they are."
)


def verdicts(path: Path, taken: Sequence[OpVerdict], per_tensor: Collection[str]) -> list[OpVerdict]:
    """The verdicts of the TFLite backend, with what would compute in float refused.

    taken: what TFLite says of each node of the ONNX file at `path`. per_tensor: operators whose weights get one scale.
    """
    if not all(verdict.supported for verdict in taken):
        return list(taken)
    from edgec.onnx_graph.graph import load_model
    from edgec.quantization.given import is_quantized
    from edgec.quantization.structure import strict_structure

    model = load_model(path)
    quantized = model if is_quantized(model) else strict_structure(model, per_tensor).model
    floats = nodes_in_float(quantized)
    return [
        replace(verdict, supported=False, reason=floats[verdict.node], remedy=REMEDY)
        if verdict.node in floats
        else verdict
        for verdict in taken
    ]


def nodes_in_float(quantized: onnx.ModelProto) -> dict[str, str]:
    """The nodes of a quantized model that compute in float inside of its file, and why."""
    from edgec.backends.edgetpu.mapping import in_float
    from edgec.backends.edgetpu.network import read
    from edgec.backends.tflite.lowering import lower
    from edgec.backends.tflite.writer import write_graph

    lowered = lower(quantized, "int8")
    network = read(bytes(write_graph(lowered.graph, "").content))
    if not any(in_float(operator, network) for operator in network.operators):
        return {}
    return {node: item.reason for item in lowered.in_float for node in item.origin}
