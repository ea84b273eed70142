"""Models in half or double precision, computed in float32 instead.

INT8 stands in for float32: the placement, its kernels and the engines know no other. float16 in an ONNX file is how
weights are stored, not how a CPU computes them, and double is mostly an exporter's accident. Inputs and outputs keep
their dtypes, with a Cast at the border.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, TypeProto, helper, numpy_helper

from edgec.onnx_graph.hollow import Data, Recast, Weights, as_float32, graphs, nested_tensors, refer
from edgec.onnx_graph.operators import STANDARD

NAMES = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16", TensorProto.DOUBLE: "float64"}

_NOT_ARITHMETIC = frozenset({"Cast", "CastLike", "Identity"})
_DTYPE_ATTRIBUTES = {
    ("Cast", "to"),
    ("EyeLike", "dtype"),
    ("SequenceEmpty", "dtype"),
    ("DequantizeLinear", "output_dtype"),
    ("LayerNormalization", "stash_type"),
    ("RMSNormalization", "stash_type"),
    ("GroupNormalization", "stash_type"),
    ("BlackmanWindow", "output_datatype"),
    ("HannWindow", "output_datatype"),
    ("HammingWindow", "output_datatype"),
    ("MelWeightMatrix", "output_datatype"),
    ("Softmax", "softmax_precision"),
    ("Attention", "softmax_precision"),
}


def dtypes_inside(model: onnx.ModelProto) -> tuple[str, ...]:
    """The dtypes of NAMES that the model computes in, but for Casts at its borders.

    model: with inferred types of its tensors.
    """
    graph = model.graph
    kinds = {item.name: item.data_type for item in graph.initializer}
    for info in (*graph.input, *graph.output, *graph.value_info):
        kinds[info.name] = info.type.tensor_type.elem_type
    found: set[int] = set()
    for node in graph.node:
        if node.op_type not in _NOT_ARITHMETIC:
            found.update(kinds.get(name, 0) for name in (*node.input, *node.output))
    return tuple(name for kind, name in NAMES.items() if kind in found)


def in_float32(model: onnx.ModelProto, weights: Weights) -> tuple[onnx.ModelProto, dict[str, Data]]:
    """A copy of a hollow model that computes in float32, and where the data of its large initializers is.

    Values beyond the range of float32 become its largest. Interface and node names stay as they are.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    wide = dict(weights)
    for tensor in copy.graph.initializer:
        if tensor.data_type in NAMES and tensor.name in wide and tensor.data_location == TensorProto.EXTERNAL:
            data = Recast(wide[tensor.name], tensor.data_type)
            wide[tensor.name] = data
            refer(tensor, 0, data.length)
            tensor.data_type = TensorProto.FLOAT
        else:
            _widen_tensor(tensor)
    for tensor in nested_tensors(copy):
        _widen_tensor(tensor)
    for number, graph in enumerate(graphs(copy)):
        for info in (*graph.value_info, *((*graph.input, *graph.output) if number else ())):
            _widen_type(info.type)
        for node in graph.node:
            for item in node.attribute:
                if (node.op_type, item.name) in _DTYPE_ATTRIBUTES and item.i in NAMES and node.domain in STANDARD:
                    item.i = TensorProto.FLOAT
    inner = _cast_borders(copy)
    return copy, {inner.get(name, name): data for name, data in wide.items()}


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in NAMES:
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(as_float32(numpy_helper.to_array(tensor)), name))


def _widen_type(kind: TypeProto) -> None:
    which = kind.WhichOneof("value")
    if which == "tensor_type" and kind.tensor_type.elem_type in NAMES:
        kind.tensor_type.elem_type = TensorProto.FLOAT
    elif which in ("sequence_type", "optional_type"):
        _widen_type(getattr(kind, which).elem_type)


def _cast_borders(model: onnx.ModelProto) -> dict[str, str]:
    """Cast inputs of another dtype to float32 where they come in, and outputs back where they leave.

    Returns the new names of the tensors inside.
    """
    graph = model.graph
    taken = set(_names(model))

    def fresh(name: str) -> str:
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    inner: dict[str, str] = {}
    before, after = [], []
    inputs = {item.name for item in graph.input}
    for item in (*graph.input, *graph.output):
        kind = item.type.tensor_type.elem_type
        if kind not in NAMES or item.name in inner:
            continue
        name = inner[item.name] = fresh(f"{item.name}_float32")
        if item.name in inputs:
            before.append(_cast(item.name, name, TensorProto.FLOAT, fresh(f"{item.name}_to_float32")))
        else:
            after.append(_cast(name, item.name, kind, fresh(f"{item.name}_from_float32")))
    for number, part in enumerate(graphs(model)):
        for node in part.node:
            for index, name in enumerate(node.input):
                node.input[index] = inner.get(name, name)
            for index, name in enumerate(node.output):
                node.output[index] = inner.get(name, name)
        for item in (*part.initializer, *part.value_info, *(part.output if number else ())):
            item.name = inner.get(item.name, item.name)
    nodes = [*before, *graph.node, *after]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return inner


def _cast(source: str, target: str, kind: int, name: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name, to=kind)


def _names(model: onnx.ModelProto) -> Iterator[str]:
    """Names of all tensors and nodes."""
    for graph in graphs(model):
        for item in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
            yield item.name
        for node in graph.node:
            yield node.name
            yield from node.output
