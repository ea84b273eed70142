"""What a model says about the range of the images that it wants: it may begin by scaling them itself.

Only what stands directly behind an input counts: a division, a multiplication, a subtraction, an addition by constants,
or a batch normalization. A model that begins with a convolution says nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx

_MOVES = frozenset({"Transpose", "Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Pad"})


@dataclass(frozen=True)
class PixelRange:
    """low, high: about what the model wants. reason: "the model divides it by 255 (node X)"."""

    low: float
    high: float
    reason: str


def pixel_ranges(model: Path) -> Mapping[str, PixelRange]:
    """Input name to range, for the inputs of rank 4 about which `model` says something.

    The model must be one that ingest wrote. External data is not needed.
    """
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    constants = {item.name: item for item in graph.initializer}
    ranges = {}
    for info in graph.input:
        if info.name in constants or len(info.type.tensor_type.shape.dim) != 4:
            continue
        found = _range_of(graph, constants, info.name)
        if found is not None:
            ranges[info.name] = found
    return ranges


def _range_of(graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto], tensor: str) -> PixelRange | None:
    import numpy as np

    for _ in range(8):
        readers = [node for node in graph.node if tensor in node.input]
        if len(readers) != 1:
            return None
        node = readers[0]
        if node.op_type in _MOVES and node.input[0] == tensor:
            tensor = node.output[0]
            continue
        name = f"node {node.name or node.output[0]!r}"
        if node.op_type == "BatchNormalization" and node.input[0] == tensor:
            mean, variance = (_values(constants, node.input[i]) for i in (3, 4))
            if mean is None or variance is None:
                return None
            low, high = float((mean - 2 * np.sqrt(variance)).min()), float((mean + 2 * np.sqrt(variance)).max())
            return PixelRange(
                low, high, f"the model begins with a batch normalization for about {low:.3g} to {high:.3g} ({name})"
            )
        other = next((_values(constants, item) for item in node.input if item != tensor), None)
        if other is None or len(node.input) != 2:
            return None
        size = float(np.median(np.abs(other)))
        if node.op_type == "Div" and node.input[0] == tensor and size >= 32:
            return PixelRange(0.0, 255.0, f"the model divides it by {size:.4g} ({name})")
        if node.op_type == "Mul" and 0 < size <= 1 / 32:
            return PixelRange(0.0, 255.0, f"the model multiplies it by {size:.4g} ({name})")
        if node.op_type in ("Sub", "Add") and size >= 32:
            verb = "subtracts" if node.op_type == "Sub" else "adds"
            return PixelRange(0.0, 255.0, f"the model {verb} about {size:.4g} ({name})")
        if node.op_type == "Sub" and node.input[0] == tensor and 0.2 <= size <= 0.8:
            return PixelRange(0.0, 1.0, f"the model subtracts about {size:.4g} ({name})")
        return None
    return None


def _values(constants: Mapping[str, onnx.TensorProto], name: str) -> np.ndarray | None:
    from onnx import TensorProto, numpy_helper

    item = constants.get(name)
    if item is None or item.data_location == TensorProto.EXTERNAL:
        return None
    return numpy_helper.to_array(item)
