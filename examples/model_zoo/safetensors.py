"""Read weights stored as safetensors: a length, a JSON header, raw little-endian numbers.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math

import numpy as np

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "<i1", "U8": "<u1"}


def read_safetensors(content: bytes) -> dict[str, np.ndarray]:
    """Every tensor by name, as views of `content`. ValueError when the header does not describe the bytes."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 + size:
        raise ValueError(f"a header of {size} bytes does not fit into a file of {len(content)} bytes")
    header = json.loads(content[8 : 8 + size])
    data = memoryview(content)[8 + size :]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name} has the type {entry['dtype']}, which this reader does not know")
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"]
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(data) or end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} claims the bytes {begin} to {end}, which don't hold {shape} of {entry['dtype']}")
        tensors[name] = np.frombuffer(data[begin:end], dtype).reshape(shape)
    return tensors
