"""A quantized ONNX model as the file that the compiler would get, without the demands of a build."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgec.backends import load_backend
from edgec.backends.base import Interface, LowerJob
from edgec.targets import Target


def lowered(model: Path, target: Target, interface: Interface) -> bytes:
    """The bytes of the .tflite file. Operations that have no INT8 form are in float in it.

    Raises UnsupportedOp naming the nodes that can't be written at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        payload = load_backend("tflite").lower(LowerJob(model, target, "mixed", out, interface))
        return (out / payload.files[0]).read_bytes()
