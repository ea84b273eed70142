"""The walk over a model's nodes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import numpy as np
import onnx

from edgec.errors import UnsupportedOp
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, TensorType, Value
from edgec.ir.importer.handlers import HANDLERS
from edgec.ir.importer.node import NodeImport, Unsupported
from edgec.ir.inference import TypeMismatch
from edgec.onnx_graph.graph import Graph as OnnxGraph

FAMILIES = (
    "elementwise",
    "movement",
    "normalization",
    "products",
    "quantization",
    "recurrent",
    "reductions",
    "windows",
)
"""The modules beside this one that register handlers."""


@dataclass(frozen=True)
class Refused:
    """A node that can't be imported."""

    node: str
    op: str
    reason: str
    remedy: str


def import_model(model: onnx.ModelProto, name: str = "main") -> Graph:
    """The graph of a model with static shapes (opset 17 or later), in ONNX's order of dimensions.

    Raises UnsupportedOp naming all nodes that can't be imported.
    """
    graph, refused = _walk(model, name)
    if refused:
        raise UnsupportedOp(
            f"{len(refused)} nodes of the model can't be compiled",
            "\n".join(f"node {item.node!r} ({item.op}): {item.reason}" for item in refused),
            "\n".join(dict.fromkeys(item.remedy for item in refused)),
        )
    return graph


def examine(model: onnx.ModelProto) -> list[Refused]:
    """The nodes of a model that can't be imported, in its order; empty when all can."""
    return _walk(model, "main")[1]


def _walk(model: onnx.ModelProto, name: str) -> tuple[Graph, list[Refused]]:
    for family in FAMILIES:
        import_module(f"edgec.ir.importer.{family}")
    source = OnnxGraph(model)
    builder = GraphBuilder(name)
    for tensor in source.inputs:
        builder.input(tensor, _declared(source, tensor))
    for tensor in source.initializers:
        data = source.constant(tensor)
        assert data is not None
        builder.copy_value(Value(tensor, TensorType(data.shape, str(data.dtype)), data))
    refused = []
    for node in source.nodes:
        try:
            _import(NodeImport(node, source, builder))
        except (Unsupported, TypeMismatch) as error:
            remedy = error.remedy if isinstance(error, Unsupported) else "Please report it with the model."
            label = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
            refused.append(Refused(node.name or node.output[0], label, str(error), remedy))
            for output in node.output:  # what comes after is examined all the same
                if output and output not in builder.graph.values:
                    builder.copy_value(Value(output, _declared(source, output)))
    return builder.finish(source.outputs), refused


def _import(item: NodeImport) -> None:
    handler = HANDLERS.get(item.node.op_type) if item.node.domain in ("", "ai.onnx") else None
    if handler is None:
        item.refuse("there is no rule for this operator", "Replace it in the model, or choose another --backend.")
    for output in item.node.output:
        if output and item.model.shape(output) is None:
            item.refuse(
                f"the shape of its result {output!r} is not known before it runs",
                "Fix the shapes of the model's inputs with --shape.",
            )
    handler(item)


def _declared(source: OnnxGraph, tensor: str) -> TensorType:
    """The type that ONNX's own inference finds; a placeholder where it finds none."""
    dtype = source.dtype(tensor)
    return TensorType(source.shape(tensor) or (), str(np.dtype(dtype)) if dtype is not None else "float32")
