"""Whether an engine computes in INT8 what the quantized reference declares as INT8.

A layer that falls back to float gives the right numbers, so no comparison of outputs sees it: only what the backend
found in the compiled payload (`lost_int8` in lower.json) does.
"""

from __future__ import annotations

import json
from pathlib import Path

from edgec.onnx_graph.cost import macs
from edgec.onnx_graph.graph import Graph, load_model
from edgec.parity.gates import Verdict
from edgec.parity.thresholds import Gate


def executed_int8_share(quantized: Path, lowered: Path) -> float | None:
    """The share, 0 to 1, of the multiply-accumulates declared as INT8 that run in INT8.

    quantized: qdq.onnx. lowered: lower.json. None where nothing is declared, the backend does not tell, or there is no
    quantized graph.
    """
    facts = json.loads((lowered / "lower.json").read_text(encoding="utf-8"))["facts"]
    if "lost_int8" not in facts or not (quantized / "qdq.onnx").is_file():
        return None
    graph = Graph(load_model(quantized / "qdq.onnx"))
    cost = macs(graph)
    declared = {
        node.name: cost[node.name]
        for node in graph.nodes
        if node.name in cost
        and all(
            (maker := graph.producer.get(name)) is not None and maker.op_type == "DequantizeLinear"
            for name in node.input[:2]
        )
    }
    total = sum(declared.values())
    if not total:
        return None
    lost = sum(declared.get(name, 0) for name in facts["lost_int8"])
    return 1 - lost / total


def judge_executed_share(share: float | None, gate: Gate) -> Verdict:
    """A failure below `gate.executed_int8`; the lower stage has warned of every lost layer by name."""
    if share is None or share >= gate.executed_int8:
        return Verdict(True, (), ())
    return Verdict(
        False,
        (
            f"only {100 * share:.3g} % of the multiply-accumulates declared as INT8 run in INT8 on this engine "
            f"(at least {100 * gate.executed_int8:.3g} %): it would be a float model in disguise",
        ),
        (),
    )
