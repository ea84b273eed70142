"""Making the quantized reference: search, then write down what was found and why."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from edgec.contract import Contract
from edgec.errors import InternalError, UsageError
from edgec.metric.measure import Measure
from edgec.metric.request import MetricRequest
from edgec.onnx_graph.canonicalization.record import now_called
from edgec.onnx_graph.cost import macs
from edgec.onnx_graph.graph import Graph, load_model
from edgec.parity.thresholds import Gate
from edgec.quantization import given
from edgec.quantization.calibration_runs import CalibrationRuns
from edgec.quantization.climb import Budget
from edgec.quantization.diagnosis import described
from edgec.quantization.fallback import priced_sets
from edgec.quantization.held_out import MACS_PER_TRIAL, MOST_SAMPLES, HeldOut, read_held_out, serialized
from edgec.quantization.journal import Journal
from edgec.quantization.layer_table import layers, ranges
from edgec.quantization.placement import Placement
from edgec.quantization.recipe import Recipe
from edgec.quantization.scales import unlike_ranges
from edgec.quantization.search import Outcome, Rules, search
from edgec.quantization.search_report import coverage, mostly_float, progress_made, too_little_int8, verdict
from edgec.quantization.sensitivity import MOST_KERNELS, Sensitivity, isolated_errors
from edgec.quantization.statistics import load
from edgec.quantization.weights import WeightGrid
from edgec.quantization.workshop import ON_REQUEST, Trial, Workshop
from edgec.samples import SampleSource, held_out
from edgec.stage import StageContext
from edgec.stages.quantize import QuantizeParams
from edgec.toml_schema import did_you_mean

NORMAL_RANGE, REDUCED_RANGE = 127, 63
"""Largest weight in steps. Two products of uint8 and a weight of 63 add up to 32130, within 16 bits."""

WORST = 5
LOOKED_AT = 24
"""Kernels whose isolated error is measured when all is well; when the gate fails, up to MOST_KERNELS are."""

MOST_MEASURED = 256
"""Samples on which the user's own metric is taken of a candidate."""

AFTERWARDS = 0.25
"""Of the seconds that the user gives to the search: what looking for the worst layers may take on top of them."""

ABOUT = 10
"""Trials of a profile on which the first attempt is good enough: where the count of trials begins."""


def write_reference(
    simplified: Path,
    calibrated: Path | None,
    samples: SampleSource | None,
    params: QuantizeParams,
    context: StageContext,
    metric: MetricRequest | None = None,
) -> None:
    """See `edgec.stages.quantize.run`."""
    model = load_model(simplified / "model.onnx")
    if given.is_quantized(model):
        context.info("The model is quantized already: its own scales are kept, and nothing is calibrated.")
        taken = given.taken(model)
        contract = Contract.from_json(json.loads((simplified / "contract.json").read_text(encoding="utf-8")))
        judged = given.compared(taken.model, contract, dict(params.state), samples) if samples is not None else ([], 0)
        document = given.report(taken, *judged, _gate(params, metric))
        graph = Graph(taken.model)
        reasons = {item.node: item.reason for item in taken.objections}
        share = document["int8_mac_fraction"]
        document["failures"] += too_little_int8(graph, reasons, macs(graph), share, params.min_int8_macs)
        document["passed"] = not document["failures"]
        for text in document["warnings"]:
            context.warn(text)
        _write(context, taken.model, given.table(taken.model), document)
        return
    if calibrated is None or samples is None:
        raise InternalError(
            "A float model came to quantization without calibration",
            "Only models with QuantizeLinear nodes of their own need none.",
            "This is a bug in edgec; please report it.",
        )
    workshop = _open(model, simplified, calibrated, samples, params, context, metric)
    del model
    _check_names(now_called(simplified, params.keep_float), workshop.graph)
    progress = _Progress(context, workshop, len(params.profiles) * ABOUT)
    rules = Rules(
        force=frozenset(params.force),
        forbid=frozenset(params.forbid),
        against_int16=params.against_int16,
        max_float_macs=params.max_float_macs,
        min_int8_macs=params.min_int8_macs,
        seconds=params.search_seconds,
    )
    outcome = search(workshop, params.profiles, rules, progress.begin)
    best = outcome.best
    placement, scales, emitted = workshop.make(best.recipe)
    graph = workshop.variant(best.recipe).graph
    share = workshop.int8_share(placement)
    further = too_little_int8(graph, placement.float_nodes, workshop.cost, share, params.min_int8_macs)
    if emitted.saturated:
        further.append(
            f"{emitted.saturated} biases do not fit into 32 bits and were saturated: their layers compute wrong sums"
        )
    warnings = _warnings(workshop, placement, outcome, len(samples))
    warnings += mostly_float(graph, placement.float_nodes, workshop.cost, share)
    for text in warnings:
        context.warn(text)
    afterwards = Budget(0.0, None if rules.seconds is None else AFTERWARDS * rules.seconds)
    progress.begin("the worst layers", best)
    measured = _isolated(workshop, best, afterwards)
    isolated = {item.kernel.name: item.sqnr_db for item in measured}
    if not best.verdict.passed:
        progress.begin("the price of accuracy", best)
        for names in [] if afterwards.late else priced_sets(workshop, best.recipe, afterwards):
            if not afterwards.late:
                workshop.attempt(replace(best.recipe, keep_float=best.recipe.keep_float | names))
    if afterwards.late:
        outcome = replace(outcome, untried=(*outcome.untried, "which layers cost most: not all were looked at"))
    report = {
        **verdict(best, warnings, further),
        **coverage(graph, placement, workshop.cost),
        **progress_made(outcome, workshop.trials),
        "worst_layers": _worst_layers(workshop, best, measured),
        "layers": layers(graph, placement, scales.slots, workshop.cost, isolated),
        "ranges": ranges(placement, scales.slots, workshop.variant(best.recipe).statistics, list(isolated)[:WORST]),
        "rounded_to_nearest": workshop.rounded_to_nearest(best.recipe) if best.recipe.rounding == "gptq" else {},
        "clipped": list(scales.clipped),
        "saturated_biases": emitted.saturated,
        "held_out": len(workshop.held_out),
    }
    _write(context, emitted.model, emitted.table(), report)


def _open(
    model: onnx.ModelProto,
    simplified: Path,
    calibrated: Path,
    samples: SampleSource,
    params: QuantizeParams,
    context: StageContext,
    metric: MetricRequest | None,
) -> Workshop:
    contract = Contract.from_json(json.loads((simplified / "contract.json").read_text(encoding="utf-8")))
    original, state = simplified / "model.onnx", dict(params.state)
    judges, unseen = read_held_out(samples, sum(macs(Graph(model)).values()))
    workshop = Workshop.open(
        model,
        load(calibrated / "statistics.npz"),
        HeldOut(judges, original, contract, state),
        _gate(params, metric),
        WeightGrid(REDUCED_RANGE if params.reduced_range else NORMAL_RANGE, frozenset(params.per_tensor)),
        _in_float(Graph(model), now_called(simplified, params.keep_float), params.against_products_of_activations),
    )
    workshop.fresh = HeldOut(unseen, original, contract, state) if unseen else None
    workshop.runs = CalibrationRuns(model, samples, contract, state)
    workshop.journal = Journal(context.journal)
    if metric is not None:
        most = min(MOST_MEASURED, max(MOST_SAMPLES, int(MACS_PER_TRIAL // max(1, workshop.macs))))
        workshop.measure = Measure(metric, samples, contract, state, original, most)
    return workshop


def _in_float(graph: Graph, asked: Collection[str], against_products: str) -> dict[str, str]:
    """Nodes that no recipe quantizes, and why: those that the user named, and products that the engine has no use
    for."""
    found = dict.fromkeys(asked, ON_REQUEST)
    if against_products:
        for node in graph.nodes:
            if node.op_type == "MatMul" and all(graph.constant(name) is None for name in node.input):
                found.setdefault(node.name, against_products)
    return found


def _gate(params: QuantizeParams, metric: MetricRequest | None) -> Gate:
    """The limits of a trial; where the user's own metric is the judge, only those that the user gave, too."""
    gate = Gate.from_overrides(params.gate)
    return gate if metric is None else gate.relaxed(name for name, _ in params.gate)


class _Progress:
    """Says what is being tried and what is the best so far; the total is a guess that grows when the search goes on."""

    def __init__(self, context: StageContext, workshop: Workshop, total: int) -> None:
        self._context, self._done, self._total = context, 0, total
        self._detail = ""
        self._workshop = workshop
        workshop.on_trial = self.step

    def begin(self, name: str, best: Trial) -> None:
        self._detail = f"{name}, best {best.sqnr_db:.1f} dB"

    def step(self) -> None:
        self._done += 1
        self._total = max(self._total, self._done + 1)
        self._context.progress(self._done, self._total, "trials", self._detail)


def _check_names(keep_float: Sequence[str], graph: Graph) -> None:
    known = [node.name for node in graph.nodes]
    for name in keep_float:
        if name not in known:
            raise UsageError(
                f"There is no node called {name!r} to keep in float.{did_you_mean(name, known)}",
                "Names are those of the model as it is quantized, which the report lists, or of nodes that went into "
                "those.",
                "Correct --keep-float, or leave it out.",
            )


def _warnings(workshop: Workshop, placement: Placement, outcome: Outcome, samples: int) -> list[str]:
    variant = workshop.variant(outcome.best.recipe)
    found = [
        f"The Concat {node!r} gives one scale to {wide!r} and {narrow!r}, whose ranges differ by a factor of "
        f"{ratio:.0f}: the narrow one is left with few steps."
        for node, wide, narrow, ratio in unlike_ranges(variant.graph, placement, variant.statistics)
    ]
    spare, kept = held_out(samples)
    if spare == kept:
        found.append(
            f"Only {samples} samples were given, too few to hold some back: the candidates were judged on the data "
            "that they were calibrated with."
        )
    if outcome.untried:
        found.append(f"The search ended with its budget; it left untried: {'; '.join(outcome.untried)}.")
    return found


def _isolated(workshop: Workshop, best: Trial, budget: Budget) -> list[Sensitivity]:
    """The kernels that cost the most, the worst first; of a model that failed, those that were tried in float are among
    them."""
    passed = best.verdict.passed
    return isolated_errors(workshop, _examined(workshop, best), LOOKED_AT if passed else MOST_KERNELS, budget)


def _examined(workshop: Workshop, best: Trial) -> Recipe:
    """The recipe whose kernels are looked at one by one."""
    return best.recipe if best.verdict.passed else replace(best.recipe, keep_float=frozenset(workshop.in_float))


def _worst_layers(workshop: Workshop, best: Trial, measured: Sequence[Sensitivity]) -> list[dict[str, Any]]:
    recipe = _examined(workshop, best)
    return [
        {
            "node": item.kernel.name,
            "op": item.kernel.anchor.op_type,
            "sqnr_db": round(item.sqnr_db, 2),
            **described(workshop, item.kernel, recipe, item.sqnr_db),
        }
        for item in measured[:WORST]
    ]


def _write(context: StageContext, model: onnx.ModelProto, table: dict[str, Any], report: dict[str, Any]) -> None:
    (context.out / "qdq.onnx").write_bytes(serialized(model))
    context.write_json("qparams.json", table)
    context.write_json("quantize.json", report)
