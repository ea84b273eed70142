"""Where the division of a tensor's channels can be hidden, so that it costs nothing: in the constants of what makes it.

A layer that multiplies by constant weights takes the factors into its weights and bias. What is positively homogeneous
channel by channel (f(a x) = a f(x) for a > 0) passes them on to its input. Those who can't take the multiplied values
into weights of their own read them behind a Mul, where they read float values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from onnx import NodeProto

from edgec.onnx_graph.graph import Graph, attribute
from edgec.quantization.placement import Edge, Placement
from edgec.quantization.rules import Kind


@dataclass(frozen=True)
class Place:
    """Where the channels are in a constant operand: `axis` of `rank`, with ones put before its shape as broadcasting
    does. It may have one value there for all of them."""

    axis: int
    rank: int


@dataclass
class Absorption:
    """What has to change so that a tensor's channels are divided by factors.

    tensors: all that change their values with it, and the axis of their channels. divided: constant operands that are
    divided, and where. multiplied: tensors that a Mul of its own divides, their axis, and who reads the
    result instead of them. restored: tensors that change their values and that a Mul of its own gives back, their axis,
    and who reads what they were.
    """

    tensors: dict[str, int] = field(default_factory=dict)
    divided: dict[Edge, Place] = field(default_factory=dict)
    multiplied: dict[str, tuple[int, tuple[Edge, ...]]] = field(default_factory=dict)
    restored: dict[str, tuple[int, tuple[Edge, ...]]] = field(default_factory=dict)

    def add(self, other: Absorption) -> Absorption:
        self.tensors |= other.tensors
        self.divided |= other.divided
        self.multiplied |= other.multiplied
        self.restored |= other.restored
        return self

    @property
    def at_run_time(self) -> tuple[str, ...]:
        """The tensors that a Mul makes on each run: all of their elements."""
        return (*self.multiplied, *self.restored)


def absorb(graph: Graph, placement: Placement, tensor: str, axis: int, readers: Sequence[Edge]) -> Absorption | None:
    """How the channels of `tensor` along `axis` can be divided, as those who read it at the edges `readers` see it.

    Into constants, where nobody else reads the tensor; by a Mul, where it is a float value; or else, where INT8 nodes
    only move it on from a float value, by a Mul before those; or, where a layer writes it as integers, into the layer's
    constants, and a Mul gives the others what they read before. Profile strict has no float values, so no Mul. None
    where nothing of that is possible.
    """
    folded = _Absorber(graph, placement).into(tensor, axis, readers)
    if folded is not None or placement.profile == "strict":
        return folded
    if tensor not in placement.integer:
        return Absorption(multiplied={tensor: (axis, tuple(readers))})
    found = _Absorber(graph, placement, may_multiply=True).into(tensor, axis, readers)
    return _Absorber(graph, placement).restored(tensor, axis, readers) if found is None else found


@dataclass
class _Absorber:
    """One attempt. may_multiply: whether a float value on the way may be multiplied instead."""

    graph: Graph
    placement: Placement
    may_multiply: bool = False

    def into(self, tensor: str, axis: int, readers: Sequence[Edge]) -> Absorption | None:
        """Divide `tensor` itself, which only `readers` read."""
        if self.may_multiply and tensor not in self.placement.integer:
            return Absorption(multiplied={tensor: (axis, tuple(readers))})
        node = self.graph.producer.get(tensor)
        if node is None or tensor in self.placement.exposed or sorted(self._reading(tensor)) != sorted(readers):
            return None
        if node.domain not in ("", "ai.onnx") or tensor != node.output[0] or self.graph.shape(tensor) is None:
            return None
        found = _WAYS.get(node.op_type, _nowhere)(self, node, axis)
        return None if found is None else Absorption({tensor: axis}).add(found)

    def restored(self, tensor: str, axis: int, readers: Sequence[Edge]) -> Absorption | None:
        """Divide `tensor`, integers that a layer with constant weights writes, and let all but `readers` read what it
        was: they take float values, so that a Mul after the integers is one more float operation and no rounding."""
        layers = (kernel for kernel in self.placement.kernels.values() if kernel.rule.kind is Kind.MAC)
        layer = next((kernel for kernel in layers if tensor in kernel.outputs), None)
        others = tuple(edge for edge in self._reading(tensor) if edge not in readers)
        integer = set(self.placement.int8_nodes())
        if layer is None or self.graph.shape(tensor) is None or any(name in integer for name, _ in others):
            return None
        last = layer.nodes[-1]
        found = _WAYS.get(last.op_type, _nowhere)(self, last, axis)
        return None if found is None else Absorption({tensor: axis}, restored={tensor: (axis, others)}).add(found)

    def _reading(self, tensor: str) -> list[Edge]:
        """All who read a tensor, as integers or as float values."""
        consumers = self.graph.consumers.get(tensor, [])
        return [(node.name, i) for node in consumers for i, name in enumerate(node.input) if name == tensor]

    def through(self, node: NodeProto, axis: int, position: int = 0) -> Absorption | None:
        """Pass the factors on to an operand of a node that nobody else reads."""
        return self.into(node.input[position], axis, [(node.name, position)])

    def is_integer(self, node: NodeProto) -> bool:
        """Whether constants of a node that does not multiply and accumulate share one scale for all channels."""
        return node.name in self.placement.int8_nodes()


def _nowhere(_: _Absorber, __: NodeProto, ___: int) -> Absorption | None:
    return None


def _layer(at: _Absorber, node: NodeProto, axis: int) -> Absorption | None:
    """Into weights and bias."""
    graph, rank = at.graph, len(at.graph.shape(node.output[0]) or ())
    if any(graph.constant(name) is None for name in node.input[1:] if name):
        return None
    weights = graph.shape(node.input[1]) or ()
    has_bias = len(node.input) > 2 and bool(node.input[2])
    bias = {(node.name, 2): Place(0, 1)} if has_bias else {}
    if node.op_type == "Conv" and axis == 1:
        return Absorption(divided={(node.name, 1): Place(0, len(weights))} | bias)
    if node.op_type == "ConvTranspose" and axis == 1 and attribute(node, "group", 1) == 1:
        return Absorption(divided={(node.name, 1): Place(1, len(weights))} | bias)  # groups would share scales
    if node.op_type == "Gemm" and axis == 1:
        bias = {(node.name, 2): Place(1, 2)} if has_bias else {}
        if attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0:
            return None
        return Absorption(divided={(node.name, 1): Place(0 if attribute(node, "transB", 0) else 1, 2)} | bias)
    if node.op_type == "MatMul" and axis == rank - 1 and len(weights) == 2:
        return Absorption(divided={(node.name, 1): Place(1, 2)})
    return None


def _same(at: _Absorber, node: NodeProto, axis: int) -> Absorption | None:
    return at.through(node, axis)


def _clip(at: _Absorber, node: NodeProto, axis: int) -> Absorption | None:
    """A Clip between 0 and infinity is a Relu."""
    limits = [at.graph.constant(name) if name else None for name in node.input[1:3]]
    if any(name and value is None for name, value in zip(node.input[1:3], limits, strict=True)):
        return None
    low, high = [*limits, None, None][:2]
    homogeneous = (low is None or low.item() in (0, -math.inf)) and (high is None or high.item() == math.inf)
    return at.through(node, axis) if homogeneous else None


def _prelu(at: _Absorber, node: NodeProto, axis: int) -> Absorption | None:
    return at.through(node, axis) if at.graph.constant(node.input[1]) is not None else None


def _window(at: _Absorber, node: NodeProto, axis: int) -> Absorption | None:
    """Pooling, resizing: each channel by itself."""
    before, after = at.graph.shape(node.input[0]), at.graph.shape(node.output[0])
    kept = axis == 1 and before is not None and after is not None and before[1] == after[1]
    usual = attribute(node, "mode", "nearest") in ("nearest", "linear")
    cropped = attribute(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize"
    return at.through(node, axis) if kept and usual and not cropped else None


def _pad(at: _Absorber, node: NodeProto, axis: int) -> Absorption | None:
    before, after = at.graph.shape(node.input[0]), at.graph.shape(node.output[0])
    value = at.graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    given = len(node.input) > 2 and bool(node.input[2])
    constant = attribute(node, "mode", "constant") == "constant"
    if constant and given and (value is None or value.any()):
        return None
    return at.through(node, axis) if before and after and before[axis] == after[axis] else None


def _transpose(at: _Absorber, node: NodeProto, axis: int) -> Absorption | None:
    rank = len(at.graph.shape(node.output[0]) or ())
    return at.through(node, list(attribute(node, "perm", range(rank)[::-1]))[axis])


def _reshape(at: _Absorber, node: NodeProto, axis: int) -> Absorption | None:
    """Where the channels remain an axis of their own."""
    before, after = at.graph.shape(node.input[0]), at.graph.shape(node.output[0])
    if before is None or after is None:
        return None
    outer = math.prod(after[:axis])
    for i, size in enumerate(before):
        if size == after[axis] and math.prod(before[:i]) == outer:
            return at.through(node, i)
    return None


def _mul(at: _Absorber, node: NodeProto, axis: int) -> Absorption | None:
    """Into a constant factor, or into one of the two."""
    if at.is_integer(node) or node.input[0] == node.input[1]:
        return None
    for position in (0, 1):
        if at.graph.constant(node.input[position]) is not None:
            return _operand(at, node, axis, position)
    found = (_operand(at, node, axis, position) for position in (0, 1))
    return next((item for item in found if item is not None), None)


def _add(at: _Absorber, node: NodeProto, axis: int) -> Absorption | None:
    """Into both of the terms."""
    is_bias = any(node is kernel.bias_add for kernel in at.placement.kernels.values())
    if (at.is_integer(node) and not is_bias) or node.input[0] == node.input[1]:
        return None
    both = [_operand(at, node, axis, position) for position in (0, 1)]
    return None if both[0] is None or both[1] is None else both[0].add(both[1])


def _operand(at: _Absorber, node: NodeProto, axis: int, position: int) -> Absorption | None:
    """One operand of a node that broadcasts."""
    name, whole = node.input[position], at.graph.shape(node.output[0])
    shape = at.graph.shape(name)
    if shape is None or whole is None:
        return None
    if at.graph.constant(name) is not None:
        return Absorption(divided={(node.name, position): Place(axis, len(whole))})
    if len(shape) != len(whole) or shape[axis] != whole[axis]:
        return None
    return at.through(node, axis, position)


def _layer_normalization(at: _Absorber, node: NodeProto, axis: int) -> Absorption | None:
    """Into gain and shift."""
    rank = len(at.graph.shape(node.output[0]) or ())
    affine = [i for i in (1, 2) if i < len(node.input) and node.input[i]]
    if axis != rank - 1 or attribute(node, "axis", -1) not in (-1, rank - 1):
        return None
    if any(at.graph.constant(node.input[i]) is None for i in affine):
        return None
    return Absorption(divided={(node.name, i): Place(0, 1) for i in affine})


_WAYS: dict[str, Callable[[_Absorber, NodeProto, int], Absorption | None]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul"), _layer),
    **dict.fromkeys(("Relu", "LeakyRelu", "Identity"), _same),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize"), _window),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Clip": _clip,
    "PRelu": _prelu,
    "Pad": _pad,
    "Transpose": _transpose,
    "Mul": _mul,
    "Add": _add,
    "LayerNormalization": _layer_normalization,
}
