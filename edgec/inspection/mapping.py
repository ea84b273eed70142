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
    """The document of a `Mapping`, with the nodes that stay in float: a build is refused for them.

    model: an ONNX file in its normal form. A float model is taken in its INT8 structure, with scales of no meaning.

    Raises UnsupportedOp naming the nodes that can't be written to a .tflite file at all.
    """
    from edgec.backends.edgetpu.backend import BACKEND
    from edgec.backends.edgetpu.lowering import lowered
    from edgec.backends.edgetpu.mapping import predict
    from edgec.backends.edgetpu.support import nodes_in_float
    from edgec.onnx_graph.graph import load_model
    from edgec.quantization.given import taken
    from edgec.quantization.structure import strict_structure

    assert target.accelerator is not None
    source = load_model(model)
    quantized = taken(source).model if came_quantized else strict_structure(source, BACKEND.per_tensor_weights).model
    file = lowered(quantized, BACKEND.interfaces[0] if interface == "auto" else interface)
    found = predict(file, target.accelerator.runtime).to_json()
    return {**found, "float_nodes": nodes_in_float(quantized), "calibrated": came_quantized}
