"""Layers of a float model and of its quantized twin, matched by the names of their tensors.

    float model       x -> Conv -> c -> Relu -> y -> ...
    quantized twin    x -> Q -> DQ -> Conv -> c -> Relu -> y -> Q -> DQ -> ...
                      `------------- the layer that makes y ----------------`

A quantized tensor keeps its name: in front of its Q/DQ pair, or behind it where others know it by that name. All that
is needed are the two models, not how the second was made. What one engine computes at once is one layer: a product,
the bias added to it, the activation that reads its sums before they are rounded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto

from edgec.errors import UsageError
from edgec.onnx_graph.graph import Graph, attribute

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_FUSED = ("Relu", "Clip")


@dataclass(frozen=True)
class Grid:
    """The values that one quantized tensor can have: from `low` to `high` in steps of `step`."""

    step: float
    low: float
    high: float
    zero_point: int

    @property
    def steps(self) -> int:
        return round((self.high - self.low) / self.step) + 1

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """QuantizeLinear and DequantizeLinear of float32 `x`."""
        step = np.float32(self.step)
        low, high = np.float32(round(self.low / self.step)), np.float32(round(self.high / self.step))
        return np.asarray(np.clip(np.rint(np.asarray(x, np.float32) / step), low, high) * step, np.float32)


@dataclass(frozen=True)
class Layer:
    """One layer of both models.

    name, op: of its first node that computes.
    nodes, twin: its nodes in the float and in the quantized model, in order.
    reads: tensors of the float model that it takes. outputs: tensors that it hands on, by their names in the float
        model; `handed_on` has the name of each one's value in the twin (behind a Q/DQ pair that all readers read).
    grids: of the quantized tensors that it reads; `output_grids` of those that it hands on.
    quantized: whether the twin rounds anything here; `int8` whether it computes on rounded values.
    """

    index: int
    name: str
    op: str
    nodes: tuple[NodeProto, ...]
    twin: tuple[NodeProto, ...]
    reads: tuple[str, ...]
    outputs: tuple[str, ...]
    handed_on: Mapping[str, str]
    grids: Mapping[str, Grid]
    output_grids: Mapping[str, Grid]
    quantized: bool
    int8: bool


class Twins:
    """A float model and its quantized twin, cut into layers.

    Raises UsageError when the twin has other inputs or outputs, or none of the float model's tensors in between.
    """

    def __init__(self, floats: Graph, quantized: Graph) -> None:
        self.floats, self.quantized = floats, quantized
        if set(floats.inputs) != set(quantized.inputs) or set(floats.outputs) != set(quantized.outputs):
            raise UsageError(
                "The two models do not belong together",
                "They have other inputs or outputs.",
                "Compare a quantized model with the float model that it was made from.",
            )
        self._order = {id(graph): {id(node): i for i, node in enumerate(graph.nodes)} for graph in (floats, quantized)}
        self._fused = self._inside_kernels()
        made = {name for node in floats.nodes for name in node.output if name}
        self.cuts = {name for name in made if name in quantized.producer and name not in self._fused}
        self.cuts.update(floats.inputs)
        self.layers: list[Layer] = []
        for node in floats.nodes:
            outputs = tuple(name for name in node.output if name in self.cuts)
            if outputs:
                self.layers.append(self._layer(len(self.layers), outputs))

    @cached_property
    def maker(self) -> dict[str, Layer]:
        """Tensor of the float model to the layer that hands it on."""
        return {name: layer for layer in self.layers for name in layer.outputs}

    @cached_property
    def readers(self) -> dict[str, list[Layer]]:
        """Tensor of the float model to the layers that read it."""
        found: dict[str, list[Layer]] = {}
        for layer in self.layers:
            for name in layer.reads:
                found.setdefault(name, []).append(layer)
        return found

    def grid(self, node: NodeProto) -> Grid | None:
        """The grid of a QuantizeLinear or DequantizeLinear with one constant scale; None for any other."""
        scale = self.quantized.constant(node.input[1])
        if scale is None or scale.size != 1:
            return None
        zero_point = self.quantized.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.uint8(0)
        if zero_point is None:
            return None
        info, zero, step = np.iinfo(zero_point.dtype), int(np.reshape(zero_point, -1)[0]), float(scale.reshape(-1)[0])
        return Grid(step, (int(info.min) - zero) * step, (int(info.max) - zero) * step, zero)

    # --- the cut ---

    def _inside_kernels(self) -> set[str]:
        """Tensors that stay inside a kernel: sums that only a bias or an activation reads, before they are rounded."""
        found: set[str] = set()
        for node in self.floats.nodes:
            source = self.floats.producer.get(node.input[0]) if node.input else None
            if node.op_type == "Add":
                source = next((p for n in node.input if (p := self.floats.producer.get(n)) is not None), None)
                constant = any(self.floats.constant(name) is not None for name in node.input)
                if source is None or source.op_type != "MatMul" or not constant:
                    continue
            elif node.op_type not in _FUSED or source is None:
                continue
            tensor = next(name for name in node.input if name in source.output)
            twin = self.quantized.producer.get(tensor)
            readers = self.quantized.consumers.get(tensor, [])
            alone = len(readers) == 1 and readers[0].op_type == node.op_type and tensor not in self.quantized.outputs
            rounded = twin is not None and (tensor in found or any(map(self._is_rounded, twin.input)))
            inner = twin is not None and twin.op_type in ("Add", "Clip", "Relu") and twin.input[0] in found
            if alone and (rounded or inner):
                found.add(tensor)
        return found

    def _is_rounded(self, tensor: str) -> bool:
        producer = self.quantized.producer.get(tensor)
        return producer is not None and producer.op_type == DEQUANTIZE

    def _handed_on(self, tensor: str) -> str:
        """The twin's value of a tensor that its readers read."""
        readers = self.quantized.consumers.get(tensor, [])
        if self._is_rounded(tensor) or tensor in self.quantized.outputs or not readers:
            return tensor
        if any(reader.op_type != QUANTIZE for reader in readers):
            return tensor
        behind = self.quantized.consumers.get(readers[0].output[0], [])
        if not behind or behind[0].op_type != DEQUANTIZE or behind[0].output[0] in self.cuts:
            return tensor  # what lies behind the pair is a tensor of the float model, too: a layer of its own
        return str(behind[0].output[0])

    def _layer(self, index: int, outputs: tuple[str, ...]) -> Layer:
        handed_on = {name: self._handed_on(name) for name in outputs}
        nodes, reads = self._back(self.floats, outputs, set(outputs))
        twin, also = self._back(self.quantized, handed_on.values(), set(outputs))
        known = {node.name for node in twin}
        named = [node for node in nodes if node.name in known] or nodes
        computing = next((node for node in named if node.op_type not in ("Constant", "Identity")), nodes[-1])
        grids: dict[str, Grid] = {}
        rounding = [node for node in twin if node.op_type == QUANTIZE]
        for node in rounding:
            grid = self.grid(node)
            if node.input[0] in also and grid is not None:
                grids.setdefault(node.input[0], grid)
        output_grids = {}
        for name, value in handed_on.items():
            maker = self.quantized.producer[value]
            if maker.op_type == DEQUANTIZE and (grid := self.grid(maker)) is not None:
                output_grids[name] = grid
        inside = [node for node in twin if node.op_type not in (QUANTIZE, DEQUANTIZE)]
        return Layer(
            index,
            str(computing.name or outputs[0]),
            str(computing.op_type),
            tuple(nodes),
            tuple(twin),
            tuple(dict.fromkeys([*reads, *also])),
            outputs,
            handed_on,
            grids,
            output_grids,
            any(node.op_type in (QUANTIZE, DEQUANTIZE) for node in twin),
            any(self._is_rounded(name) for node in inside for name in node.input),
        )

    def _back(self, graph: Graph, ends: Iterable[str], own: Collection[str]) -> tuple[list[NodeProto], list[str]]:
        """The nodes between the cuts and `ends`, and the tensors at the cuts that they read."""
        wanted: set[int] = set()
        reads: dict[str, None] = {}
        pending = list(ends)
        while pending:
            tensor = pending.pop()
            if tensor in self.cuts and tensor not in own:
                reads[tensor] = None
            elif (node := graph.producer.get(tensor)) is not None and id(node) not in wanted:
                wanted.add(id(node))
                pending += names_read(node)
        order = self._order[id(graph)]
        return [graph.nodes[place] for place in sorted(order[node] for node in wanted)], list(reads)


def names_read(node: NodeProto) -> list[str]:
    """All tensors that a node reads, those that its bodies take from outside included (and names inside of them)."""
    names = [name for name in node.input if name]
    for item in node.attribute:
        bodies = [item.g] if item.type == AttributeProto.GRAPH else list(item.graphs)
        for body in bodies:
            names += _read_inside(body)
    return names


def _read_inside(body: GraphProto) -> list[str]:
    inner = {name for node in body.node for name in node.output}
    inner.update(item.name for item in (*body.input, *body.initializer))
    names = [name for node in body.node for name in names_read(node)] + [item.name for item in body.output]
    return [name for name in names if name not in inner]


def channel_axis(layer: Layer, shape: tuple[int, ...]) -> int | None:
    """The axis of a layer's output along which each index is a channel; None where there are no channels."""
    if len(shape) < 2:
        return None
    if len(shape) >= 4 or (len(shape) == 3 and layer.op in ("Conv", "ConvTranspose")):
        return 1
    return len(shape) - 1


def is_depthwise(layer: Layer, graph: Graph) -> bool:
    """Whether a layer convolves each channel by itself."""
    node = next((node for node in layer.nodes if node.op_type == "Conv"), None)
    if node is None:
        return False
    weights = graph.shape(node.input[1])
    return weights is not None and weights[1] == 1 and attribute(node, "group", 1) > 1
