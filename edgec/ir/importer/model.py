"""The walk over a model's nodes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import numpy as np
import onnx
from onnx import NodeProto, TypeProto

from edgec.errors import UnsupportedOp
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import DTYPES, Graph, Operation, TensorType, Value
from edgec.ir.importer.handlers import HANDLERS
from edgec.ir.importer.node import NodeImport, Unsupported
from edgec.ir.inference import TypeMismatch
from edgec.ir.kinds import Cast
from edgec.ir.passes.fold_constants import fold_written
from edgec.onnx_graph.graph import Graph as OnnxGraph
from edgec.onnx_graph.graph import attribute

FAMILIES = (
    "elementwise",
    "functions",
    "movement",
    "normalization",
    "products",
    "quantization",
    "recurrent",
    "reductions",
    "windows",
)
"""The modules beside this one that register handlers."""


_COMPUTED = tuple(dtype for dtype in DTYPES if dtype != "float16")
"""Element types of what is computed, and of inputs and outputs: float16 is how constants are stored."""

_WIDENED = ("float16", "float64")
"""Element types that inputs and outputs may have besides, where the model itself does no more with them than to cast
them from or to float32: the graph has float32 in their place, and who runs it converts."""

_REMEDIES = {
    "If": "Fix the shapes of the model's inputs (--shape), so that its condition becomes a constant; or export the one "
    "branch that inference takes (torch.onnx.export of a traced model does).",
    "Loop": "Export the model with the loop unrolled, or its recurrence as an LSTM or GRU.",
    "Scan": "Export the model with the loop unrolled, or its recurrence as an LSTM or GRU.",
    "NonMaxSuppression": "Cut the model before it, and select the boxes in the program that calls it.",
}
_REMEDY = "Replace it in the model, or choose another --backend."
_FOREIGN = "Export the model with standard ONNX operators: without fusions for one runtime."
_IN_FLOAT32 = (
    "Export the model in float32 (model.float() in PyTorch); integers may be int8, uint8, int16, int32 or int64."
)


@dataclass(frozen=True)
class Refused:
    """A node, or an input or output of the model, that can't be imported.

    op: the operator; "input" or "output" where it is the model's own.
    """

    node: str
    op: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = (
            f"{self.op} {self.node!r}" if self.op in ("input", "output", "model") else f"node {self.node!r} ({self.op})"
        )
        return f"{where}: {self.reason}"


def import_model(model: onnx.ModelProto, name: str = "main") -> Graph:
    """The graph of a model with static shapes (opset 17 or later), in ONNX's order of dimensions.

    Raises UnsupportedOp naming everything that can't be imported.
    """
    graph, refused = _walk(model, name)
    if graph is None or refused:
        raise UnsupportedOp(
            "The model can't be compiled as it is",
            "\n".join(str(item) for item in refused),
            "\n".join(dict.fromkeys(item.remedy for item in refused)),
        )
    return graph


def examine(model: onnx.ModelProto) -> list[Refused]:
    """What of a model can't be imported, in its order; empty when all can.

    What a refused node gives is taken to be what ONNX's own inference says, so that the nodes behind it are examined,
    too. Where that says nothing, those that read it are not.
    """
    return _walk(model, "main")[1]


def _walk(model: onnx.ModelProto, name: str) -> tuple[Graph | None, list[Refused]]:
    for family in FAMILIES:
        import_module(f"edgec.ir.importer.{family}")
    source = OnnxGraph(model)
    builder = GraphBuilder(name)
    builder.reserved.update(output for node in source.nodes for output in node.output)
    refused: list[Refused] = []
    unknown: set[str] = set()
    if not source.nodes or not source.outputs:
        missing = "nodes" if not source.nodes else "outputs"
        refused.append(Refused(model.graph.name, "model", f"it has no {missing}", "Export the model again."))
    for info in model.graph.input:
        if info.name in source.initializers:
            continue
        problem = _objection_to_interface(source, info.name, info.type)
        if problem is not None:
            refused.append(Refused(info.name, "input", *problem))
            unknown.add(info.name)
        else:
            builder.input(info.name, _declared(source, info.name))
    for tensor in source.initializers:
        data = source.constant(tensor)
        assert data is not None
        builder.copy_value(Value(tensor, TensorType(data.shape, str(data.dtype)), data))
    for node in source.nodes:
        start = len(builder.graph.operations)
        try:
            if HANDLERS.get(node.op_type) is not None and unknown.intersection(node.input):
                unknown.update(node.output)
                continue
            import_node(NodeImport(node, source, builder))
        except (Unsupported, TypeMismatch) as error:
            remedy = error.remedy if isinstance(error, Unsupported) else "Please report it with the model."
            refused.append(Refused(_name(node), _label(node), str(error), remedy))
            _undo(builder, start)
            unknown.update(_guess(source, builder, node))
    refused += [
        Refused(output, "output", *problem)
        for output in source.outputs
        if output not in unknown and (problem := _objection_to_result(builder.graph, output)) is not None
    ]
    if refused:
        return None, refused
    return builder.finish(source.outputs), refused


def import_node(item: NodeImport) -> None:
    """Write the operations of a node. What they compute of constants is computed at once, so that the nodes behind it
    find shapes and axes that are constant."""
    node = item.node
    handler = HANDLERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if handler is None:
        foreign = node.domain not in ("", "ai.onnx")
        item.refuse("there is no rule for this operator", _FOREIGN if foreign else _REMEDIES.get(node.op_type, _REMEDY))
    graph = item.builder.graph
    start = len(graph.operations)
    handler(item)
    fold_written(item.builder, start)
    for operation in graph.operations[start:]:
        _check(item, operation)
    for output in node.output:
        if output and output not in graph.values:
            item.refuse(f"its result {output!r} is not supported", "Take it out of the model if nothing needs it.")


def _check(item: NodeImport, operation: Operation) -> None:
    """Refuse what no operation may read or write: dtypes that the graph has not, tensors without elements."""
    graph = item.builder.graph
    for name in (*operation.inputs, *operation.outputs):
        of = graph.type(name)
        stored = isinstance(operation.kind, Cast) and graph.constant(name) is not None
        if of.dtype not in (DTYPES if stored else _COMPUTED):
            what = "strings" if of.dtype in ("object", "str") else of.dtype
            item.refuse(f"it computes with {what} ({name!r})", _IN_FLOAT32)
        if not of.size and graph.constant(name) is None:
            item.refuse(f"{name!r} has no elements: its shape is {of.shape}", "Take what is empty out of the model.")


def _undo(builder: GraphBuilder, start: int) -> None:
    """Take back what a node wrote before it was refused."""
    for operation in builder.graph.operations[start:]:
        for output in operation.outputs:
            del builder.graph.values[output]
    del builder.graph.operations[start:]


def _guess(source: OnnxGraph, builder: GraphBuilder, node: NodeProto) -> list[str]:
    """Declare the results of a refused node by their inferred types; those that have none are returned."""
    unknown = []
    for output in filter(None, node.output):
        if source.shape(output) is None or str(source.dtype(output)) not in _COMPUTED:
            unknown.append(output)
        elif output not in builder.graph.values:
            builder.copy_value(Value(output, _declared(source, output)))
    return unknown


def _name(node: NodeProto) -> str:
    """A node's name; where it has none, that of its first result."""
    return node.name or next(filter(None, node.output), "")


def _label(node: NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type


def _objection_to_interface(source: OnnxGraph, name: str, of: TypeProto) -> tuple[str, str] | None:
    """Why an input can't be one, and what to do."""
    form = of.WhichOneof("value")
    if form != "tensor_type":
        what = (form or "nothing").removesuffix("_type").replace("_", " ")
        return f"it is no tensor, but {what}", "Export the model with tensors as inputs and outputs."
    dtype, shape = source.dtype(name), source.shape(name)
    if of.tensor_type.elem_type == onnx.TensorProto.STRING:
        return "it holds strings", "Turn them into numbers before the model: cut the model behind its tokenizer."
    if str(dtype) not in _COMPUTED and not _only_cast(source, name, str(dtype)):
        return f"it is {dtype}", _IN_FLOAT32
    if shape is None:
        return "its shape is not fixed", f"Fix it with --shape {name}=1x3x224x224, or what it is."
    if 0 in shape:
        return f"it has no elements: its shape is {shape}", "Fix its shape with --shape, with dimensions above 0."
    return None


def _only_cast(source: OnnxGraph, name: str, dtype: str) -> bool:
    """Whether an input is of a dtype that float32 can stand for, and the model only makes float32 of it."""
    readers = source.consumers.get(name, [])
    casts = all(node.op_type == "Cast" and attribute(node, "to") == onnx.TensorProto.FLOAT for node in readers)
    return dtype in _WIDENED and casts and name not in source.outputs


def _objection_to_result(graph: Graph, name: str) -> tuple[str, str] | None:
    """Why an output can't be one, and what to do. Of computed ones the nodes were asked already."""
    if name not in graph.values:
        return "no node gives it", "Export the model again."
    of = graph.type(name)
    if of.dtype not in _COMPUTED:
        return f"it is {of.dtype}", _IN_FLOAT32
    if not of.size:
        return f"it has no elements: its shape is {of.shape}", "Take it out of the model."
    return None


def _declared(source: OnnxGraph, tensor: str) -> TensorType:
    """The type that ONNX's own inference finds, or what stands for it."""
    shape, dtype = source.shape(tensor), source.dtype(tensor)
    assert shape is not None and dtype is not None, tensor
    return TensorType(shape, "float32" if str(dtype) in _WIDENED else str(np.dtype(dtype)))
