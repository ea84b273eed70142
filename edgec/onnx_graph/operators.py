"""Which operators a model uses, and whether ONNX knows them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping

import onnx

from edgec.errors import ModelRefused, UnsupportedOp
from edgec.onnx_graph.graph import numpy_size
from edgec.onnx_graph.hollow import graphs

STANDARD = ("", "ai.onnx")

_ALIKE = 0.8
"""How alike two names must be (difflib's ratio) for one to be a slip of the other: "Convv", not "Frobnicate"."""

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)

_ADVICE = {
    "com.microsoft": "ONNX Runtime's optimizer writes such nodes. Give edgec the model from before that optimization, "
    "or save it with the optimization level `basic`.",
    "ai.onnx.ml": "Classical machine learning is not compiled. Run that part outside of the artifact.",
    "org.pytorch.aten": "The exporter did not know this op. Export with `torch.onnx.export(..., dynamo=True)`.",
    "ai.onnx.preview.training": "Export the model for inference, without its training graph.",
    "trt": "The plugin belongs to TensorRT. Export the model without it, and do its work outside of the artifact.",
}


def default_opset(model: onnx.ModelProto) -> int:
    """The version of the standard operator set that the model uses; 0 when it imports none."""
    return next((item.version for item in model.opset_import if item.domain in STANDARD), 0)


def count_operators(model: onnx.ModelProto) -> dict[str, int]:
    """How often each op stands in the main graph and its subgraphs, by name."""
    counts = Counter(node.op_type for graph in graphs(model) for node in graph.node)
    return dict(sorted(counts.items()))


def check_versions(model: onnx.ModelProto) -> None:
    """Raises ModelRefused for a model from before or after the time of the installed onnx."""
    opset, newest = default_opset(model), onnx.defs.onnx_opset_version()
    if model.ir_version > onnx.IR_VERSION or opset > newest:
        raise ModelRefused(
            "The model is newer than the installed onnx package",
            f"It has IR version {model.ir_version} and opset {opset}; onnx {onnx.__version__} knows IR version "
            f"{onnx.IR_VERSION} and opset {newest}.",
            "Export it with an older opset (`opset_version=17`), or install a newer onnx.",
        )
    if model.ir_version < 3:
        raise ModelRefused(
            "The model is too old",
            f"It has IR version {model.ir_version}; operator sets have versions since IR version 3 (2017).",
            "Export it again from its source.",
        )


def check_operators(model: onnx.ModelProto) -> None:
    """Raises UnsupportedOp for an op of a foreign domain, or one that draws random numbers; ModelRefused for one that
    the standard domain does not have.

    Functions that the model defines itself count as known: they are inlined later.
    """
    own = {(function.domain, function.name) for function in model.functions}
    bodies = [(node, default_opset(model)) for graph in graphs(model) for node in graph.node]
    for function in model.functions:
        versions = [item.version for item in function.opset_import if item.domain in STANDARD]
        bodies += [(node, versions[0] if versions else default_opset(model)) for node in function.node]
    constants = _booleans(model)
    for node, opset in bodies:
        if (node.domain, node.op_type) in own:
            continue
        name = node.name or (node.output[0] if node.output else "")
        if node.domain not in STANDARD:
            raise _foreign(node, name)
        if not _known(node.op_type, opset):
            raise _unknown(node, name, opset)
        if node.op_type in _RANDOM or _drops_out(node, opset, constants):
            raise _random(node, name)


def _known(op: str, opset: int) -> bool:
    try:
        return not onnx.defs.get_schema(op, opset, "").deprecated
    except onnx.defs.SchemaError:
        return False


def _booleans(model: onnx.ModelProto) -> dict[str, bool]:
    """The values of boolean scalars that are constants."""
    found = {}
    for graph in graphs(model):
        tensors = [(item.name, item) for item in graph.initializer]
        tensors += [
            (n.output[0], a.t) for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.HasField("t")
        ]
        for name, tensor in tensors:
            held_here = tensor.data_location != onnx.TensorProto.EXTERNAL
            if tensor.data_type == onnx.TensorProto.BOOL and numpy_size(tensor) == 1 and held_here:
                found[name] = bool(onnx.numpy_helper.to_array(tensor).ravel()[0])
    return found


def _drops_out(node: onnx.NodeProto, opset: int, constants: Mapping[str, bool]) -> bool:
    """Whether a node is a Dropout in training mode, which is an input since opset 12."""
    return node.op_type == "Dropout" and opset >= 12 and len(node.input) > 2 and constants.get(node.input[2], False)


def _random(node: onnx.NodeProto, name: str) -> UnsupportedOp:
    what = "in training mode " if node.op_type == "Dropout" else ""
    fix = (
        "Export the model in evaluation mode (`model.eval()`)."
        if node.op_type == "Dropout"
        else "Make the random tensor an input of the model: draw it outside of the artifact, and feed it."
    )
    return UnsupportedOp(
        f"The node {name!r} ({node.op_type}) {what}gives other numbers in each run",
        "edgec compares what it builds with the original, number by number. With random numbers inside there is "
        "nothing to compare with.",
        fix,
        {"node": name, "op": node.op_type, "domain": node.domain},
    )


def _foreign(node: onnx.NodeProto, name: str) -> UnsupportedOp:
    domain = node.domain
    advice = _ADVICE.get(domain, "Export the model so that this op becomes standard ones, or cut the graph before it.")
    return UnsupportedOp(
        f"The op {node.op_type} of the domain {domain} is not supported",
        f"The node {name!r} uses it. edgec compiles the standard domain (ai.onnx) only.",
        advice,
        {"node": name, "op": node.op_type, "domain": domain},
    )


def _unknown(node: onnx.NodeProto, name: str, opset: int) -> ModelRefused:
    names = {schema.name for schema in onnx.defs.get_all_schemas()}
    why = f"The node {name!r} uses it, and opset {opset} has no such op."
    if _known(node.op_type, onnx.defs.onnx_opset_version()):
        why = f"The node {name!r} uses it, but it came after opset {opset}, which the model declares."
    elif onnx.defs.has(node.op_type):
        why = f"The node {name!r} uses it, but it is not part of opset {opset} any more."
    elif close := difflib.get_close_matches(node.op_type, names, 1, _ALIKE):
        why += f" Did the exporter mean {close[0]}?"
    return ModelRefused(
        f"ONNX has no op {node.op_type!r}" if node.op_type else f"The node {name!r} names no op",
        why,
        "Export the model again with a current exporter, and check it with `onnx.checker.check_model`.",
        {"node": name, "op": node.op_type, "opset": opset},
    )
