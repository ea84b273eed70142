"""Which operations of a model an Edge TPU would run, where its part ends, and what would make it longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgec.spec import Interface
from edgec.targets import Target


def applies(target: Target) -> bool:
    """Whether the device has an Edge TPU."""
    return target.accelerator is not None and target.accelerator.name == "edgetpu"


def answer(model: Path, target: Target, interface: Interface, came_quantized: bool) -> dict[str, Any]:
    """The document of a `Mapping`, with the nodes that stay in float.

    model: an ONNX file in its normal form. A float model is taken in its INT8 structure, with scales of no meaning.

    Raises UnsupportedOp naming the nodes that can't be written to a .tflite file at all.
    """
    from edgec.backends.edgetpu.backend import BACKEND
    from edgec.backends.edgetpu.lowering import lowered
    from edgec.backends.edgetpu.mapping import predict
    from edgec.inspection.structure import strict_structure
    from edgec.onnx_graph.graph import load_model
    from edgec.quantization.given import taken

    assert target.accelerator is not None
    source = load_model(model)
    float_nodes: dict[str, str] = {}
    if came_quantized:
        quantized = taken(source).model
    else:
        structure = strict_structure(source, BACKEND.per_tensor_weights)
        quantized, float_nodes = structure.model, dict(structure.float_nodes)
    file = lowered(quantized, BACKEND.interfaces[0] if interface == "auto" else interface)
    found = predict(file, target.accelerator.runtime).to_json()
    return {**found, "float_nodes": float_nodes, "calibrated": came_quantized}
