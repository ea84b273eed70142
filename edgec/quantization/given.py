"""Models that arrive quantized: trained with QuantizeLinear and DequantizeLinear in place, or made by other tools.

Their scales are kept. What can be brought into edgec's own form without loss is (`given_rewrites`); which layers INT8
kernels can't take is said, with a reason (`given_legality`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from edgec.contract import Contract
from edgec.diagnosis.float_counterpart import begins_at_zero
from edgec.onnx_graph.cost import macs
from edgec.onnx_graph.graph import MAC_OPS, Graph, attribute
from edgec.parity.gates import judge
from edgec.parity.metrics import OutputComparison
from edgec.parity.thresholds import Gate
from edgec.quantization.given_edit import QDQ, Edit
from edgec.quantization.given_legality import Objection, objections, unlike_grids
from edgec.quantization.given_operators import OPERATORS
from edgec.quantization.given_rewrites import Rewrite, rewritten
from edgec.quantization.held_out import HeldOut, read_held_out, serialized
from edgec.samples import SampleSource

NAMED = 5

UNJUDGED = (
    "The model came quantized. What its quantization costs was not measured: its activations have no fixed scales or "
    "there are no samples (--calib), and without the float model there are no other weights to compare with. Only the "
    "lowering was judged."
)


@dataclass(frozen=True)
class Given:
    """A model that came quantized, in edgec's own form as far as that is possible; what was done, what remains."""

    model: onnx.ModelProto
    rewrites: tuple[Rewrite, ...]
    objections: tuple[Objection, ...]


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether a model has quantization nodes of its own."""
    return any(node.op_type in QDQ or node.op_type in OPERATORS for node in model.graph.node)


def taken(model: onnx.ModelProto) -> Given:
    """The model as backends are to get it. Computes what `model` computes."""
    changed, done = rewritten(model)
    return Given(changed, tuple(done), tuple(objections(Graph(changed))))


def table(model: onnx.ModelProto) -> dict[str, Any]:
    """The document qparams.json: the scales that the model brings, as far as they are constants."""
    graph = Graph(model)
    tensors: dict[str, Any] = {}
    weights: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op_type not in QDQ or (scale := graph.constant(node.input[1])) is None:
            continue
        zero_point = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if node.op_type == "QuantizeLinear" and scale.size == 1:
            known = {
                "scale": float(scale.reshape(-1)[0]),
                "zero_point": 0 if zero_point is None else int(zero_point.reshape(-1)[0]),
                "dtype": "uint8" if zero_point is None else str(zero_point.dtype),
            }
            tensors[node.input[0]] = known
            for reader in graph.consumers.get(node.output[0], []):
                if reader.op_type == "DequantizeLinear":  # edgec calls a quantized value by its name behind the pair
                    tensors.setdefault(reader.output[0], known)
        elif node.op_type == "DequantizeLinear" and graph.constant(node.input[0]) is not None:
            weights[node.input[0]] = {
                "axis": int(attribute(node, "axis", 1)) if scale.ndim else None,
                "scales": [float(value) for value in np.atleast_1d(scale)],
            }
    return {"tensors": tensors, "weights": weights}


def with_float_activations(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model without the rounding of its activations, its weights as they are; None where nothing is rounded by
    constant parameters.

    Quantizers leave out a Relu whose work the grid does: where a grid begins at zero, a Relu takes the pair's place.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    edit = Edit(changed)
    gone = 0
    for node in edit.graph.nodes:
        maker = edit.graph.producer.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if maker is not None and maker.op_type == "QuantizeLinear" and maker.input[0] not in edit.graph.initializers:
            source = maker.input[0]
            if begins_at_zero(edit.graph, maker):
                source = edit.add("Relu", [source], edit.names.fresh(f"{source}_not_negative"))
            edit.rename(node, source)
            gone += 1
        else:
            edit.keep(node)
    edit.finish()
    return changed if gone else None


def compared(
    model: onnx.ModelProto, contract: Contract, state: Mapping[str, str], samples: SampleSource
) -> tuple[list[OutputComparison], int]:
    """What the rounding of activations changes, on held-out samples, and how many; nothing where nothing is rounded."""
    plain = with_float_activations(model)
    if plain is None:
        return [], 0
    used, _ = read_held_out(samples, sum(macs(Graph(model)).values()))
    return HeldOut(used, serialized(plain), contract, dict(state)).compare(model), len(used)


def report(
    given: Given, comparisons: Sequence[OutputComparison] = (), held_out: int = 0, gate: Gate | None = None
) -> dict[str, Any]:
    """The document quantize.json.

    comparisons: the model with float activations against the model, on `held_out` samples. They are evidence, not a
        verdict: training with quantization has fitted the weights to it, so the model without it is no better a model,
        only another one.
    """
    graph = Graph(given.model)
    nodes = [node for node in graph.nodes if node.op_type in MAC_OPS]
    against = {item.node: item for item in given.objections}
    inside = {node.name for node in nodes if node.name not in against}
    cost = macs(graph)
    total = sum(cost.values())
    done = sum(count for name, count in cost.items() if name in inside)
    fraction = done / total if total else float(bool(inside))
    whole = "int8" if total == done else "mixed"
    return {
        "profile": "given",
        "method": "given",
        "bias_correction": False,
        "passed": True,
        "failures": [],
        "warnings": _warnings(given, comparisons, gate, unlike_grids(graph)),
        "int8_mac_fraction": fraction,
        "nodes": {"int8": len(inside), "float": len(nodes) - len(inside)},
        "float_nodes": [
            {"name": item.node, "op": item.op, "reason": f"{item.reason}. {item.remedy}"} for item in given.objections
        ],
        "rewrites": [asdict(item) for item in given.rewrites],
        "candidates": [],
        "outputs": [item.to_json() for item in comparisons],
        "worst_layers": [],
        "layers": [
            {
                "node": node.name,
                "op": node.op_type,
                "members": [node.name],
                "fused": [],
                "precision": "int8" if node.name in inside else "float",
                "macs": cost.get(node.name, 0),
                "isolated_db": None,
            }
            for node in nodes
        ],
        "ranges": [],
        "precision": whole if inside else "int8-weights" if _has_small_weights(graph) else "float",
        "clipped": [],
        "held_out": held_out,
    }


def _has_small_weights(graph: Graph) -> bool:
    return any(node.op_type == "DequantizeLinear" and node.input[0] in graph.initializers for node in graph.nodes)


def _warnings(
    given: Given, comparisons: Sequence[OutputComparison], gate: Gate | None, unlike: Sequence[str]
) -> list[str]:
    found = [_cost(comparisons, gate)] if comparisons else [UNJUDGED]
    reasons: dict[str, list[Objection]] = {}
    for item in given.objections:
        reasons.setdefault(item.reason, []).append(item)
    for reason, items in reasons.items():
        found.append(f"{_named([item.node for item in items])} computed in float: {reason}. {items[0].remedy}")
    if unlike:
        found.append(
            f"{_named(unlike)} given other scales than what it takes, though it only moves values: engines round there "
            "once more, and some compute it in float."
        )
    return found


def _cost(comparisons: Sequence[OutputComparison], gate: Gate | None) -> str:
    levels = [item.sqnr_db for item in comparisons if item.degenerate is None and item.kind not in ("integer", "state")]
    level = f"the worst output at {min(levels):.1f} dB" if levels else "no output that shows it"
    verdict = judge(comparisons, gate)
    said = "" if verdict.passed else f" A float model of its own would be refused so: {'; '.join(verdict.failures)}."
    return (
        f"The model came quantized. Rounding its activations leaves {level}, against the same model without that "
        f"rounding.{said} What its weights cost can't be told without the float model. The build is not refused for "
        "either: training may have fitted the weights to the rounding."
    )


def _named(nodes: Sequence[str]) -> str:
    more = f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else ""
    return f"{', '.join(map(repr, nodes[:NAMED]))}{more} {'is' if len(nodes) == 1 else 'are'}"
