"""Raising the opset of a model for the sake of an operator that came later.

Only by steps that are plain from the operators' schemas: a node follows when its newer schema takes the same inputs and
attributes with the same defaults, or when it is a reduction, whose axes became an input, or a Split. Everything else
stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import NodeProto, helper

from edgec.onnx_graph.graph import attribute
from edgec.onnx_graph.hollow import graphs
from edgec.onnx_graph.operators import STANDARD, default_opset

if TYPE_CHECKING:
    from edgec.onnx_graph.canonicalization.workpiece import Workpiece

_REDUCTIONS = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"}
    | {"ReduceSumSquare"}
)
_OTHER_MEANING = frozenset({"GroupNormalization"})
"""Ops whose inputs mean something else in a newer opset, although the schemas agree."""


def raise_opset(work: Workpiece, version: int) -> bool:
    """Bring the model to opset `version`; False, with nothing changed, when one of its nodes can't follow."""
    before = default_opset(work.model)
    inner = [node for index, graph in enumerate(graphs(work.model)) if index for node in graph.node]
    if any(not _same(node, before, version) for node in inner):
        return False
    moved = [node for node in work.nodes if not _same(node, before, version)]
    if any(node.op_type not in (*_REDUCTIONS, "Split") or before >= 18 for node in moved):
        return False
    for node in moved:
        if node.op_type == "Split":
            node.attribute.append(helper.make_attribute("num_outputs", len(node.output)))
            continue
        axes = attribute(node, "axes")
        kept = [item for item in node.attribute if item.name != "axes"]
        copies = [onnx.AttributeProto.FromString(item.SerializeToString()) for item in kept]
        del node.attribute[:]
        node.attribute.extend(copies)
        if axes is not None:
            node.input.append(work.new_constant(f"{node.name}/axes", np.array(axes, np.int64)))
    for item in work.model.opset_import:
        if item.domain in STANDARD:
            item.version = version
    needed = helper.find_min_ir_version_for(list(work.model.opset_import), ignore_unknown=True)
    work.model.ir_version = max(work.model.ir_version, needed)
    return True


def _same(node: NodeProto, before: int, after: int) -> bool:
    """Whether a node that is valid in one opset is valid, and means the same, in the other."""
    if node.domain not in STANDARD:
        return True
    try:
        old, new = (onnx.defs.get_schema(node.op_type, version, "") for version in (before, after))
    except onnx.defs.SchemaError:
        return False
    if old.since_version == new.since_version:
        return True
    if node.op_type == "Split" and before < 18:  # without sizes, their number has to be stated since 18
        return len(node.input) > 1 and bool(node.input[1])
    if new.deprecated or node.op_type in _OTHER_MEANING or len(new.inputs) < len(old.inputs):
        return False
    required = [
        item for item in new.inputs[len(old.inputs) :] if item.option == onnx.defs.OpSchema.FormalParameterOption.Single
    ]
    renamed = [1 for one, other in zip(old.inputs, new.inputs, strict=False) if one.option != other.option]
    if required or renamed:
        return False
    for name, item in old.attributes.items():
        other = new.attributes.get(name)
        if other is None or other.type != item.type:
            return False
        if item.default_value.SerializeToString() != other.default_value.SerializeToString():
            return False
    return all(name in old.attributes or not item.required for name, item in new.attributes.items())
