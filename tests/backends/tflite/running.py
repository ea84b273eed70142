"""Graphs in the real interpreter."""

from __future__ import annotations

import os

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgec.backends.tflite.legal import legalize
from edgec.backends.tflite.writer import write_graph
from edgec.ir.graph import Graph
from edgec.ir.verifier import run_passes

KERNELS = {
    "default": OpResolverType.AUTO,  # XNNPACK where it has a kernel
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


def legal(graph: Graph) -> Graph:
    """The graph as it is written, verified."""
    return run_passes(graph, [legalize])


def interpreter(content: bytes, kernels: str = "default", **options) -> Interpreter:
    """An interpreter with its tensors allocated."""
    made = Interpreter(
        model_content=bytes(content), num_threads=1, experimental_op_resolver_type=KERNELS[kernels], **options
    )
    made.allocate_tensors()
    return made


def run(graph: Graph, feeds: dict[str, np.ndarray], kernels: str = "default") -> dict[str, np.ndarray]:
    """What a graph that is legal already gives for feeds of its own types."""
    made = interpreter(write_graph(graph, "test").content, kernels)
    index = {item["name"]: item["index"] for item in (*made.get_input_details(), *made.get_output_details())}
    for name, array in feeds.items():
        made.set_tensor(index[name], array)
    made.invoke()
    return {name: made.get_tensor(index[name]) for name in graph.outputs}


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
