"""A quantized ONNX model as the file that the compiler would get, without the demands of a build."""

from __future__ import annotations

import onnx

from edgec.backends.base import Interface


def lowered(model: onnx.ModelProto, interface: Interface) -> bytes:
    """The bytes of the .tflite file. Operations that have no INT8 form are in float in it.

    Raises UnsupportedOp naming the nodes that can't be written at all.
    """
    from edgec.backends.tflite.lowering import lower
    from edgec.backends.tflite.writer import write_graph

    return bytes(write_graph(lower(model, interface).graph, "").content)
