"""Operators that exporters wrote as several nodes, made whole again. Each node less is one rounding to int8 less.

- x * Clip(x + 3, 0, 6) / 6, and x * HardSigmoid(x) with slope 1/6, are HardSwish
- a constant that is added to what a Conv or a Gemm puts out belongs into its bias; one that multiplies it, into its
  weights and its bias

All are exact up to float32 rounding. A fused node keeps the name of its last output, so statistics stay valid.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgec.onnx_graph.graph import Graph, attribute
from edgec.quantization.names import Names
from edgec.quantization.placement import captured_names

FOLDS = frozenset({"Conv", "ConvTranspose", "Gemm"})


def fused(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """`model` (changed in place) with all fusions done; nodes named in `keep` are left as they are."""
    while _Fuser(model, frozenset(keep)).step():
        pass
    return model


class _Fuser:
    """One look at the graph: does every fusion that it finds, as long as they do not touch one another."""

    def __init__(self, model: onnx.ModelProto, keep: frozenset[str]) -> None:
        self.model = model
        self.graph = Graph(model)
        self.names = Names(self.graph)
        self.exposed = {*self.graph.outputs, *captured_names(self.graph)}
        self.keep = keep
        self.replaced: dict[str, NodeProto | None] = {}

    def step(self) -> bool:
        """Do what can be done at once; whether there was anything."""
        for node in self.graph.nodes:
            found = self._hard_swish(node) or self._folded(node)
            if found is None:
                continue
            last, members = found
            names = {member.name for member in members}
            if names & self.keep or names & set(self.replaced):
                continue
            self.replaced.update(dict.fromkeys(names))
            self.replaced[node.name] = last
        if self.replaced:
            nodes = [self.replaced.get(node.name, node) for node in self.graph.nodes]
            kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes if node is not None]
            del self.model.graph.node[:]
            self.model.graph.node.extend(kept)
        return bool(self.replaced)

    def _private(self, tensor: str, op: str) -> NodeProto | None:
        """The `op` that makes `tensor`, when exactly one node reads it."""
        producer = self.graph.producer.get(tensor)
        alone = len(self.graph.consumers.get(tensor, [])) == 1 and tensor not in self.exposed
        return producer if producer is not None and alone and producer.op_type == op and not producer.domain else None

    def _scalar(self, name: str) -> float | None:
        value = self.graph.constant(name)
        return float(value.item()) if value is not None and value.size == 1 else None

    # --- HardSwish ---

    def _hard_swish(self, node: NodeProto) -> tuple[NodeProto, list[NodeProto]] | None:
        """The HardSwish that ends in `node`, and all the nodes that it replaces."""
        if node.domain or node.op_type not in ("Mul", "Div"):
            return None
        for gate_at in (0, 1):
            gate, source = self._private(node.input[gate_at], "HardSigmoid"), node.input[1 - gate_at]
            if node.op_type == "Mul" and gate is not None and gate.input[0] == source and _slope_of_a_sixth(gate):
                return self._as_hard_swish(node, source), [gate, node]
        return self._by_six_at_the_end(node) or self._by_six_in_the_middle(node)

    def _by_six_at_the_end(self, node: NodeProto) -> tuple[NodeProto, list[NodeProto]] | None:
        """(x * Clip(x + 3, 0, 6)) / 6."""
        for at in (0, 1):
            product = self._private(node.input[at], "Mul")
            if product is None or not self._is_sixth(node, 1 - at):
                continue
            for gate_at in (0, 1):
                source = product.input[1 - gate_at]
                if (inner := self._relu6_of_plus_3(product.input[gate_at], source)) is not None:
                    return self._as_hard_swish(node, source), [*inner, product, node]
        return None

    def _by_six_in_the_middle(self, node: NodeProto) -> tuple[NodeProto, list[NodeProto]] | None:
        """x * (Clip(x + 3, 0, 6) / 6)."""
        if node.op_type != "Mul":
            return None
        for gate_at in (0, 1):
            source = node.input[1 - gate_at]
            for op in ("Div", "Mul"):
                gate = self._private(node.input[gate_at], op)
                if gate is None:
                    continue
                for at in (0, 1):
                    inner = self._relu6_of_plus_3(gate.input[at], source) if self._is_sixth(gate, 1 - at) else None
                    if inner is not None:
                        return self._as_hard_swish(node, source), [*inner, gate, node]
        return None

    def _is_sixth(self, node: NodeProto, at: int) -> bool:
        """Whether `node` divides by 6 with its operand at `at`."""
        value = self._scalar(node.input[at])
        if value is None or (node.op_type == "Div" and at == 0):
            return False
        return math.isclose(value, 6 if node.op_type == "Div" else 1 / 6, rel_tol=1e-5)

    def _relu6_of_plus_3(self, tensor: str, source: str) -> list[NodeProto] | None:
        """The Add and the Clip that make `tensor` = Clip(source + 3, 0, 6)."""
        clip = self._private(tensor, "Clip")
        if clip is None or len(clip.input) != 3 or [self._scalar(name) for name in clip.input[1:]] != [0, 6]:
            return None
        add = self._private(clip.input[0], "Add")
        if add is None or source not in add.input:
            return None
        other = add.input[1] if add.input[0] == source else add.input[0]
        return [add, clip] if self._scalar(other) == 3 else None

    @staticmethod
    def _as_hard_swish(node: NodeProto, source: str) -> NodeProto:
        return helper.make_node("HardSwish", [source], list(node.output), name=node.name)

    # --- constants behind a convolution ---

    def _folded(self, node: NodeProto) -> tuple[NodeProto, list[NodeProto]] | None:
        """The Conv or Gemm with the constant that `node` adds to or multiplies what it puts out."""
        if node.domain or node.op_type not in ("Add", "Mul"):
            return None
        for at in (0, 1):
            producer = self.graph.producer.get(node.input[at])
            if (
                producer is None
                or producer.op_type not in FOLDS
                or self._private(node.input[at], producer.op_type) is None
            ):
                continue
            if (new := self._fold(producer, node, node.input[1 - at])) is not None:
                return new, [producer, node]
        return None

    def _fold(self, producer: NodeProto, node: NodeProto, constant: str) -> NodeProto | None:
        weights, value = self.graph.constant(producer.input[1]), self.graph.constant(constant)
        has_bias = len(producer.input) > 2 and bool(producer.input[2])
        bias = self.graph.constant(producer.input[2]) if has_bias else None
        shape = self.graph.shape(producer.output[0])
        if weights is None or value is None or weights.dtype != np.float32 or (has_bias and bias is None) or not shape:
            return None
        if producer.op_type == "Gemm" and (attribute(producer, "alpha", 1.0), attribute(producer, "beta", 1.0)) != (
            1,
            1,
        ):
            return None
        if self.graph.shape(node.output[0]) != shape or (producer.op_type == "ConvTranspose" and node.op_type == "Mul"):
            return None
        channel = len(shape) - 1 if producer.op_type == "Gemm" else 1
        per_channel = _per_channel(value, shape, channel)
        if per_channel is None or (bias is not None and bias.size not in (1, len(per_channel))):
            return None
        new = NodeProto()
        new.CopyFrom(producer)
        new.name, new.output[0] = producer.name, node.output[0]
        old = np.zeros(1, np.float32) if bias is None else bias.reshape(-1)
        if node.op_type == "Mul":
            axis = 0 if producer.op_type == "Conv" or attribute(producer, "transB", 0) else 1
            spread = per_channel.reshape([-1 if i == axis else 1 for i in range(weights.ndim)])
            new.input[1] = self._constant(f"{producer.name}/scaled_weights", weights * spread)
            changed = old * per_channel
        else:
            changed = old + per_channel
        if bias is not None or node.op_type == "Add":
            name = self._constant(f"{producer.name}/folded_bias", np.broadcast_to(changed, per_channel.shape))
            del new.input[2:]
            new.input.append(name)
        return new

    def _constant(self, name: str, value: np.ndarray) -> str:
        name = self.names.fresh(name)
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name


def _slope_of_a_sixth(gate: NodeProto) -> bool:
    alpha, beta = attribute(gate, "alpha", 0.2), attribute(gate, "beta", 0.5)
    return math.isclose(alpha, 1 / 6, rel_tol=1e-5) and math.isclose(beta, 0.5, rel_tol=1e-6)


def _per_channel(value: np.ndarray, shape: tuple[int, ...], channel: int) -> np.ndarray | None:
    """A constant that broadcasts against `shape` as one value a channel: [C]; None when it varies along other axes."""
    if value.ndim > len(shape):
        return None
    full = value.reshape([1] * (len(shape) - value.ndim) + list(value.shape))
    if any(size != 1 for axis, size in enumerate(full.shape) if axis != channel):
        return None
    return np.broadcast_to(full.reshape(-1), (shape[channel],)).astype(np.float32)
