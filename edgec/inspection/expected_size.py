"""How large an INT8 artifact will be, before there is one.

Known are the runtime that every artifact carries, its test samples (edgec.parity.validation), and the bytes of
weights. What a payload holds besides was read off real ones: for each channel of a weight its scales and zero points,
for each node or kernel its description or its machine code. benchmarks/expected_sizes.py compares expected with real
sizes.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np

from edgec.bundle.write import runtime_sources
from edgec.contract import Contract
from edgec.onnx_graph.graph import Graph

_GOLDEN_BYTES, _GOLDEN_SAMPLES = 1_000_000, 3
_PER_ARRAY = 450
"""Bytes of headers that an array takes in a .npz file, with what is kept of its scale."""

_PER_MEMBER = 250
"""Bytes that a file takes in an artifact besides its content: its name and headers, its digest in the manifest."""

_DOCUMENTS = 7300
"""Bytes of manifest, provenance, bill of materials, parity.json and profile.json, compressed."""


@dataclass(frozen=True)
class Overhead:
    """channel, product, node: bytes for each. base: of the rest."""

    channel: float = 0.0
    product: float = 0.0
    node: float = 0.0
    base: float = 0.0


_OVERHEADS = {
    "openvino": Overhead(channel=9.5, node=480),  # an XML document, compressed
    "tflite": Overhead(channel=24, node=350),  # float32 and int64 for each weight and each bias
    "edgetpu": Overhead(channel=24, node=350),
    "tvm": Overhead(channel=18, product=3900, base=2900),  # code; the header
}


def artifact_bytes(backend: str, held: int, graph: Graph, contract: Contract) -> int:
    """Bytes of an artifact through `backend`. held: bytes of the weights, each as the backend holds it."""
    overhead = _OVERHEADS[backend]
    channels = weighted_channels(graph)
    payload = (
        held
        + overhead.channel * sum(channels)
        + overhead.product * len(channels)
        + overhead.node * len(graph.nodes)
        + overhead.base
    )
    return round(payload + runtime_bytes() + _DOCUMENTS + golden_bytes(contract))


def weighted_channels(graph: Graph) -> list[int]:
    """Output channels of every product with constant weights, which have a scale and a bias each."""
    axis = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1}
    found = []
    for node in graph.nodes:
        weights = node.input[1] if len(node.input) > 1 else ""
        if weights in graph.producer and graph.producer[weights].op_type == "DequantizeLinear":
            weights = graph.producer[weights].input[0]
        shape = graph.shape(weights) if weights in graph.initializers else None
        if shape and node.op_type in axis:
            found.append(shape[axis[node.op_type]])
        elif shape and node.op_type == "Gemm":
            found.append((graph.shape(node.output[0]) or shape)[-1])
    return found


def golden_bytes(contract: Contract) -> int:
    """Bytes of the samples that an artifact tests itself with: up to three, and up to 1 MB unless one is larger."""
    tensors = (*contract.inputs, *contract.outputs)
    one = sum(math.prod(item.shape) * np.dtype(item.dtype).itemsize for item in tensors)
    samples = max(1, min(_GOLDEN_SAMPLES, _GOLDEN_BYTES // max(1, one)))
    return samples * (one + _PER_ARRAY * len(tensors))


@cache
def runtime_bytes() -> int:
    """Bytes that the runtime takes in every artifact, compressed as there."""
    return sum(len(zlib.compress(content, 9)) + _PER_MEMBER for content in runtime_sources().values())
