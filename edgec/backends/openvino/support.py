"""Which nodes OpenVINO can take, asked of OpenVINO itself.

Its ONNX frontend can convert a model partially: what it has no rule for, or where a rule refuses an attribute, becomes
a placeholder node that still carries the names of the ONNX tensors. So the answer comes from the converter that will be
used, not from a list that grows old.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnx

from edgec.backends.base import OpVerdict
from edgec.targets import Target

ARCHITECTURES = ("x86_64", "aarch64")
"""Where OpenVINO's CPU engine exists."""

_PLACEHOLDERS = ("NotSupportedONNXNode", "ONNXFrameworkNode")
_REMEDY = "Replace the operator in the model (most exporters can be told to), or choose another backend."


def verdicts(path: Path, target: Target) -> list[OpVerdict]:
    """One verdict for each node of the main graph of an ONNX file, in its order. Imports OpenVINO."""
    model = onnx.load(str(path), load_external_data=False)
    if target.arch not in ARCHITECTURES:
        reason = f"OpenVINO has no engine for {target.arch}."
        return [_verdict(node, reason, "Choose another backend for this target.") for node in model.graph.node]
    unconverted, log = _unconverted_tensors(path)
    verdicts = []
    for node in model.graph.node:
        reason = ""
        if unconverted & set(node.output):
            reason = _explained(log, node.op_type) or "OpenVINO has no rule for this operator."
        elif log and not unconverted and _has_subgraph(node):
            reason = f"Inside its branches: {_summary(log)}"
        verdicts.append(_verdict(node, reason, _REMEDY))
    if log and all(verdict.supported for verdict in verdicts):
        verdicts = [_verdict(node, _summary(log), _REMEDY) for node in model.graph.node]
    return verdicts


def _verdict(node: onnx.NodeProto, reason: str, remedy: str) -> OpVerdict:
    name = node.name or (node.output[0] if node.output else "")
    op = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    return OpVerdict(name, op, not reason, reason, remedy if reason else "")


def _unconverted_tensors(path: Path) -> tuple[set[str], str]:
    """Outputs of the nodes that the frontend leaves as placeholders, and what it says when asked for all of it."""
    from openvino.frontend import FrontEndManager

    frontend = FrontEndManager().load_by_framework("onnx")
    try:
        frontend.convert(frontend.load(str(path)))
    except Exception as error:
        log = str(error)
    else:
        return set(), ""
    try:
        partial = frontend.convert_partially(frontend.load(str(path)))
    except Exception:
        return set(), log
    names: set[str] = set()
    for operation in partial.get_ops():
        if operation.get_type_name() in _PLACEHOLDERS:
            for output in operation.outputs():
                names |= output.get_names()
    return names, log


def _explained(log: str, op: str) -> str:
    """What the frontend has against an operator that it has a rule for; empty when it has none.

    The log has entries "-- Resize-17 with a message:", a few lines on where in OpenVINO, and the message.
    """
    entry = re.search(
        rf"^-- (?:[\w.]+\.)?{re.escape(op)}-\d+ with a message:\n(.*?)(?=^-- |^Summary:|\Z)", log, re.M | re.S
    )
    if entry is None:
        return ""
    lines = [line.strip() for line in entry[1].splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Check '", "While validating", "Exception from"))]
    return " ".join(said) or " ".join(lines)


def _summary(log: str) -> str:
    """The frontend's own summary of what it can't convert, on one line."""
    found = re.findall(r"^-- (?:No conversion rule found for operations|Conversion is failed for): (.*)$", log, re.M)
    return f"OpenVINO can't convert {', '.join(found)}." if found else f"OpenVINO says: {' '.join(log.split())[:500]}"


def _has_subgraph(node: onnx.NodeProto) -> bool:
    return any(item.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for item in node.attribute)
