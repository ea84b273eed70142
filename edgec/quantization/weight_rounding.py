"""Rounding the weights of a model by GPTQ: second moments once, each layer once for every grid that it is put on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgec.onnx_graph.graph import Graph
from edgec.quantization import gptq
from edgec.quantization.bias_correction import shift_of_outputs
from edgec.quantization.calibration_runs import CalibrationRuns
from edgec.quantization.placement import Kernel
from edgec.quantization.qparams import Float32, QuantizedWeights, quantize_weights
from edgec.quantization.second_moments import SecondMoments, gather, objection
from edgec.quantization.statistics import TensorStatistics
from edgec.quantization.weights import WeightRounding, weight_operand

MOST_BYTES = 512 * 2**20
"""Second moments that are kept. Those of other layers are gathered again for every grid they are asked for."""


class GptqRounding:
    """Rounds weights of the kernels of one float model; what was rounded once is not rounded again.

    kernels: all that may come. runs: of the model that `graph` is.
    """

    def __init__(self, graph: Graph, kernels: Sequence[Kernel], runs: CalibrationRuns) -> None:
        self._graph = graph
        self._kernels = list(kernels)
        self._runs = runs
        self._moments: dict[str, SecondMoments] | None = None
        self._rounded: dict[tuple[str, bytes, int, bool], QuantizedWeights] = {}

    def rounding(self, correction: Mapping[str, TensorStatistics]) -> WeightRounding:
        """How `emit` is to round weights.

        correction: statistics of the inputs of kernels whose biases make up for the mean of the error; only its
        variance counts then.
        """

        def round_weights(
            kernel: Kernel, weights: Float32, scales: Float32, axis: int | None, limit: int
        ) -> QuantizedWeights:
            return self._round(kernel, weights, scales, axis, limit, correction)

        return round_weights

    @property
    def bytes(self) -> int:
        """What the second moments take that are remembered."""
        distinct = {id(item): item for item in (self._moments or {}).values()}
        return sum(item.covariance.nbytes + item.mean.nbytes for item in distinct.values())

    def forget(self) -> None:
        """Drop the second moments; what was rounded stays known."""
        self._moments = None

    def _round(
        self,
        kernel: Kernel,
        weights: Float32,
        scales: Float32,
        axis: int | None,
        limit: int,
        correction: Mapping[str, TensorStatistics],
    ) -> QuantizedWeights:
        node, operand = kernel.anchor, weight_operand(self._graph, kernel)
        nearest = quantize_weights(weights, scales, axis, limit)
        if operand is None:
            return nearest
        known = correction.get(node.input[1 - operand])
        centred = known is not None and shift_of_outputs(node, weights, nearest, known) is not None
        key = (kernel.name, scales.tobytes(), limit, centred)
        if key not in self._rounded:
            moments = self._moments_of(kernel)
            if moments is None:
                return nearest
            self._rounded[key] = gptq.rounded(
                node, operand, weights, scales, axis, moments, limit, centred=centred
            ).weights
        return self._rounded[key]

    def _moments_of(self, kernel: Kernel) -> SecondMoments | None:
        if self._moments is None:
            self._moments = self._gathered()
        if kernel.name in self._moments:
            return self._moments[kernel.name]
        found = list(gather(self._graph, [kernel], self._runs))
        return found[0][1] if found else None

    def _gathered(self) -> dict[str, SecondMoments]:
        """The moments of as many kernels as may be kept, in the graph's order."""
        kept: dict[str, SecondMoments] = {}
        room = MOST_BYTES
        chosen = [kernel for kernel in self._kernels if objection(self._graph, kernel) is None]
        for names, moments in gather(self._graph, chosen, self._runs):
            size = moments.covariance.nbytes + moments.mean.nbytes
            if size <= room:
                room -= size
                kept.update(dict.fromkeys(names, moments))
        return kept
