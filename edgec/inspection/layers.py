"""What each node of a model computes, holds and moves, counted on the graph alone.

Two figures of each kind: in float32, and in INT8 at best, as if every float of the graph were one byte.

- A tensor takes 4 bytes an element as float32 and 1 as INT8; integers that a model computes with stay what they are.
- A constant that multiplies takes 1 byte in INT8, one of a single dimension (a bias) 4, as INT8 kernels add in int32.
- Bytes that a node moves: what it reads, each tensor once, and what it writes. Reshape and the like move nothing.
- Peak of activations: the largest sum of tensors alive at one node, in the order of the graph. A tensor is alive from
  the node that writes it (inputs: from the beginning) to the last one that reads it (outputs: to the end). Constants
  are not counted.
- An activation function that alone reads the result of a node is part of that node, as in every engine: it moves
  nothing and holds nothing of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from edgec.onnx_graph.cost import node_macs
from edgec.onnx_graph.dependence import captured_names, reads
from edgec.onnx_graph.graph import MAC_OPS, Graph

_VIEWS = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators whose result is their operand under another shape."""

_ROUNDING = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""In a quantized model, they say how a tensor is held; it is one tensor all the same."""

_ACTIVATIONS = frozenset(
    {
        "Clip",
        "Elu",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "PRelu",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Tanh",
    }
)

_MULTIPLYING = MAC_OPS | {"LSTM", "GRU", "RNN", "Gather"}
"""Operators whose constants of two dimensions and more are weights, which INT8 holds in one byte each."""


@dataclass(frozen=True)
class Bytes:
    """The same thing in float32 and in INT8."""

    float32: int = 0
    int8: int = 0

    def __add__(self, other: Bytes) -> Bytes:
        return Bytes(self.float32 + other.float32, self.int8 + other.int8)


@dataclass(frozen=True)
class Layer:
    """One node. shape: of its first output; None where it is not known before the model runs, and bytes then, too.

    macs: multiply-accumulates. parameters: elements of the float constants that it reads. bytes: that it moves;
    None, too, of a node with branches or a loop inside, of which nothing is counted.
    """

    node: str
    operator: str
    output: str
    shape: tuple[int, ...] | None
    macs: int
    parameters: int
    bytes: Bytes | None


@dataclass(frozen=True)
class Peak:
    """The most that tensors take at one time, and the node at which they do."""

    bytes: Bytes
    at: str


def name_of(node: NodeProto) -> str:
    """What a node is called everywhere: by its name, or by its first result."""
    return str(node.name or (node.output[0] if node.output else ""))


def operator_of(node: NodeProto) -> str:
    """The node's operator, with its domain where that is not ONNX's own."""
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)


class Census:
    """Counts over one graph. came_quantized: its 8-bit integers stand for floats."""

    def __init__(self, graph: Graph, came_quantized: bool = False) -> None:
        self._graph = graph
        self._quantized = came_quantized
        self._roots: dict[str, str] = {}
        self._free: set[str] = set()
        self._readers = Counter(name for node in graph.nodes for name in dict.fromkeys(reads(node)))
        for node in graph.nodes:
            if node.op_type in _VIEWS | _ROUNDING or self._is_part_of_the_node_before(node):
                self._free.add(name_of(node))
                self._roots[node.output[0]] = self._root(node.input[0])

    def layers(self) -> list[Layer]:
        """Every node of the main graph, in its order."""
        return [self._layer(node) for node in self._graph.nodes]

    def parameters(self) -> int:
        """Elements of the model's float constants, each once however many nodes read it."""
        names = {name for node in self._graph.nodes for name, _ in self._constants(node)}
        return sum(map(self._elements, names))

    def weights(self) -> Bytes:
        """What the model's float constants take, each once however many nodes read it."""
        return Bytes(self._held(None), self._held(frozenset()))

    def weights_held(self, in_float: Collection[str]) -> int:
        """Bytes of the same in an INT8 model of which the nodes `in_float` keep float32."""
        return self._held(in_float)

    def _held(self, in_float: Collection[str] | None) -> int:
        """in_float: nodes that hold their constants in float32; None: all do."""
        found: dict[str, int] = {}
        for node in self._graph.nodes:
            floats = in_float is None or name_of(node) in in_float
            for name, size in self._constants(node):
                found[name] = max(found.get(name, 0), size.float32 if floats else size.int8)
        return sum(found.values())

    def peak(self) -> Peak:
        """See above. Tensors of unknown shape are not counted. Without nodes, nothing is ever alive."""
        nodes = self._graph.nodes
        if not nodes:
            return Peak(Bytes(), "")
        born = dict.fromkeys(self._graph.inputs, 0)
        dies: dict[str, int] = {}
        for index, node in enumerate(nodes):
            for name in map(self._root, reads(node)):
                dies[name] = index
            for name in filter(None, node.output):
                born.setdefault(self._root(name), index)
                dies.setdefault(self._root(name), index)
        dies.update((self._root(name), len(nodes) - 1) for name in self._graph.outputs)
        change = np.zeros((len(nodes) + 1, 2), np.int64)
        for name, first in born.items():
            size = self._tensor(name)
            if size is None or name in self._graph.initializers:
                continue
            change[first] += (size.float32, size.int8)
            change[dies.get(name, first) + 1] -= (size.float32, size.int8)
        alive = np.cumsum(change, axis=0)[: len(nodes)]
        most = alive.max(axis=0)
        return Peak(Bytes(int(most[0]), int(most[1])), name_of(nodes[int(alive[:, 1].argmax())]))

    def bodies(self) -> set[str]:
        """Nodes with branches or loops inside, of which nothing is counted."""
        return {name_of(node) for node in self._graph.nodes if _has_body(node)}

    def _is_part_of_the_node_before(self, node: NodeProto) -> bool:
        before = node.input[0] if node.op_type in _ACTIVATIONS else ""
        alone = self._readers[before] == 1 and before not in self._graph.outputs
        return alone and before in self._graph.producer

    def _layer(self, node: NodeProto) -> Layer:
        output = next(filter(None, node.output), "")
        parameters = sum(self._elements(name) for name, _ in self._constants(node))
        macs = node_macs(self._graph, node)
        return Layer(
            name_of(node), operator_of(node), output, self._graph.shape(output), macs, parameters, self._moved(node)
        )

    def _moved(self, node: NodeProto) -> Bytes | None:
        if name_of(node) in self._free:
            return Bytes()
        if _has_body(node):
            return None
        constants = dict(self._constants(node))
        if node.op_type == "Gather" and constants:  # of a table, it reads what it picks
            picked = self._tensor(node.output[0])
            constants = {} if picked is None else {"": picked}
        tensors = dict.fromkeys([self._root(name) for name in reads(node)] + list(filter(None, node.output)))
        total = sum(constants.values(), Bytes())
        for name in tensors:
            if name in self._graph.initializers or not self._known(name):
                continue
            size = self._tensor(name)
            if size is None:
                return None
            total += size
        return total

    def _constants(self, node: NodeProto) -> Iterable[tuple[str, Bytes]]:
        """The float constants of two elements and more that a node reads, with what they take."""
        if node.op_type in _VIEWS | _ROUNDING:
            return
        for name in dict.fromkeys(map(self._root, reads(node))):
            if name not in self._graph.initializers or not self._stands_for_float(name):
                continue
            count = self._elements(name)
            if count > 1:
                dims = len(self._graph.initializers[name].dims)
                bias = node.op_type in _MULTIPLYING and dims == 1
                yield name, Bytes(count * max(4, self._itemsize(name)), count * (4 if bias else 1))

    def _root(self, name: str) -> str:
        return self._roots.get(name, name)

    def _known(self, name: str) -> bool:
        """Whether a name that a node reads is a tensor of this graph: bodies of If and Loop have names of their own."""
        return name in self._graph.producer or name in self._graph.inputs

    def _elements(self, name: str) -> int:
        return math.prod(self._graph.shape(name) or ())

    def _itemsize(self, name: str) -> int:
        dtype = self._graph.dtype(name)
        return dtype.itemsize if dtype is not None else 4

    def _stands_for_float(self, name: str) -> bool:
        dtype = self._graph.dtype(name)
        if dtype is None:
            return False
        return dtype.kind == "f" or (self._quantized and dtype in (np.int8, np.uint8, np.int32, np.int16))

    def _tensor(self, name: str) -> Bytes | None:
        shape, dtype = self._graph.shape(name), self._graph.dtype(name)
        if shape is None or dtype is None:
            return None
        count = math.prod(shape)
        if dtype.kind == "f" or (self._quantized and dtype in (np.int8, np.uint8)):
            return Bytes(count * max(4, dtype.itemsize), count)
        return Bytes(count * dtype.itemsize, count * dtype.itemsize)


def intensity(macs: int, moved: Bytes | None) -> dict[str, float | None]:
    """Arithmetic intensity: multiply-accumulates for each byte moved."""
    if moved is None:
        return {"float32": None, "int8": None}
    return {
        "float32": round(macs / moved.float32, 4) if moved.float32 else None,
        "int8": round(macs / moved.int8, 4) if moved.int8 else None,
    }


def by_operator(layers: Sequence[Layer], milliseconds: Mapping[str, float] | None) -> list[dict[str, object]]:
    """Counts of nodes, multiply-accumulates, parameters and time by operator, the one with most work first."""
    rows: dict[str, dict[str, float]] = {}
    for layer in layers:
        row = rows.setdefault(layer.operator, {"count": 0, "macs": 0, "parameters": 0, "milliseconds": 0.0})
        row["count"] += 1
        row["macs"] += layer.macs
        row["parameters"] += layer.parameters
        row["milliseconds"] += (milliseconds or {}).get(layer.node, 0.0)
    ordered = sorted(rows.items(), key=lambda item: (-item[1]["macs"], -item[1]["milliseconds"], item[0]))
    return [
        {
            "operator": operator,
            **row,
            "milliseconds": round(row["milliseconds"], 4) if milliseconds is not None else None,
        }
        for operator, row in ordered
    ]


def _has_body(node: NodeProto) -> bool:
    return any(True for _ in captured_names([node]))
