"""Per-channel rescaling: a tensor that is quantized with one scale, but whose channels differ in range, is divided by a
factor for each channel, and the weights that read it are multiplied by it. What the model computes stays the same.

The factors are those of SmoothQuant (Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for
Large Language Models", 2023, equation 4), s_c = r_c^alpha / w_c^(1 - alpha), with r_c the largest magnitude of a
channel, and w_c that of the weights that read it. Weights have a scale for each output channel, so w_c is taken
relative to the range of that. A depthwise convolution has a scale of its own for each channel: its factors depend on
r_c alone.

The division is folded into what makes the tensor where it can be (cross-layer equalization: Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", 2019); between float nodes it may be a Mul.

Where an engine rounds the sums of a layer before float nodes read them, those nodes have no weights to take the
factors. A Mul multiplies what they read: then the sums have, in effect, a scale for each channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgec.onnx_graph.dependence import captured_names
from edgec.onnx_graph.graph import Graph, attribute
from edgec.quantization.absorption import Absorption, Place, absorb
from edgec.quantization.calibration_runs import CalibrationRuns
from edgec.quantization.channel_samples import sampled
from edgec.quantization.names import Names
from edgec.quantization.patches import rows_of
from edgec.quantization.placement import Edge, Kernel, Placement
from edgec.quantization.rules import Kind
from edgec.quantization.statistics import TensorStatistics
from edgec.quantization.useful_range import EVERYTHING, Interval, useful_range
from edgec.quantization.weights import weight_operand

Array = npt.NDArray[np.float64]

WORTH_FOLDING, WORTH_A_MUL = 1.5, 2.0
"""Ratio of the widest channel to the median one from which a tensor is rescaled: for nothing, or by a Mul."""

MOST_BELOW_MEDIAN = 4.0
"""A channel is taken to be at least this part of the median one. One that was silent during calibration may speak up
later, and would be cut off where its own range ends."""

LEAST_VALUES = 256
"""Values of each channel that calibration must have seen. What pooling leaves has one for each picture: with as many
channels as pictures, every new picture exceeds the range of some channel, though not that of the tensor."""


@dataclass(frozen=True)
class RescaledTensor:
    """One tensor that was rescaled.

    tensor: its name in the original model; rescaled: in the new one. ratio_before, ratio_after: of the widest channel
    to the median one. readers: names of the kernels that read it. multiplied: elements that a Mul divides, or gives
    back what they were, on each run; 0 when all factors were folded into constants.
    """

    tensor: str
    rescaled: str
    ratio_before: float
    ratio_after: float
    readers: tuple[str, ...]
    multiplied: int


@dataclass(frozen=True)
class Rescaled:
    """A model that computes the same, statistics of its tensors, and what was done. Tensors whose values changed have
    new names."""

    model: onnx.ModelProto
    statistics: dict[str, TensorStatistics]
    tensors: tuple[RescaledTensor, ...]


@dataclass(frozen=True)
class Candidate:
    """A tensor that could be rescaled, and how. axis: of its channels. readers: kernels that multiply it. useful: the
    interval outside of which no reader tells values apart."""

    tensor: str
    axis: int
    readers: tuple[Kernel, ...]
    absorption: Absorption
    useful: Interval = EVERYTHING


class Rescaling:
    """All rescaled forms of one model.

    placement: which tensors have one scale, and who reads them. runs: of the model that `graph` is.
    """

    def __init__(
        self, graph: Graph, placement: Placement, statistics: Mapping[str, TensorStatistics], runs: CalibrationRuns
    ) -> None:
        self._graph = graph
        self._placement = placement
        self._statistics = statistics
        self._candidates = sorted(candidates(graph, placement, statistics), key=_cost)
        axes: dict[str, int] = {}
        for item in self._candidates:
            axes[item.tensor] = item.axis
            axes |= {name: axis for name, axis in item.absorption.tensors.items() if name in statistics}
            axes |= {name: axis for name, (axis, _) in item.absorption.multiplied.items() if name in statistics}
        self._samples = sampled(runs, axes)

    def rescaled(self, alpha: float) -> Rescaled | None:
        """The model with its uneven tensors divided; None when there are none that could be.

        alpha: how much of the unevenness moves into weights that share a scale over input channels, 0 to 1.
        """
        edit = _Edit(self._graph)
        statistics = dict(self._statistics)
        done = []
        for item in self._candidates:
            samples, known = self._samples[item.tensor], self._statistics[item.tensor]
            low, high = np.clip(samples.extremes(known), *item.useful)
            ranges = np.maximum(np.abs(low), np.abs(high))
            before = _unevenness(ranges)
            if before < (WORTH_A_MUL if item.absorption.at_run_time else WORTH_FOLDING):
                continue
            if any(name in edit.renamed for name in item.absorption.tensors):
                continue  # what evens out a tensor behind it has changed it already
            factors = _factors(ranges, [self._weight_ranges(kernel) for kernel in item.readers], alpha)
            edit.divide(item, factors)
            for name in (*item.absorption.tensors, *item.absorption.multiplied):
                if name in self._samples:
                    statistics[edit.renamed[name]] = self._samples[name].divided(factors, self._statistics[name])
            cost = sum(math.prod(self._graph.shape(name) or ()) for name in item.absorption.at_run_time)
            readers = tuple(kernel.name for kernel in item.readers)
            after = _unevenness(ranges / factors)
            done.append(RescaledTensor(item.tensor, edit.renamed[item.tensor], before, after, readers, cost))
        return Rescaled(edit.model(), statistics, tuple(done)) if done else None

    def _weight_ranges(self, kernel: Kernel) -> Array | None:
        """float64 [C]: the largest weight of each input channel, relative to that of the same output channel; None for
        a depthwise convolution."""
        operand = weight_operand(self._graph, kernel)
        assert operand is not None
        weights = self._graph.constant(kernel.anchor.input[operand])
        assert weights is not None
        rows = np.abs(rows_of(kernel.anchor, operand, weights)).astype(np.float64)  # [G, M, K]
        window = math.prod(weights.shape[2:]) if kernel.anchor.op_type in ("Conv", "ConvTranspose") else 1
        groups, units, length = rows.shape
        if length == window:
            return None
        largest = rows.max(axis=2, keepdims=True)
        relative = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
        found: Array = relative.reshape(groups, units, length // window, window).max(axis=(1, 3)).reshape(-1)
        return found


def candidates(graph: Graph, placement: Placement, statistics: Mapping[str, TensorStatistics]) -> Iterator[Candidate]:
    """Quantized tensors that only kernels with constant weights read in INT8, along one axis of channels; and those
    that such kernels write."""
    readers: dict[str, list[Edge]] = {}
    for edge, slot in placement.reads.items():
        readers.setdefault(slot, []).append(edge)
    for slot, tensor in placement.slots.items():
        edges, shape = readers.get(slot, []), graph.shape(tensor)
        integer = [edge for edge in edges if edge[0] in placement.kernels]
        if slot != tensor or tensor not in statistics or shape is None:
            continue
        kernels = tuple(placement.kernels[name] for name, _ in integer)
        axes = {_channel_axis(graph, kernel, len(shape)) for kernel in kernels}
        axes = axes or {_written_axis(graph, placement, tensor)}
        axis = axes.pop()
        if axes or axis is None or shape[axis] < 2 or statistics[tensor].count < LEAST_VALUES * shape[axis]:
            continue
        absorption = absorb(graph, placement, tensor, axis, integer)
        if absorption is not None:
            useful = useful_range(graph, placement, slot) or EVERYTHING
            yield Candidate(tensor, axis, kernels, absorption, useful)


def _cost(item: Candidate) -> bool:
    """Whether a tensor is given back at run time: the last choice, where what is folded gets in the way."""
    return bool(item.absorption.restored)


def _channel_axis(graph: Graph, kernel: Kernel, rank: int) -> int | None:
    """The axis of its input along which a kernel's weights can take factors; None when they can't."""
    node = kernel.anchor
    if kernel.rule.kind is not Kind.MAC or weight_operand(graph, kernel) != 1:
        return None
    if node.op_type == "ConvTranspose" and attribute(node, "group", 1) > 1:
        return None  # its scales are shared by groups
    if node.op_type == "MatMul":
        return rank - 1 if len(graph.shape(node.input[1]) or ()) == 2 else None
    return 1


def _written_axis(graph: Graph, placement: Placement, tensor: str) -> int | None:
    """The axis of its output along which the weights of the kernel that writes a tensor have their rows; None where no
    kernel with weights does."""
    kernel = next((kernel for kernel in placement.kernels.values() if tensor in kernel.outputs), None)
    if kernel is None or kernel.rule.kind is not Kind.MAC:
        return None
    return len(graph.shape(tensor) or ()) - 1 if kernel.anchor.op_type == "MatMul" else 1


def _factors(ranges: Array, weight_ranges: list[Array | None], alpha: float) -> Array:
    """float64 [C], above 0: what to divide by, so that the largest magnitude of all channels stays what it is.

    ranges: the largest magnitude of each channel. weight_ranges: of the kernels that read them.
    """
    r = np.maximum(ranges, np.median(ranges[ranges > 0]) / MOST_BELOW_MEDIAN)
    shared = [item for item in weight_ranges if item is not None]
    factors = r
    if shared:
        w = np.max(shared, axis=0)
        factors = r**alpha / np.maximum(w, 1e-3 * w.max(initial=1e-3)) ** (1 - alpha)
    return np.asarray(factors * (ranges / factors).max() / ranges.max())


def _unevenness(ranges: Array) -> float:
    """The widest channel against the median of those that are not silent; 1 when all are."""
    return float(ranges.max() / np.median(ranges[ranges > 0])) if (ranges > 0).any() else 1.0


class _Edit:
    """Changes to a model, collected in float64."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._names = Names(graph)
        self._nodes = {node.name: node for node in graph.nodes}
        self._constants: dict[Edge, Array] = {}
        self._moved: dict[str, str] = {}  # tensors that change their values, and what they are called then
        self._reads: dict[Edge, str] = {}
        self._after: dict[str, list[NodeProto]] = {}  # tensor to the nodes that divide it, or give it back
        self._added: dict[str, Array] = {}
        self.renamed: dict[str, str] = {}

    def divide(self, item: Candidate, factors: Array) -> None:
        """Divide a tensor, and multiply what reads it."""
        for name in item.absorption.tensors:
            self.renamed[name] = self._moved[name] = self._names.fresh(f"{name}_rescaled")
        for edge, place in item.absorption.divided.items():
            self._divide_constant(edge, place, factors)
        for name, (axis, readers) in item.absorption.multiplied.items():
            self.renamed[name] = self._names.fresh(f"{name}_rescaled")
            self._multiply(name, axis, 1 / factors, name, self.renamed[name], readers)
        for name, (axis, readers) in item.absorption.restored.items():
            self._multiply(name, axis, factors, self.renamed[name], name, readers)
        for kernel in item.readers:
            edge = (kernel.name, 1)
            self._constants[edge] = _times_inputs(kernel.anchor, self._constant(edge), factors)

    def model(self) -> onnx.ModelProto:
        """The changed model."""
        source = self._graph.model
        model = onnx.ModelProto()
        model.CopyFrom(source)
        del model.graph.node[:]
        for name in self._graph.inputs:
            model.graph.node.extend(self._after.get(name, []))
        for original in source.graph.node:
            node = NodeProto()
            node.CopyFrom(original)
            for i, name in enumerate(original.input):
                edge = (original.name, i)
                node.input[i] = self._reads.get(edge, self._moved.get(name, name))
                if edge in self._constants:
                    node.input[i] = self._names.fresh(f"{name}_rescaled")
                    self._added[node.input[i]] = self._constants[edge]
            for i, name in enumerate(original.output):
                node.output[i] = self._moved.get(name, name)
            model.graph.node.append(node)
            for name in original.output:
                model.graph.node.extend(self._after.get(name, []))
        live = {name for node in model.graph.node for name in node.input}.union(captured_names(self._graph.nodes))
        kept = [item for item in source.graph.initializer if item.name in live]
        kept += [numpy_helper.from_array(value.astype(np.float32), name) for name, value in self._added.items()]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
        for item in model.graph.value_info:
            item.name = self._moved.get(item.name, item.name)
        return model

    def _constant(self, edge: Edge) -> Array:
        """The operand as it is by now."""
        if edge not in self._constants:
            value = self._graph.constant(self._nodes[edge[0]].input[edge[1]])
            assert value is not None
            self._constants[edge] = value.astype(np.float64)
        return self._constants[edge]

    def _multiply(self, name: str, axis: int, by: Array, source: str, target: str, readers: tuple[Edge, ...]) -> None:
        """Behind what makes the tensor `name` of the original model: target = source * by, for those readers."""
        shape = [-1 if i == axis else 1 for i in range(len(self._graph.shape(name) or ()))]
        factors = self._names.fresh(f"{name}_factors")
        self._added[factors] = by.reshape(shape)
        mul = helper.make_node("Mul", [source, factors], [target], name=self._names.fresh(f"{name}_Rescale"))
        self._after.setdefault(name, []).append(mul)
        self._reads.update((edge, target) for edge in readers)

    def _divide_constant(self, edge: Edge, place: Place, factors: Array) -> None:
        value = self._constant(edge)
        value = value.reshape((1,) * (place.rank - value.ndim) + value.shape)
        along = [-1 if i == place.axis else 1 for i in range(place.rank)]
        self._constants[edge] = value / factors.reshape(along)


def _times_inputs(node: NodeProto, weights: Array, factors: Array) -> Array:
    """Weights times the factors of the input channels that they are multiplied with."""
    if node.op_type == "Conv":  # [M, C / G, window]: an output channel belongs to one of the groups
        groups = int(attribute(node, "group", 1))
        each = np.repeat(factors.reshape(groups, -1), len(weights) // groups, axis=0)
        return weights * each.reshape(*each.shape, *[1] * (weights.ndim - 2))
    axis = 1 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 0
    return weights * factors.reshape([-1 if i == axis else 1 for i in range(weights.ndim)])
