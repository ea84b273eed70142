"""What a search found, as plain data for quantize.json: verdict, recipe, what each pass won, what INT8 costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgec.onnx_graph.graph import Graph
from edgec.quantization.placement import Placement
from edgec.quantization.search import Outcome
from edgec.quantization.workshop import Trial

MOSTLY = 0.5
"""Share of multiplications below which a model that computes in INT8 should not be called that without a word."""


def verdict(best: Trial, warnings: Sequence[str], further: Sequence[str]) -> dict[str, Any]:
    """further: failures that no comparison of outputs shows."""
    failures = [*best.verdict.failures, *further]
    return {
        "profile": best.recipe.profile,
        "method": best.recipe.method,
        "bias_correction": best.recipe.bias_correction,
        "recipe": best.recipe.to_json(),
        "passed": not failures,
        "failures": failures,
        "warnings": [*warnings, *best.verdict.warnings],
        "outputs": [item.to_json() for item in best.comparisons],
    }


def progress_made(outcome: Outcome, trials: Sequence[Trial]) -> dict[str, Any]:
    """What the passes won, what INT8 costs at each share, and how the finalists did on fresh samples."""
    return {
        "recovery": [step.to_json() for step in outcome.steps],
        "curve": curve(trials),
        "candidates": [candidate(trial) for trial in trials],
        "finalists": [
            {
                "recipe": seen.recipe.to_json(),
                "chosen": seen.recipe == outcome.best.recipe,
                "search": _score(seen),
                "fresh": _score(fresh),
            }
            for seen, fresh in outcome.fresh
        ],
        "untried": list(outcome.untried),
    }


def candidate(trial: Trial) -> dict[str, Any]:
    return {**trial.recipe.to_json(), "int8_mac_fraction": _rounded(trial.int8_macs), **_score(trial)}


def _score(trial: Trial) -> dict[str, Any]:
    return {
        "samples": len(trial.samples),
        "loss": _rounded(trial.loss),
        "sqnr_db": round(trial.sqnr_db, 3),
        "passed": trial.verdict.passed,
    }


def curve(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """The best trade-offs, from most to least in INT8: each loses less than all with more in INT8."""
    points: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (-trial.int8_macs, trial.loss)):
        if not points or trial.loss < points[-1].loss:
            points.append(trial)
    return [
        {"int8_mac_fraction": _rounded(trial.int8_macs), "profile": trial.recipe.profile, **_score(trial)}
        for trial in points
    ]


def coverage(graph: Graph, placement: Placement, cost: Mapping[str, int]) -> dict[str, Any]:
    """How much of the model computes in INT8, and what does not."""
    inside = set(placement.int8_nodes())
    total = sum(cost.values())
    done = sum(count for name, count in cost.items() if name in inside)
    whole = "int8" if done == total else "mixed"
    operators = {node.name: node.op_type for node in graph.nodes}
    return {
        "precision": whole if inside else "float",
        "int8_mac_fraction": done / total if total else float(bool(inside)),
        "nodes": {"int8": len(inside), "float": len(placement.float_nodes)},
        "float_nodes": [
            {"name": name, "op": operators[name], "reason": reason} for name, reason in placement.float_nodes.items()
        ],
    }


def mostly_float(graph: Graph, float_nodes: Mapping[str, str], cost: Mapping[str, int], fraction: float) -> list[str]:
    """A warning when most of the model's multiplications do not compute in INT8, with the reason that costs the most.

    float_nodes: node name to the reason. cost: multiply-accumulates by node name. fraction: those in INT8, 0 to 1.
    """
    asked = "INT8 was asked for, but"
    if not sum(cost.values()):
        operators = ", ".join(sorted({node.op_type for node in graph.nodes})[:5])
        return [
            f"{asked} the model has no layers that multiply and accumulate with known shapes (it computes with "
            f"{operators}): INT8 buys nothing here."
        ]
    if fraction >= MOSTLY:
        return []
    running = f"only {100 * fraction:.3g} % of the multiplications run in INT8."
    return [" ".join([f"{asked} {running}", *costliest_reason(graph, float_nodes, cost)])]


def too_little_int8(
    graph: Graph, float_nodes: Mapping[str, str], cost: Mapping[str, int], fraction: float, least: float
) -> list[str]:
    """A failure when fewer multiplications compute in INT8 than was asked for, with the reason that costs the most."""
    if fraction >= least:
        return []
    share = math.floor(10_000 * fraction + 1e-6) / 100  # 99.996 % must not read 100 %
    running = f"only {share:g} % of the multiplications run in INT8 (at least {100 * least:g} %)."
    return [" ".join([running, *costliest_reason(graph, float_nodes, cost)])]


def costliest_reason(graph: Graph, float_nodes: Mapping[str, str], cost: Mapping[str, int]) -> list[str]:
    """A sentence on the operator and the reason that keep most multiplications in float; [] when none are."""
    operators = {node.name: node.op_type for node in graph.nodes}
    reasons: Counter[tuple[str, str]] = Counter()
    for name, count in cost.items():
        if name in float_nodes:
            reasons[operators[name], float_nodes[name]] += count
    if not reasons:
        return []
    ((op, reason), count) = reasons.most_common(1)[0]
    return [f"{100 * count / sum(cost.values()):.3g} % are in {op} nodes that stay in float because {reason}."]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
