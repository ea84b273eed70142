"""Constants that are added or multiplied, folded into the layer before or behind, or into one another.

- into the layer before: also through nodes that only arrange or pick values (a scale of the queries of an attention),
  and positive factors through a Relu
- into the layers behind, where all readers are layers: factors always; shifts where the layer puts no zeros around
- a constant after a constant: one
"""

from __future__ import annotations

import math

import numpy as np
from onnx import NodeProto

from edgec.onnx_graph.canonicalization.layers import Layer, layer_at, layer_of, per_channel
from edgec.onnx_graph.canonicalization.no_effect import LAYOUTS, MOST_INDICES
from edgec.onnx_graph.canonicalization.workpiece import Rewrite, Workpiece, constant_operand, instead_of, make
from edgec.onnx_graph.graph import attribute
from edgec.onnx_graph.operators import STANDARD

PICKS = frozenset({*LAYOUTS, "Slice", "Split"})
HOMOGENEOUS = frozenset({"Relu", "LeakyRelu"})

EVEN = 8.0
"""Largest over smallest factor of the input channels that weights may take. INT8 weights have one scale for each output
channel; channels that a factor makes small there would be left with few steps."""


def _constant_step(work: Workpiece, node: NodeProto) -> tuple[str, np.ndarray] | None:
    """The varying input and the constant of an Add or Mul that leaves the shape as it is."""
    if node.op_type not in ("Add", "Mul") or node.domain not in STANDARD:
        return None
    operands = constant_operand(work, node)
    if operands is None or work.shape(operands[0]) is None:
        return None
    if work.shape(operands[0]) != work.shape(node.output[0]) or not work.is_float(operands[0]):
        return None
    value = work.constant(operands[1])
    return None if value is None or not np.isfinite(value).all() else (operands[0], value)


# --- into the layer before ---


def into_layer_before(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """The layer with the constant that `node` adds to, or multiplies, what it puts out."""
    step = _constant_step(work, node)
    if step is None:
        return None
    tensor, value = step
    direct = layer_of(work, tensor)
    if direct is not None and work.only_reader(tensor) is not None and direct.add is not node:
        shape = work.shape(tensor) or ()
        values = per_channel(value, shape, direct.axis)
        if values is None or (direct.node.op_type == "MatMul" and direct.add is None and node.op_type == "Add"):
            return None
        changed = _with(work, direct, node.op_type, values, node.output[0])
        return Rewrite({**changed, node.name: ()}, direct.node.name)
    found = _through(work, node, tensor, value)
    return None if found is None else _ending_as(work, node, tensor, *found)


def _ending_as(
    work: Workpiece, node: NodeProto, tensor: str, replaced: dict[str, tuple[NodeProto, ...]], into: str
) -> Rewrite:
    """Leave `node` out: what makes `tensor`, which only `node` reads, makes its output from now on."""
    maker = work.producer[tensor]
    renamed = NodeProto()
    renamed.CopyFrom(maker)
    renamed.output[list(maker.output).index(tensor)] = node.output[0]
    return Rewrite({maker.name: (renamed,), **replaced, node.name: ()}, into)


def scaled_scores(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """A scalar that multiplies a product of two activations, into the layer that makes one of them."""
    step = _constant_step(work, node)
    if step is None or node.op_type != "Mul" or step[1].size != 1:
        return None
    tensor, value = step
    scores = work.private(tensor, "MatMul")
    if scores is None or any(work.is_constant(name) for name in scores.input) or len(set(scores.input)) < 2:
        return None
    for operand in scores.input:
        if work.only_reader(operand) is not None:
            found = _through(work, node, operand, value.reshape(()), also_direct=True)
            if found is not None:
                return _ending_as(work, node, tensor, *found)
    return None


def _with(work: Workpiece, layer: Layer, op: str, values: np.ndarray, output: str = "") -> dict:  # type: ignore[type-arg]
    """The replacements of a layer whose output is multiplied by, or gets added, one value a channel."""
    bias = np.zeros(layer.channels, np.float32) if layer.bias is None else layer.bias
    if op == "Add":
        return layer.changed(work, None, bias + values, output)
    new_bias = None if layer.bias is None else bias * values
    return layer.changed(work, layer.times_outputs(values), new_bias, output)


def _through(
    work: Workpiece, node: NodeProto, tensor: str, value: np.ndarray, *, also_direct: bool = False
) -> tuple[dict[str, tuple[NodeProto, ...]], str] | None:
    """Fold through nodes that arrange and pick values, and through a Relu: the replacements, and the layer's name."""
    path: list[NodeProto] = []
    at = tensor
    while (layer := layer_of(work, at)) is None or (layer.add is not None and layer.add.name == node.name):
        maker = work.made_by(at, *PICKS, *HOMOGENEOUS)
        if maker is None or at in work.exposed:
            return None
        if maker.op_type in HOMOGENEOUS and (node.op_type != "Mul" or (value <= 0).any()):
            return None
        path.insert(0, maker)
        at = maker.input[0]
    if at in work.exposed or not (path or also_direct):
        return None
    if layer.node.op_type == "MatMul" and layer.add is None and node.op_type == "Add":
        return None
    shape = work.shape(at)
    if shape is None or 0 in shape or math.prod(shape) > MOST_INDICES:
        return None
    channels = np.arange(layer.channels, dtype=np.int32).reshape(
        [-1 if i == layer.axis else 1 for i in range(len(shape))]
    )
    numbers = np.broadcast_to(channels, shape)
    outputs = [*(item.input[0] for item in path), tensor]
    for place, name in enumerate(outputs):  # whoever else reads on the way must read other channels
        following = path[place] if place < len(path) else None
        if following is None:
            if not also_direct and work.only_reader(name) is None:
                return None
            break
        others = [reader for reader in work.readers(name) if reader.name != following.name]
        for reader in others:
            for output in reader.output:
                seen = _picked(work, reader, output, numbers)
                if seen is None or np.intersect1d(seen, _final(work, path[place:], outputs[place + 1 :], numbers)).size:
                    return None
        picked = _picked(work, following, outputs[place + 1], numbers)
        if picked is None:
            return None
        if following.op_type == "Split" and not _apart(work, following, outputs[place + 1], numbers):
            return None
        numbers = picked
    if value.ndim > numbers.ndim:
        return None
    spread = np.broadcast_to(value, numbers.shape)
    values = np.full(layer.channels, 1.0 if node.op_type == "Mul" else 0.0, np.float32)
    values[numbers.ravel()] = spread.ravel()
    if not (values[numbers] == spread).all():
        return None
    return _with(work, layer, node.op_type, values), layer.node.name


def _final(work: Workpiece, path: list[NodeProto], outputs: list[str], numbers: np.ndarray) -> np.ndarray:
    """The channels that reach the end of a path."""
    for node, output in zip(path, outputs, strict=True):
        found = _picked(work, node, output, numbers)
        if found is None:
            return numbers
        numbers = found
    return np.unique(numbers)


def _apart(work: Workpiece, split: NodeProto, output: str, numbers: np.ndarray) -> bool:
    """Whether the outputs of a Split other than `output` hold other channels."""
    own = _picked(work, split, output, numbers)
    for name in split.output:
        if name and name != output and (work.readers(name) or name in work.exposed):
            other = _picked(work, split, name, numbers)
            if own is None or other is None or np.intersect1d(own, other).size:
                return False
    return True


def _picked(work: Workpiece, node: NodeProto, output: str, numbers: np.ndarray) -> np.ndarray | None:
    """The numbers of the elements that a node puts out; None when it does more than arrange and pick."""
    shape = work.shape(output)
    if shape is None or node.domain not in STANDARD:
        return None
    if node.op_type in HOMOGENEOUS:
        return numbers
    if node.op_type == "Transpose":
        return numbers.transpose(attribute(node, "perm", list(reversed(range(numbers.ndim)))))
    if node.op_type in LAYOUTS:
        return numbers.reshape(shape)
    if node.op_type == "Slice":
        return _sliced(work, node, numbers)
    if node.op_type == "Split":
        axis = attribute(node, "axis", 0) % numbers.ndim
        start = 0
        for name in node.output:
            size = (work.shape(name) or (0,) * numbers.ndim)[axis]
            if name == output:
                return np.take(numbers, range(start, start + size), axis=axis)
            start += size
    return None


def _sliced(work: Workpiece, node: NodeProto, numbers: np.ndarray) -> np.ndarray | None:
    parts = [work.integers(name) if name else None for name in node.input[1:]]
    starts, ends = parts[0], parts[1]
    if (
        starts is None
        or ends is None
        or any(name and part is None for name, part in zip(node.input[1:], parts, strict=True))
    ):
        return None
    axes = parts[2] if len(parts) > 2 and parts[2] is not None else list(range(len(starts)))
    steps = parts[3] if len(parts) > 3 and parts[3] is not None else [1] * len(starts)
    if any(step <= 0 for step in steps):
        return None
    index = [slice(None)] * numbers.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = slice(start, end, step)
    return numbers[tuple(index)]


# --- into the layers behind ---


def into_layers_behind(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """The layers that read what `node` multiplies by, or adds, with that constant in their weights and biases."""
    step = _constant_step(work, node)
    if step is None or node.output[0] in work.exposed:
        return None
    tensor, value = step
    readers = work.readers(node.output[0])
    layers = [layer_at(work, reader) for reader in readers]
    shape = work.shape(tensor) or ()
    if not layers or len(shape) < 2:
        return None
    replaced: dict[str, tuple[NodeProto, ...]] = {node.name: ()}
    plans: list[tuple[Layer, np.ndarray]] = []
    for layer in layers:
        if layer is None or layer.node.op_type == "ConvTranspose" or layer.node.input[0] != node.output[0]:
            return None
        values = per_channel(value, shape, 1 if layer.node.op_type == "Conv" else len(shape) - 1)
        if values is None:
            return None
        if node.op_type == "Mul" and (not values.all() or np.abs(values).max() > EVEN * np.abs(values).min()):
            return None
        if node.op_type == "Add" and (layer.padded or (layer.node.op_type == "MatMul" and layer.add is None)):
            return None
        plans.append((layer, values))
    for layer, values in plans:
        if node.op_type == "Mul":
            replaced.update(layer.changed(work, layer.times_inputs(values), None))
        else:
            bias = np.zeros(layer.channels) if layer.bias is None else layer.bias
            replaced.update(layer.changed(work, None, bias + layer.of_inputs(values)))
    for layer, _ in plans:
        for new in replaced[layer.node.name]:
            new.input[0] = tensor
    places = {item.name: place for place, item in enumerate(work.nodes)}
    first = min((layer.node.name for layer, _ in plans), key=lambda name: places[name])
    return Rewrite(replaced, first)


def factor_last(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """s x + b before layers that take a factor but no shift, because they put zeros around: (x + b / s) and then s."""
    step = _constant_step(work, node)
    if step is None or node.op_type != "Add" or step[1].size != 1 or node.output[0] in work.exposed:
        return None
    scaled = work.private(step[0], "Mul")
    inner = None if scaled is None else _constant_step(work, scaled)
    if scaled is None or inner is None or inner[1].size != 1 or not inner[1].all():
        return None
    layers = [layer_at(work, reader) for reader in work.readers(node.output[0])]
    if not layers or any(
        layer is None or layer.node.op_type != "Conv" or layer.node.input[0] != node.output[0] for layer in layers
    ):
        return None
    with np.errstate(over="ignore"):
        shift = (step[1].astype(np.float64) / inner[1]).astype(np.float32)
    if not np.isfinite(shift).all():
        return None
    moved = work.tensor(f"{node.name}/moved", work.shape(inner[0]), np.dtype(np.float32))
    constants = (
        work.floats(f"{node.name}/shift", shift.reshape(())),
        work.floats(f"{node.name}/factor", inner[1].reshape(())),
    )
    return Rewrite(
        {
            scaled.name: (make("Add", [inner[0], constants[0]], [moved], node.name),),
            node.name: (make("Mul", [moved, constants[1]], node.output, scaled.name),),
        },
        node.name,
    )


# --- into one another ---


def merged_constants(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """Mul after Mul, Add after Add, and Mul after Add after Mul: one of each."""
    step = _constant_step(work, node)
    if step is None:
        return None
    tensor, value = step
    before = work.private(tensor, "Add", "Mul")
    inner = None if before is None else _constant_step(work, before)
    if before is None or inner is None:
        return None
    if before.op_type == node.op_type:
        both = inner[1] * value if node.op_type == "Mul" else inner[1] + value
        if both.size > max(inner[1].size, value.size):
            return None
        constant = work.floats(f"{node.name}/merged", both)
        return instead_of([before], node, make(node.op_type, [inner[0], constant], node.output, node.name))
    first = work.private(inner[0], "Mul") if node.op_type == "Mul" else None
    deepest = None if first is None else _constant_step(work, first)
    if first is None or deepest is None:
        return None
    factor, shift = deepest[1] * value, inner[1] * value
    if factor.size > max(deepest[1].size, value.size) or shift.size > max(inner[1].size, value.size):
        return None
    scaled = work.tensor(f"{node.name}/scaled", work.shape(tensor), np.dtype(np.float32))
    by, plus = work.floats(f"{node.name}/factor", factor), work.floats(f"{node.name}/shift", shift)
    return instead_of(
        [first, before],
        node,
        make("Mul", [deepest[0], by], [scaled], first.name),
        make("Add", [scaled, plus], node.output, node.name),
    )
