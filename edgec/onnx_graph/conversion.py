"""The passes of the onnx package over a model that is not trusted yet.

They are native code, which hostile or merely odd models have crashed before: `settle` is meant to be called in a worker
(edgec.worker.call), on a hollow model, as bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx
import onnx.inliner
from onnx import TensorProto, helper

from edgec.errors import ModelRefused
from edgec.onnx_graph.folding import fold_shapes, worth_folding
from edgec.onnx_graph.operators import default_opset

OPSET = 17
IR_VERSION = 8
"""What ingest raises older models to; newer ones stay as they are."""


@dataclass(frozen=True)
class Settled:
    """A model after the passes.

    doubt: why strict shape inference refused it, "" when it did not. changed: whether a pass rewrote nodes, so that the
    result has to be compared with what it was. branches: how many Ifs were resolved because of static shapes.
    """

    model: bytes
    doubt: str
    changed: bool = False
    branches: int = 0


def settle(model: bytes) -> Settled:
    """Inline the model's own functions, raise opset and IR version, check the model, infer its shapes.

    model: hollow, with static input shapes. Raises ModelRefused, naming the node where onnx names one.
    """
    proto = onnx.ModelProto.FromString(model)
    if proto.functions:
        proto = _inlined(proto)
    large = _large_to_inputs(proto)
    proto.ir_version = max(proto.ir_version, IR_VERSION)
    opset = default_opset(proto)
    del proto.opset_import[:]
    proto.opset_import.add(domain="", version=opset)
    _check(proto)
    if opset < OPSET:
        proto = _converted(proto, opset)
        _check(proto)
    proto, doubt = _inferred(proto)
    folded, branches = False, 0
    if not doubt and worth_folding(proto):
        nodes = len(proto.graph.node)
        proto, branches = fold_shapes(proto)
        folded = branches > 0 or len(proto.graph.node) != nodes
        _check(proto)
    for index in reversed(range(len(proto.graph.input))):
        if proto.graph.input[index].name in large:
            del proto.graph.input[index]
    proto.graph.initializer.extend(large.values())
    return Settled(proto.SerializeToString(deterministic=True), doubt, opset < OPSET or folded, branches)


def _large_to_inputs(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """Turn the initializers without data into inputs for the time being; returns them by name.

    The passes need to know types and shapes of weights, not their values, and would look for the file otherwise.
    """
    large = {}
    for index in reversed(range(len(model.graph.initializer))):
        item = model.graph.initializer[index]
        if item.data_location == TensorProto.EXTERNAL:
            copy = TensorProto()
            copy.CopyFrom(item)
            large[item.name] = copy
            del model.graph.initializer[index]
            model.graph.input.append(helper.make_tensor_value_info(copy.name, copy.data_type, list(copy.dims)))
    return dict(reversed(large.items()))


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:
        raise ModelRefused(
            "The functions that the model defines can't be inlined",
            f"onnx says: {_sentence(error)}",
            "Export the model without functions (`export_modules_as_functions=False`).",
        ) from error


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:
        raise ModelRefused(
            f"The model can't be raised from opset {opset} to {OPSET}",
            f"onnx says: {_sentence(error)}",
            f"Export the model with `opset_version={OPSET}` or newer.",
            {"opset": opset},
        ) from error


def _check(model: onnx.ModelProto) -> None:
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    for output in checked.graph.output:  # the checker asks for a shape, and inference has yet to find it
        output.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(checked)
    except Exception as error:
        raise ModelRefused(
            "The model breaks the rules of ONNX",
            f"onnx.checker says: {_sentence(error)}",
            "Export the model again with a current exporter; if you edited the graph, look at the node that is named.",
        ) from error


def _inferred(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """The model with the shapes of its tensors, and why they are in doubt (contradictions leave tensors unknown)."""
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True), ""
    except Exception as strict:
        try:
            return onnx.shape_inference.infer_shapes(model, data_prop=True), _sentence(strict)
        except Exception as error:
            raise ModelRefused(
                "The shapes of the model contradict each other",
                f"onnx says: {_sentence(error)}",
                "Check the sizes given with --shape; many models need multiples of 32.",
            ) from error


def _sentence(error: Exception) -> str:
    """A native error in one line: without source file names, addresses and dumps of the graph."""
    words = re.sub(r"\S*/\S+\.(?:h|cc|cpp):\d+:? ?", "", str(error))
    words = re.sub(r"\(no backtrace available\)|==> Context:", " ", words)
    return " ".join(words.split())[:500]
