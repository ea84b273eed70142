"""Why a layer suffers from INT8: the cause, from the graph, the statistics, and what its rounded weights cost alone.

The causes, and what helps against each, are those of `edgec diagnose` (edgec.diagnosis.findings).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgec.diagnosis import patterns
from edgec.diagnosis.causes import LayerFacts, Parts, TensorFacts, find
from edgec.diagnosis.findings import Finding
from edgec.diagnosis.float_counterpart import with_rounded_constants_only
from edgec.onnx_graph.graph import Graph, attribute
from edgec.quantization.placement import Kernel
from edgec.quantization.rules import Kind
from edgec.quantization.statistics import TensorStatistics
from edgec.quantization.weights import channel_axis, weight_operand

if TYPE_CHECKING:
    import onnx

    from edgec.quantization.recipe import Recipe
    from edgec.quantization.workshop import Workshop

SAMPLES = 4


def described(workshop: Workshop, kernel: Kernel, recipe: Recipe, sqnr_db: float) -> dict[str, Any]:
    """The cause of a kernel's loss for quantize.json: {"cause", "cause_id", "remedy"}.

    sqnr_db: of the model's worst output when the kernel alone is quantized. What of it is due to weights is measured.
    """
    finding = cause_of(workshop, kernel, _parts(workshop, kernel, recipe, sqnr_db))
    return {"cause": finding.sentence, "cause_id": finding.cause, "remedy": finding.remedy}


def cause_of(workshop: Workshop, kernel: Kernel, parts: Parts | None = None) -> Finding:
    """The most telling cause of a kernel's loss. parts: what is left when only a part of it is rounded, if known."""
    graph, statistics = workshop.graph, workshop.statistics
    names = [kernel.anchor.input[i] for i in kernel.rule.inputs(kernel.anchor)] + kernel.outputs
    normal, curves = patterns.normalizations(graph), patterns.decomposed_activations(graph)
    widths = {name: item.maximum - item.minimum for name, item in statistics.items()}
    near = [node for name in (*kernel.outputs, *kernel.anchor.input) for node in graph.consumers.get(name, [])]
    joined = [each for node in near if (each := patterns.joined(node, widths)) is not None]
    members = [node.name for node in kernel.nodes]
    return find(
        LayerFacts(
            node=kernel.name,
            op=str(kernel.anchor.op_type),
            tensors=tuple(_tensor(name, statistics[name]) for name in dict.fromkeys(names) if name in statistics),
            normalization=next((normal[name] for name in members if name in normal), None),
            activation=next((curves[name] for name in members if name in curves), None),
            joined=max(joined, key=lambda each: each[1], default=None),
            weights=_weights(graph, kernel),
            depthwise=kernel.anchor.op_type == "Conv" and attribute(kernel.anchor, "group", 1) > 1,
            parts=parts or Parts(),
        )
    )


def _tensor(name: str, item: TensorStatistics) -> TensorFacts:
    total = int(item.histogram.sum())
    spread = float(np.sqrt((item.histogram * item.bin_centers() ** 2).sum() / total)) if total else 0.0
    peaks = None
    if item.channel_min is not None and item.channel_max is not None:
        peaks = np.maximum(np.abs(item.channel_min), np.abs(item.channel_max))
    return TensorFacts(name, item.minimum, item.maximum, spread, peaks, item.count, item.steps)


def _weights(graph: Graph, kernel: Kernel) -> np.ndarray | None:
    """The float weights, output channels first."""
    if kernel.rule.kind is not Kind.MAC or (operand := weight_operand(graph, kernel)) is None:
        return None
    weights, axis = graph.constant(kernel.anchor.input[operand]), channel_axis(graph, kernel)
    return None if weights is None or axis is None else np.moveaxis(weights, axis, 0)


def _parts(workshop: Workshop, kernel: Kernel, recipe: Recipe, sqnr_db: float) -> Parts:
    """What is left of the outputs when only this kernel's weights are rounded; noise that is not theirs is that of its
    activations."""
    if kernel.rule.kind is not Kind.MAC or weight_operand(workshop.graph, kernel) is None:
        return Parts(output_db=sqnr_db)

    def candidate() -> onnx.ModelProto:
        placement = workshop.place(recipe, alone=kernel.name)
        return with_rounded_constants_only(
            workshop.emitted(recipe, placement, workshop.scales(recipe, placement)).model
        )

    question = {"weights of": kernel.name, "recipe": recipe.to_json()}
    weights_db = workshop.measured(question, candidate, SAMPLES).sqnr_db
    rest = 10 ** (-sqnr_db / 10) - 10 ** (-weights_db / 10)
    return Parts(weights_db=weights_db, inputs_db=float(-10 * np.log10(rest)) if rest > 1e-12 else 120.0)
