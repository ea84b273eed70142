"""Making the quantized reference: search, then write down what was found and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from edgec.contract import Contract
from edgec.errors import InternalError, UsageError
from edgec.onnx_graph.cost import macs
from edgec.onnx_graph.graph import Graph, load_model
from edgec.parity.thresholds import Gate
from edgec.quantization import given
from edgec.quantization.diagnosis import likely_cause
from edgec.quantization.fallback import float_layers
from edgec.quantization.held_out import HeldOut, read_held_out, serialized
from edgec.quantization.placement import Placement, Profile
from edgec.quantization.scales import unlike_ranges
from edgec.quantization.search import LADDER, Trial, Workshop, search
from edgec.quantization.sensitivity import MOST_KERNELS, isolated_errors
from edgec.quantization.statistics import load
from edgec.samples import SampleSource, held_out
from edgec.stage import StageContext
from edgec.stages.quantize import QuantizeParams
from edgec.toml_schema import did_you_mean

NORMAL_RANGE, REDUCED_RANGE = 127, 63
"""Largest weight in steps. Two products of uint8 and a weight of 63 add up to 32130, within 16 bits."""

MOSTLY = 0.5
"""Share of multiplications below which a model that computes in INT8 should not be called that without a word."""

WORST = 5
LOOKED_AT = 24
"""Kernels whose isolated error is measured when all is well; when the gate fails, up to MOST_KERNELS are."""

PROFILES: dict[str, tuple[Profile, ...]] = {
    "auto": ("strict", "islands"),
    "strict": ("strict",),
    "islands": ("islands",),
}


def write_reference(
    simplified: Path,
    calibrated: Path | None,
    samples: SampleSource | None,
    params: QuantizeParams,
    context: StageContext,
) -> None:
    """See `edgec.stages.quantize.run`."""
    model = load_model(simplified / "model.onnx")
    if given.is_quantized(model):
        context.info(
            "The model is quantized already: its own scales are kept, and calibration data is not used for it."
        )
        _write(context, model, given.table(model), given.report(model))
        return
    if calibrated is None or samples is None:
        raise InternalError(
            "A float model came to quantization without calibration",
            "Only models with QuantizeLinear nodes of their own need none.",
            "This is a bug in edgec; please report it.",
        )
    contract = Contract.from_json(json.loads((simplified / "contract.json").read_text(encoding="utf-8")))
    cost = macs(Graph(model))
    trials_on = HeldOut(
        read_held_out(samples, sum(cost.values())), simplified / "model.onnx", contract, dict(params.state)
    )
    limit = REDUCED_RANGE if params.reduced_range else NORMAL_RANGE
    workshop = Workshop.open(
        model,
        load(calibrated / "statistics.npz"),
        trials_on,
        Gate.from_overrides(params.gate),
        limit,
        params.keep_float,
    )
    del model
    _check_names(params.keep_float, workshop.graph)
    profiles = PROFILES[params.profile]
    progress = _Progress(context, len(profiles) * (2 + len(LADDER)) + LOOKED_AT)
    workshop.on_trial = progress.step

    best = search(workshop, profiles, fallback=(float_layers,))
    placement, scales, emitted = workshop.make(best.recipe)
    coverage = _coverage(workshop.graph, placement, cost)
    warnings = _warnings(workshop, placement, len(samples))
    warnings += mostly_float(workshop.graph, placement.float_nodes, cost, coverage["int8_mac_fraction"])
    for text in warnings:
        context.warn(text)
    report = {
        **_verdict(best, warnings, emitted.saturated),
        **coverage,
        "candidates": [_candidate(trial) for trial in workshop.trials],
        "worst_layers": _worst_layers(workshop, best),
        "clipped": list(scales.clipped),
        "held_out": len(trials_on),
    }
    _write(context, emitted.model, emitted.table(), report)


class _Progress:
    """Counts trials; the total is a guess that grows when the search goes on."""

    def __init__(self, context: StageContext, total: int) -> None:
        self._context, self._done, self._total = context, 0, total

    def step(self) -> None:
        self._done += 1
        self._total = max(self._total, self._done + 1)
        self._context.progress(self._done, self._total, "trials")


def _check_names(keep_float: Sequence[str], graph: Graph) -> None:
    known = [node.name for node in graph.nodes]
    for name in keep_float:
        if name not in known:
            raise UsageError(
                f"There is no node called {name!r} to keep in float.{did_you_mean(name, known)}",
                "Names are those of the simplified model, which the report lists.",
                "Correct --keep-float, or leave it out.",
            )


def _warnings(workshop: Workshop, placement: Placement, samples: int) -> list[str]:
    found = [
        f"The Concat {node!r} gives one scale to {wide!r} and {narrow!r}, whose ranges differ by a factor of "
        f"{ratio:.0f}: the narrow one is left with few steps."
        for node, wide, narrow, ratio in unlike_ranges(workshop.graph, placement, workshop.statistics)
    ]
    spare, kept = held_out(samples)
    if spare == kept:
        found.append(
            f"Only {samples} samples were given, too few to hold some back: the candidates were judged on the data "
            "that they were calibrated with."
        )
    return found


def mostly_float(graph: Graph, float_nodes: Mapping[str, str], cost: Mapping[str, int], fraction: float) -> list[str]:
    """A warning when most of the model's multiplications do not compute in INT8, with the reason that costs the most.

    float_nodes: node name to the reason. cost: multiply-accumulates by node name. fraction: those in INT8, 0 to 1.
    """
    asked = "INT8 was asked for, but"
    total = sum(cost.values())
    if not total:
        operators = ", ".join(sorted({node.op_type for node in graph.nodes})[:5])
        return [
            f"{asked} the model has no layers that multiply and accumulate with known shapes (it computes with "
            f"{operators}): INT8 buys nothing here."
        ]
    if fraction >= MOSTLY:
        return []
    operators_of = {node.name: node.op_type for node in graph.nodes}
    reasons: Counter[tuple[str, str]] = Counter()
    for name, count in cost.items():
        if name in float_nodes:
            reasons[operators_of[name], float_nodes[name]] += count
    if not reasons:
        return [f"{asked} only {100 * fraction:.3g} % of the multiplications run in INT8."]
    ((op, reason), count) = reasons.most_common(1)[0]
    return [
        f"{asked} only {100 * fraction:.3g} % of the multiplications run in INT8. {100 * count / total:.3g} % are in "
        f"{op} nodes that stay in float because {reason}."
    ]


def _verdict(best: Trial, warnings: Sequence[str], saturated: int) -> dict[str, Any]:
    """saturated: biases that did not fit into 32 bits; the sums of such a layer are wrong, whatever the samples say."""
    failures = list(best.verdict.failures)
    if saturated:
        failures.append(
            f"{saturated} biases do not fit into 32 bits and were saturated: their layers compute wrong sums"
        )
    return {
        "profile": best.recipe.profile,
        "method": best.recipe.method,
        "bias_correction": best.recipe.bias_correction,
        "passed": not failures,
        "failures": failures,
        "warnings": [*warnings, *best.verdict.warnings],
        "outputs": [item.to_json() for item in best.comparisons],
    }


def _candidate(trial: Trial) -> dict[str, Any]:
    recipe = trial.recipe
    return {
        "profile": recipe.profile,
        "method": recipe.method,
        "clip": recipe.clip,
        "bias_correction": recipe.bias_correction,
        "keep_float": sorted(recipe.keep_float),
        "sqnr_db": round(trial.sqnr_db, 3),
        "loss": float(f"{trial.loss:.6g}"),
        "passed": trial.verdict.passed,
    }


def _coverage(graph: Graph, placement: Placement, cost: dict[str, int]) -> dict[str, Any]:
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


def _worst_layers(workshop: Workshop, best: Trial) -> list[dict[str, Any]]:
    """The kernels that cost the most; of a model that failed, those that were tried in float are among them."""
    passed = best.verdict.passed
    recipe = best.recipe if passed else replace(best.recipe, keep_float=workshop.asked)
    measured = isolated_errors(workshop, recipe, LOOKED_AT if passed else MOST_KERNELS)
    return [
        {
            "node": item.kernel.name,
            "op": item.kernel.anchor.op_type,
            "sqnr_db": round(item.sqnr_db, 2),
            "cause": likely_cause(workshop, item.kernel),
        }
        for item in measured[:WORST]
    ]


def _write(context: StageContext, model: onnx.ModelProto, table: dict[str, Any], report: dict[str, Any]) -> None:
    (context.out / "qdq.onnx").write_bytes(serialized(model))
    context.write_json("qparams.json", table)
    context.write_json("quantize.json", report)
