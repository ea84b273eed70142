"""Observation inside the ONNX graph: full activations never leave ONNX Runtime.

Behind each observed tensor stand a few small nodes that reduce it while it is still in the cache: its maximum and
minimum per channel, means, and a sample of its elements on a fixed grid. Pooling operators do most of it because ONNX
Runtime has them in the blocked NCHWc layout that it gives to convolutions on x86; any other operator would force a copy
of the whole tensor back to NCHW. What the nodes find is concatenated, so that a run returns a handful of arrays.

Two things keep it cheap:
- Most probes soon have nothing more to find. After the first run minima and maxima go where a Relu or Clip has already
  shown its bound; after some more runs the means go.
- ONNX Runtime would run probes late, when their tensor has left the cache and its memory could have been reused. What
  is run is therefore the graph that ONNX Runtime optimized, with each probe moved right behind the tensor it reads.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgec.onnx_graph.dependence import reads
from edgec.quantization.observers import Observed

SAMPLE = "sample"
MAXIMUM = "maximum"
MINIMUM = "minimum"
MEAN = "mean"
PROFILE = "profile"
WHOLE = "whole"

CONCATENATED = (SAMPLE, MAXIMUM, MINIMUM, MEAN)
"""Kinds whose pieces have a static shape and arrive as one vector a kind."""

_PREFIX = "edgec_probe/"
_BLOCK = 16  # channels of ONNX Runtime's blocked layout; concatenating along channels stays in it for multiples only
_LEAST_GRID = 2  # positions along a spatial axis: one on the border, one inside


@dataclass(frozen=True)
class Piece:
    """What one probe finds: an array of `shape`, a part of a group's output. `axis`: spatial axis of a profile."""

    tensor: str
    shape: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True)
class Group:
    """Pieces of one kind, concatenated along `axis` into the graph output `output`."""

    kind: str
    output: str
    axis: int
    pieces: tuple[Piece, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the output."""
        shape = list(self.pieces[0].shape)
        shape[self.axis] = sum(piece.shape[self.axis] for piece in self.pieces)
        return tuple(shape)

    @property
    def size(self) -> int:
        """The number of elements of the output."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Findings:
    """What the probes found on one run.

    vectors: for each kind in CONCATENATED, the outputs of all its groups, flattened and put end to end.
    loose: the outputs of all other groups, by the group's position.
    """

    vectors: Mapping[str, npt.NDArray[np.float32]]
    loose: Mapping[int, npt.NDArray[np.float32]]


def grid_steps(shape: tuple[int, ...], wanted: int) -> tuple[int, int]:
    """Strides (rows, columns) of a sampling grid over [N, C, H, W] that leaves about `wanted` elements, or all of them.

    They are odd, so that a pattern of period two (an upsampled image) is seen in all its phases.
    """
    side = max(_LEAST_GRID, math.ceil(math.sqrt(wanted / (shape[0] * shape[1]))))
    height, width = shape[2:]
    return _odd_step(height, side), _odd_step(width, side)


def _odd_step(extent: int, points: int) -> int:
    """The odd step that leaves about `points` of `extent`, at least two."""
    step = math.ceil(extent / points)
    step += step % 2 == 0
    return step if step < extent else max(1, step - 2)


def flat_step(elements: int, wanted: int) -> int:
    """Distance of samples in a flattened tensor that leaves at least `wanted` elements (or all); odd where above 1."""
    step = max(1, elements // wanted)
    return step - (step % 2 == 0)


def can_pool(tensor: Observed) -> bool:
    """Whether pooling probes serve the tensor best: [N, C, H, W] in the blocked layout, with a spatial extent."""
    shape = tensor.shape
    return tensor.is_blocked and shape is not None and tensor.channel_axis == 1 and shape[2] * shape[3] > 1


def instrument(opset: int, tensors: list[Observed], wanted: int) -> tuple[ModelProto, list[Group]]:
    """Probes for all of `tensors`, and what their outputs hold.

    opset: of the model that they are for. tensors: what to observe, without aliases. wanted: elements of a tensor's
    sample per run.

    The probes are a fragment of a model: nodes, constants and outputs that are to be added to those of the model.
    """
    builder = _Builder(opset, wanted)
    groups = builder.build(tensors)
    return builder.fragment, groups


class _Builder:
    def __init__(self, opset: int, wanted: int) -> None:
        self.fragment = ModelProto()
        self._graph = self.fragment.graph
        self._opset = opset
        self._wanted = wanted
        self._groups: dict[tuple[object, ...], list[tuple[str, Piece]]] = {}
        self._constants: dict[tuple[int, ...], str] = {}
        self._count = 0

    def build(self, tensors: list[Observed]) -> list[Group]:
        for tensor in tensors:
            if tensor.shape is None:
                self._add(WHOLE, self._flatten(tensor.name), Piece(tensor.name, ()))
            elif can_pool(tensor):
                self._pool(tensor, tensor.shape)
            else:
                self._reduce(tensor, tensor.shape)
        return [self._finish(key, members) for key, members in self._groups.items()]

    def _pool(self, tensor: Observed, shape: tuple[int, ...]) -> None:
        """Probes in the blocked layout; their pieces are [N, C, ...]."""
        name, (batch, channels, height, width) = tensor.name, shape
        per_channel = Piece(name, (batch, channels, 1, 1))
        rows, columns = grid_steps(shape, self._wanted)
        grid = self._node("AveragePool", [name], kernel_shape=[1, 1], strides=[rows, columns])
        self._add(SAMPLE, grid, Piece(name, (batch, channels, -(-height // rows), -(-width // columns))))
        self._add(MAXIMUM, self._node("GlobalMaxPool", [name]), per_channel)
        self._add(MINIMUM, self._over("ReduceMin", name, (2, 3), keep=True), per_channel)
        if tensor.is_mac_input and not tensor.needs_profile:  # a profile's mean is the mean
            self._add(MEAN, self._node("GlobalAveragePool", [name]), per_channel)
        if tensor.needs_profile:
            for axis, window in ((0, [1, width]), (1, [height, 1])):
                means = self._node("AveragePool", [name], kernel_shape=window)
                extent = (height, 1) if axis == 0 else (1, width)
                self._add(PROFILE, means, Piece(name, (batch, channels, *extent), axis))

    def _reduce(self, tensor: Observed, shape: tuple[int, ...]) -> None:
        """Probes for any other shape; their pieces have one dimension."""
        name, axis = tensor.name, tensor.channel_axis
        flat = self._flatten(name)
        step = flat_step(tensor.elements, self._wanted)
        if step > 1:
            limits = [self._constant(value) for value in ((0,), (tensor.elements,), (0,), (step,))]
            self._add(SAMPLE, self._node("Slice", [flat, *limits]), Piece(name, (-(-tensor.elements // step),)))
        else:
            self._add(SAMPLE, flat, Piece(name, (tensor.elements,)))
        source, axes = (flat, (0,)) if axis is None else (name, tuple(i for i in range(len(shape)) if i != axis))
        per_channel = Piece(name, (tensor.channels,))
        wanted = [(MAXIMUM, "ReduceMax"), (MINIMUM, "ReduceMin")]
        if tensor.is_mac_input and not tensor.needs_profile:
            wanted.append((MEAN, "ReduceMean"))
        for kind, op in wanted:
            self._add(kind, self._over(op, source, axes, keep=axis is None), per_channel)
        if tensor.needs_profile:
            for spatial in range(2, len(shape)):
                others = tuple(i for i in range(len(shape)) if i not in (1, spatial))
                means = self._over("ReduceMean", name, others)
                self._add(PROFILE, means, Piece(name, (shape[1], shape[spatial]), spatial - 2))

    def _add(self, kind: str, found: str, piece: Piece) -> None:
        rank = len(piece.shape)
        if kind in (PROFILE, WHOLE):
            key: tuple[object, ...] = (kind, found)
        elif rank == 4:
            key = (kind, piece.shape[0], piece.shape[2:], piece.shape[1] % _BLOCK == 0)
        else:
            key = (kind,)
        self._groups.setdefault(key, []).append((found, piece))

    def _finish(self, key: tuple[object, ...], members: list[tuple[str, Piece]]) -> Group:
        kind, pieces = str(key[0]), tuple(piece for _, piece in members)
        axis = 1 if len(pieces[0].shape) == 4 else 0
        output = members[0][0]
        if kind not in (PROFILE, WHOLE):
            output = self._node("Concat", [found for found, _ in members], axis=axis)
        self._graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
        return Group(kind, output, axis, pieces)

    def _node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{_PREFIX}{self._count}"
        self._count += 1
        self._graph.node.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def _over(self, op: str, name: str, axes: tuple[int, ...], keep: bool = False) -> str:
        """A reduction; its axes are an attribute before opset 18 and an input since."""
        if not axes:
            return name
        if self._opset >= 18:
            return self._node(op, [name, self._constant(axes)], keepdims=int(keep))
        return self._node(op, [name], axes=list(axes), keepdims=int(keep))

    def _flatten(self, name: str) -> str:
        return self._node("Reshape", [name, self._constant((-1,))])

    def _constant(self, values: tuple[int, ...]) -> str:
        if values not in self._constants:
            name = f"{_PREFIX}constant/{len(self._constants)}"
            self._graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
            self._constants[values] = name
        return self._constants[values]


def slim(
    model: ModelProto,
    groups: Sequence[Group],
    outputs: Collection[str],
    settled: Mapping[str, Collection[str]],
    means: bool,
) -> list[Group]:
    """Make the lean graph of an optimized instrumented one (changed in place); returns the groups that it still has.

    outputs: of the original model. settled: for MINIMUM and MAXIMUM, the tensors where it is known for good. means:
        whether the probes of means stay.
    """
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    kept = []
    for group in groups:
        pieces = group.pieces
        if group.kind in settled:
            stays = [i for i, piece in enumerate(pieces) if piece.tensor not in settled[group.kind]]
            pieces = _drop(producer, group, stays)
        if pieces and (means or group.kind not in (MEAN, PROFILE)):
            kept.append(Group(group.kind, group.output, group.axis, pieces))
    wanted = {*outputs, *(group.output for group in kept)}
    infos = [info for info in graph.output if info.name in wanted]
    del graph.output[:]
    graph.output.extend(infos)
    nodes = _needed(list(graph.node), wanted)
    del graph.node[:]
    graph.node.extend(nodes)
    return kept


def _drop(producer: Mapping[str, NodeProto], group: Group, stays: list[int]) -> tuple[Piece, ...]:
    """Take all inputs but those at `stays` from the node that concatenates a group; returns the pieces that are left.

    ONNX Runtime may have put the way out of the blocked layout behind it, which knows the number of channels.
    """
    last = producer[group.output]
    concat = producer[last.input[0]] if last.op_type == "ReorderOutput" else last
    if concat.op_type != "Concat" or len(concat.input) != len(group.pieces):
        return group.pieces if stays else ()  # optimized into something else: it works as it is
    inputs = [concat.input[i] for i in stays]
    del concat.input[:]
    concat.input.extend(inputs)
    pieces = tuple(group.pieces[i] for i in stays)
    for item in last.attribute:
        if last is not concat and item.name == "channels":
            item.i = sum(piece.shape[1] for piece in pieces)
    return pieces


def order(model: ModelProto, outputs: Collection[str]) -> None:
    """Move each probe right behind the last node of the model that it depends on; `model` is changed in place."""
    nodes = list(model.graph.node)
    main = {id(node) for node in _needed(nodes, set(outputs))}
    position: dict[str, int] = {}
    keys = []
    for index, node in enumerate(nodes):
        place = index
        if id(node) not in main:
            place = max((position.get(name, -1) for name in node.input), default=-1)
        position.update((name, place) for name in node.output)
        keys.append((place, id(node) not in main, index))
    del model.graph.node[:]
    model.graph.node.extend(nodes[index] for _, _, index in sorted(keys))


def _needed(nodes: list[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """Those of `nodes` (in topological order) that the tensors `wanted` depend on."""
    needed, names = [], set(wanted)
    for node in reversed(nodes):
        if names.intersection(node.output):
            needed.append(node)
            names.update(reads(node))
    return needed[::-1]
