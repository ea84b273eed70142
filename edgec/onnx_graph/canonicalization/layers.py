"""Layers with constant weights, as matrices that take factors and shifts for what goes in and what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from edgec.onnx_graph.canonicalization.workpiece import Workpiece, constant_operand
from edgec.onnx_graph.graph import attribute

OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Layer:
    """A node with constant float32 weights, and its bias.

    add: the node that adds the bias, for a MatMul that has one. weights: as the node holds them. bias: [channels], or
    None. channels: of the output. axis: of the output's channels.
    """

    node: NodeProto
    add: NodeProto | None
    weights: np.ndarray
    bias: np.ndarray | None
    channels: int
    axis: int
    output: str

    @property
    def group(self) -> int:
        return int(attribute(self.node, "group", 1))

    @property
    def padded(self) -> bool:
        """Whether zeros are put around what comes in."""
        if self.node.op_type != "Conv":
            return False
        return any(attribute(self.node, "pads", [])) or attribute(self.node, "auto_pad", "NOTSET") not in (
            "NOTSET",
            "VALID",
        )

    def times_outputs(self, factors: np.ndarray) -> np.ndarray:
        """The weights with each output channel multiplied by its factor, [channels]."""
        return np.asarray(self.weights * self._per_output(factors))

    def times_inputs(self, factors: np.ndarray) -> np.ndarray:
        """The weights with each input channel multiplied by its factor, [input channels]."""
        return np.asarray(self.weights * self._per_input(factors))

    def of_inputs(self, shifts: np.ndarray) -> np.ndarray:
        """What a shift of each input channel adds to each output channel, [channels]; not for padded layers."""
        spread = (self.weights.astype(np.float64) * self._per_input(shifts)).astype(np.float64)
        if self.node.op_type == "Conv":
            return np.asarray(spread.sum(axis=tuple(range(1, spread.ndim))))
        return np.asarray(spread.sum(axis=1 if attribute(self.node, "transB", 0) else 0))

    def _per_output(self, values: np.ndarray) -> np.ndarray:
        rank = self.weights.ndim
        if self.node.op_type == "Conv" or attribute(self.node, "transB", 0):
            return values.reshape(-1, *[1] * (rank - 1))
        if self.node.op_type == "ConvTranspose":
            each = np.repeat(values.reshape(self.group, -1), self.weights.shape[0] // self.group, axis=0)
            return each.reshape(*each.shape, *[1] * (rank - 2))
        return values.reshape(1, -1)

    def _per_input(self, values: np.ndarray) -> np.ndarray:
        rank = self.weights.ndim
        if self.node.op_type == "Conv":
            each = np.repeat(values.reshape(self.group, -1), self.channels // self.group, axis=0)
            return each.reshape(*each.shape, *[1] * (rank - 2))
        return values.reshape(1, -1) if attribute(self.node, "transB", 0) else values.reshape(-1, 1)

    def changed(
        self, work: Workpiece, weights: np.ndarray | None, bias: np.ndarray | None, output: str = ""
    ) -> dict[str, tuple[NodeProto, ...]]:
        """The layer with other weights or another bias (None: as it was), as replacements of its nodes.

        output: the new name of what it makes. A MatMul that gets its first bias is not changed so.
        """
        new = NodeProto()
        new.CopyFrom(self.node)
        if weights is not None:
            new.input[1] = work.floats(f"{self.node.name}/weights", weights)
        if self.node.op_type != "MatMul":
            if bias is not None:
                name = work.floats(f"{self.node.name}/bias", bias)
                del new.input[2:]
                new.input.append(name)
            new.output[0] = output or self.output
            return {self.node.name: (new,)}
        if self.add is None:
            new.output[0] = output or self.output
            return {self.node.name: (new,)}
        add = NodeProto()
        add.CopyFrom(self.add)
        add.output[0] = output or self.output
        if bias is not None:
            at = 0 if work.is_constant(add.input[0]) else 1
            add.input[at] = work.floats(f"{self.node.name}/bias", bias)
        return {self.node.name: (new,), self.add.name: (add,)}


def layer_of(work: Workpiece, tensor: str) -> Layer | None:
    """The layer that makes `tensor`; that of a MatMul includes the bias behind it."""
    node = work.made_by(tensor, *OPS)
    if node is not None:
        return _layer(work, node, None)
    add = work.made_by(tensor, "Add")
    operands = None if add is None else constant_operand(work, add)
    inner = None if operands is None else work.private(operands[0], "MatMul")
    return None if inner is None else _layer(work, inner, add)


def layer_at(work: Workpiece, node: NodeProto) -> Layer | None:
    """The layer that starts at `node`, with the bias behind it."""
    if node.op_type not in OPS or node.domain:
        return None
    if node.op_type == "MatMul":
        add = work.only_reader(node.output[0])
        if add is not None and add.op_type == "Add":
            found = _layer(work, node, add)
            if found is not None:
                return found
    return _layer(work, node, None)


def _layer(work: Workpiece, node: NodeProto, add: NodeProto | None) -> Layer | None:
    output = node.output[0] if add is None else add.output[0]
    shape = work.shape(output)
    weights = work.float_constant(node.input[1])
    if weights is None or shape is None or work.is_constant(node.input[0]) or work.shape(node.output[0]) != shape:
        return None
    plain = (("alpha", 1.0), ("beta", 1.0), ("transA", 0))
    if node.op_type == "Gemm" and any(attribute(node, name, default) != default for name, default in plain):
        return None
    if node.op_type == "MatMul" and (weights.ndim != 2 or len(shape) < 2):
        return None
    axis = 1 if node.op_type in ("Conv", "ConvTranspose") else len(shape) - 1
    channels = shape[axis]
    bias: np.ndarray | None = None
    if add is not None:
        operands = constant_operand(work, add)
        value = None if operands is None else work.constant(operands[1])
        bias = None if value is None else per_channel(value, shape, axis)
        if bias is None:
            return None
    elif node.op_type != "MatMul" and len(node.input) > 2 and node.input[2]:
        value = work.float_constant(node.input[2])
        if value is None or value.size not in (1, channels) or (value.ndim and value.shape[-1] != value.size):
            return None
        bias = np.broadcast_to(value.reshape(-1), (channels,))
    return Layer(node, add, weights, bias, channels, axis, output)


def per_channel(value: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray | None:
    """A constant that broadcasts against `shape` as one value a channel: [C]; None when it varies along other axes."""
    if value.ndim > len(shape):
        return None
    full = value.reshape([1] * (len(shape) - value.ndim) + list(value.shape))
    if math.prod(full.shape) != full.shape[axis]:
        return None
    return np.broadcast_to(full.reshape(-1), (shape[axis],)).astype(np.float32)
