"""Which layers are to blame, for what, and which is the first.

A layer is to blame when the model's outputs suffer from it alone. Its own error says where to look: outliers, masks and
near-dead channels hide in a tensor whose SQNR looks well, so it is measured per channel and at the layers that read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgec.diagnosis import patterns
from edgec.diagnosis.causes import LayerFacts, TensorFacts, find
from edgec.diagnosis.findings import Finding
from edgec.diagnosis.layers import Layer, Twins, is_depthwise
from edgec.diagnosis.measure import LayerFigures, Measured
from edgec.onnx_graph.graph import attribute
from edgec.quantization.rules import rule_for
from edgec.quantization.statistics import TensorStatistics

HARM = 20.0
"""A layer that alone brings the outputs below this many dB does harm."""

EXPLAINS = 6.0
"""A layer's own error explains the error that has accumulated there when it is no more than this many dB better."""

MOST_LOOKED_AT = 24
FIRST_LAYERS = 4
_INT32 = 2**31 - 1


def suspects(measured: Measured) -> list[int]:
    """Layers whose effect on the outputs is worth trying: by their own error, the first ones, those that lose channels
    or values. The most suspicious first."""
    rounded = [item for item in measured.figures.values() if item.isolated is not None]
    order = sorted(rounded, key=lambda item: (own_db(item), item.layer.index))
    losing = [item for item in order if item.isolated is not None and item.isolated.dead]
    cutting = [item for item in order if item.output_range.clipped_share > 1e-3]
    first = sorted(rounded, key=lambda item: item.layer.index)[:FIRST_LAYERS]
    wanted = [*order[: MOST_LOOKED_AT // 2], *first, *losing[:6], *cutting[:6], *order]
    return list(dict.fromkeys(item.layer.index for item in wanted))[:MOST_LOOKED_AT]


def own_db(item: LayerFigures) -> float:
    """A layer's isolated error in dB; that of a layer which rounds nothing is none."""
    return item.isolated.db if item.isolated is not None else 120.0


def blamed(measured: Measured, total_db: float) -> list[LayerFigures]:
    """Layers that harm the outputs by themselves, in the graph's order."""
    limit = min(HARM, total_db + 10.0) if total_db > HARM else HARM
    found = [item for item in measured.figures.values() if item.alone_db is not None and item.alone_db < limit]
    return sorted(found, key=lambda item: item.layer.index)


def first_fault(
    faults: Sequence[LayerFigures], measured: Measured, twins: Twins, total_db: float
) -> LayerFigures | None:
    """The first layer where things go wrong: what has accumulated at it or at its readers has broken down, and its own
    error explains that; or it alone explains what the outputs have lost. Where none does, the one that costs most."""
    for item in faults:
        readers = [r for name in item.layer.outputs for r in twins.readers.get(name, ())]
        near = [item, *(measured.figures[r.index] for r in readers if r.index in measured.figures)]
        if any(each.accumulated.db < HARM and own_db(each) <= each.accumulated.db + EXPLAINS for each in near):
            return item
        if item.alone_db is not None and item.alone_db <= total_db + EXPLAINS:
            return item
    return min(faults, key=lambda item: (item.alone_db, item.layer.index), default=None)


@dataclass(frozen=True)
class Witness:
    """All that is known, to find causes in. learned: what calibration saw, by tensor; may be empty."""

    twins: Twins
    measured: Measured
    learned: Mapping[str, TensorStatistics]
    normalizations: Mapping[str, str]
    activations: Mapping[str, str]

    def causes(self, faults: Sequence[LayerFigures], general: Sequence[Finding]) -> dict[int, Finding]:
        """The cause of each of these layers' losses, by the layer's index.

        Where the data is not what the model was calibrated for, that is the cause of whatever its ranges do. A layer
        that suffers from what it reads has the cause of the layer that makes it.
        """
        mismatch = next((finding for finding in general if finding.cause == "data-mismatch"), None)
        found: dict[int, Finding] = {}
        for item in faults:
            finding = self.cause(item)
            above = [self.twins.maker[n].index for n in item.layer.reads if n in self.twins.maker]
            guilty = next((i for i in above if i in found), None)
            if mismatch is not None and finding.cause in _CONSEQUENCES:
                finding = mismatch
            elif guilty is not None and _inherits(item, finding, found[guilty]):
                finding = found[guilty]
            found[item.layer.index] = finding
        return found

    def cause(self, item: LayerFigures) -> Finding:
        """The cause of a layer's loss, at the layer where it arises: where what it reads is at fault, that may be the
        layer which makes that tensor."""
        finding = find(self.facts(item))
        made_by = self._maker_of_what_hurts(item, finding)
        return finding if made_by is None else Finding(finding.cause, made_by, finding.sentence, finding.evidence)

    def _maker_of_what_hurts(self, item: LayerFigures, finding: Finding) -> str | None:
        tensor = finding.evidence.get("tensor")
        if tensor is None or tensor in item.layer.outputs or finding.cause not in _MADE_BEFORE:
            return None
        maker = self.twins.maker.get(tensor)
        return maker.name if maker is not None and maker.quantized else None

    def facts(self, item: LayerFigures) -> LayerFacts:
        layer, graph = item.layer, self.twins.floats
        weights = self._weights(layer)
        names = [*layer.grids, *layer.output_grids] or list(layer.outputs)
        names += [
            n for n in layer.outputs if n not in names and n in self.measured.ranges and self.measured.ranges[n].grid
        ]
        dead = item.isolated.dead if item.isolated is not None else ()
        return LayerFacts(
            node=layer.name,
            op=layer.op,
            tensors=tuple(self._tensor(name) for name in dict.fromkeys(names) if name in self.measured.ranges),
            normalization=next(
                (self.normalizations[n.name] for n in layer.nodes if n.name in self.normalizations), None
            ),
            activation=next((self.activations[n.name] for n in layer.nodes if n.name in self.activations), None),
            joined=self._joined(layer),
            weights=weights,
            depthwise=is_depthwise(layer, graph),
            dead=dead,
            saturated_biases=self._saturated(layer),
            measured=True,
            parts=item.parts,
        )

    def _tensor(self, name: str) -> TensorFacts:
        seen, learned = self.measured.ranges[name], self.learned.get(name)
        return TensorFacts(
            name,
            seen.low,
            seen.high,
            float(np.sqrt(seen.squares / max(seen.count, 1))),
            seen.peaks if seen.axis is not None else None,
            learned.count if learned is not None else 0,
            learned.steps if learned is not None else 0,
            seen.clipped_share if seen.grid is not None else None,
            seen.beyond,
        )

    def _joined(self, layer: Layer) -> tuple[str, float, str, str] | None:
        """The Concat that this layer is, feeds or reads, when it gives one scale to unlike ranges."""
        widths = {name: meter.high - meter.low for name, meter in self.measured.ranges.items()}
        near = [layer, *(r for n in layer.outputs for r in self.twins.readers.get(n, ()))]
        near += [self.twins.maker[n] for n in layer.reads if n in self.twins.maker]
        nodes = [node for each in near if each.output_grids for node in each.nodes if node.op_type == "Concat"]
        found = [each for node in nodes if (each := patterns.joined(node, widths)) is not None]
        return max(found, key=lambda each: each[1], default=None)

    def _weights(self, layer: Layer) -> np.ndarray | None:
        """The float weights, output channels first."""
        graph = self.twins.floats
        for node in layer.nodes:
            if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
                continue
            weights = next((w for n in node.input[:2] if (w := graph.constant(n)) is not None), None)
            if weights is None or weights.ndim < 2:
                return None
            if node.op_type in ("MatMul", "ConvTranspose") or (
                node.op_type == "Gemm" and not attribute(node, "transB", 0)
            ):
                return np.moveaxis(weights, 1, 0)
            return weights
        return None

    def _saturated(self, layer: Layer) -> int:
        count = 0
        for node in layer.twin:
            value = self.twins.quantized.constant(node.input[0]) if node.op_type == "DequantizeLinear" else None
            if value is not None and value.dtype == np.int32:
                count += int((np.abs(value.astype(np.int64)) >= _INT32).sum())
        return count


_CONSEQUENCES = frozenset({"saturation", "little-data", "long-tail", "activation-rounding", "weight-rounding"})
"""Causes that data of another kind brings about."""

_MADE_BEFORE = frozenset({"mask-constant", "outlier-channel", "long-tail", "saturation"})
"""Causes that lie in a tensor: the layer to change is the one that makes it."""


def _only_moves(layer: Layer) -> bool:
    """Whether a layer hands on the very values that it reads."""
    rules = [rule_for(node) for node in layer.nodes]
    return all(rule is not None and rule.moves for rule in rules)


def _inherits(item: LayerFigures, finding: Finding, above: Finding) -> bool:
    """Whether what a layer suffers from is what the layer above it suffers from."""
    if finding.cause == "activation-rounding":
        return _reads_badly(item)
    return finding.cause == above.cause and _only_moves(item.layer)


def _reads_badly(item: LayerFigures) -> bool:
    """Whether the rounding of what a layer reads is what costs it most."""
    inputs, output = item.parts.inputs_db, item.parts.output_db
    return inputs is not None and (output is None or inputs <= output)
