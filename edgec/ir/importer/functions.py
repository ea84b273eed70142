"""Operators that ONNX defines by others: they are imported as their definition says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto, helper

from edgec.ir.importer.handlers import HANDLERS, imports
from edgec.ir.importer.node import NodeImport, Unsupported

BY_DEFINITION = (
    "Attention",
    "BlackmanWindow",
    "CausalConvWithState",
    "CenterCropPad",
    "HammingWindow",
    "HannWindow",
    "RotaryEmbedding",
    "SwiGLU",
)
"""Those whose definitions hold operators that are imported, in most of their forms."""


@imports(*BY_DEFINITION)
def by_definition(item: NodeImport) -> None:
    """Import the nodes of the definition in the place of the node. Refuses for what is refused within."""
    from edgec.ir.importer.model import import_node

    for node in nodes_of(item, _definition(item)):
        if HANDLERS.get(node.op_type) is None:
            item.refuse(f"its definition needs {node.op_type}", "Replace it in the model, or choose another --backend.")
        try:
            import_node(NodeImport(node, item.model, item.builder))
        except Unsupported as error:
            item.refuse(f"within its definition, {node.op_type}: {error.reason}", error.remedy)


def _definition(item: NodeImport) -> FunctionProto:
    """The function that defines the operator for these operands, in the model's version of the operators."""
    schema, function = _schema(item), FunctionProto()
    if schema.has_function:
        function.ParseFromString(schema.get_function_with_opset_version(max(schema.function_opset_versions)))
    else:
        written = schema.get_context_dependent_function_with_opset_version(
            max(schema.context_dependent_function_opset_versions),
            item.node.SerializeToString(),
            [_type(item, name).SerializeToString() for name in item.node.input],
        )
        function.ParseFromString(written)
    return function


def _schema(item: NodeImport) -> Any:
    """The operator as ONNX describes it. Not all that it can be asked is in the package's annotations."""
    opset = next(each.version for each in item.model.model.opset_import if each.domain in ("", "ai.onnx"))
    return onnx.defs.get_schema(item.node.op_type, opset)


def _type(item: NodeImport, name: str) -> TypeProto:
    if not name:
        return TypeProto()
    of = item.type(name)
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(np.dtype(of.dtype)), of.shape)


def nodes_of(item: NodeImport, function: FunctionProto) -> list[NodeProto]:
    """The nodes of a definition with the names and attributes of the node in the place of its own."""
    names = dict.fromkeys(function.input, "") | dict(zip(function.input, item.node.input, strict=False))
    wanted = {own: given for own, given in zip(function.output, item.node.output, strict=False) if given}
    defaults = (attribute.default_value for attribute in _schema(item).attributes.values())
    attributes = {each.name: each for each in (*defaults, *function.attribute_proto, *item.node.attribute)}
    made = []
    for inner in function.node:
        node = NodeProto()
        node.CopyFrom(inner)
        node.name = item.node.name
        for index, name in enumerate(inner.input):
            node.input[index] = names[name] if name else ""
        for index, name in enumerate(inner.output):
            names[name] = wanted.get(name) or item.between(name) if name else ""
            node.output[index] = names[name]
        del node.attribute[:]
        node.attribute.extend(_attributes(inner, attributes))
        made.append(node)
    return made


def _attributes(inner: NodeProto, given: Mapping[str, AttributeProto]) -> list[AttributeProto]:
    """Those of an inner node; one that refers to an attribute of the outer node has its value, or is left out."""
    found = []
    for each in inner.attribute:
        if not each.ref_attr_name:
            found.append(each)
        elif each.ref_attr_name in given:
            copy = AttributeProto()
            copy.CopyFrom(given[each.ref_attr_name])
            copy.name = each.name
            found.append(copy)
    return found
