"""Lossless rewrites of models that came quantized, into the form that edgec writes itself.

Each rule changes a model in place, returns the names of the nodes that it replaced, and leaves every value that the
model computes as it was. What no rule can bring into that form is named by `edgec.quantization.given_legality`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto

from edgec.onnx_graph.graph import MAC_OPS, Graph, attribute
from edgec.quantization.given_edit import QDQ, Edit
from edgec.quantization.given_operators import casts_back_and_forth, operators_to_pairs

MOVERS = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "Slice", "Identity", "DepthToSpace"}
)
"""Operators of one tensor that choose among its values, so that what they give lies on the same grid."""

_PARAMETERS = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
}
"""Where scales and zero points stand."""


@dataclass(frozen=True)
class Rewrite:
    """What one rule did: its name for people, and the nodes that it replaced."""

    rule: str
    nodes: tuple[str, ...]


def rewritten(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[Rewrite]]:
    """A copy of `model` in edgec's own form, as far as that is possible without loss; and what was done to it."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.value_info[:]  # says which tensors are uint8; what it knows can be inferred again
    done = []
    for name, rule in RULES.items():
        nodes = rule(changed)
        if nodes:
            done.append(Rewrite(name, tuple(nodes)))
    return changed, done


def single_values_to_scalars(model: onnx.ModelProto) -> list[str]:
    """Scales and zero points of one element, in tensors of rank 1, as scalars: they hold for the whole tensor."""
    edit = Edit(model)
    scalars: dict[str, str] = {}
    changed = []
    for node in edit.graph.nodes:
        for index in _PARAMETERS.get(node.op_type, ()):
            name = node.input[index] if index < len(node.input) else ""
            value = edit.graph.constant(name) if name else None
            if value is None or value.size != 1 or value.ndim == 0 or _per_channel_of_one(edit.graph, node):
                continue
            if name not in scalars:
                scalars[name] = edit.constant(f"{name}_scalar", value.reshape(()))
            node.input[index] = scalars[name]
            changed.append(node.name)
        edit.keep(node)
    edit.finish()
    return list(dict.fromkeys(changed))


def _per_channel_of_one(graph: Graph, node: NodeProto) -> bool:
    """Blocked scales have the rank of the tensor and an attribute: they are no single values."""
    return bool(attribute(node, "block_size", 0))


def constants_quantized(model: onnx.ModelProto) -> list[str]:
    """QuantizeLinear of a constant, as the integers that it gives."""
    edit = Edit(model)
    for node in edit.graph.nodes:
        value = edit.graph.constant(node.input[0]) if node.op_type == "QuantizeLinear" else None
        integers = _quantized(edit.graph, node, value) if value is not None else None
        if integers is None or node.output[0] in edit.exposed:
            edit.keep(node)
        else:
            edit.rename(node, edit.constant(f"{node.output[0]}_folded", integers))
    return edit.finish()


def _quantized(graph: Graph, node: NodeProto, value: np.ndarray) -> np.ndarray | None:
    """The result of a QuantizeLinear of a constant to 8 bits; None where its parameters are not plain."""
    scale = graph.constant(node.input[1])
    zero = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros((), np.uint8)
    if scale is None or zero is None or zero.dtype not in (np.int8, np.uint8) or attribute(node, "block_size", 0):
        return None
    axis = int(attribute(node, "axis", 1)) % max(value.ndim, 1)
    shape = [-1 if i == axis else 1 for i in range(value.ndim)]
    spread, offset = (item.reshape(shape) if item.ndim else item for item in (scale, zero))
    limits = np.iinfo(zero.dtype)
    steps = np.rint(value.astype(np.float32) / spread) + offset.astype(np.float32)
    integers: np.ndarray = np.clip(steps, limits.min, limits.max).astype(zero.dtype)
    return integers


def unsigned_to_signed(model: onnx.ModelProto) -> list[str]:
    """uint8 values and zero points, each less 128: int8, the same reals.

    Of tensors that only DequantizeLinear reads: activations that QuantizeLinear makes, and constants.
    """
    edit = Edit(model)
    graph = edit.graph
    shifted: dict[str, str] = {}
    changed = []

    def signed(name: str) -> str:
        if name not in shifted:
            value = graph.constant(name)
            assert value is not None
            shifted[name] = edit.constant(f"{name}_int8", (value.astype(np.int16) - 128).astype(np.int8))
        return shifted[name]

    tensors = [(node, {"QuantizeLinear": node.output[0], "DequantizeLinear": node.input[0]}) for node in graph.nodes]
    wanted = {id(node): name for node, pair in tensors if (name := pair.get(node.op_type)) and _shiftable(edit, name)}
    for node in graph.nodes:
        if quantized := wanted.get(id(node)):
            if len(node.input) < 3:
                node.input.append("")
            old = node.input[2] or edit.constant(f"{quantized}_zero", np.zeros((), np.uint8))
            if old in graph.initializers:
                node.input[2] = signed(old)
            else:
                node.input[2] = edit.constant(f"{quantized}_zero_int8", np.array(-128, np.int8))
            if node.op_type == "DequantizeLinear" and quantized in graph.initializers:
                node.input[0] = signed(quantized)
            for item in node.attribute:
                if item.name == "output_dtype" and node.op_type == "QuantizeLinear":
                    item.i = onnx.TensorProto.INT8
            changed.append(node.name)
        edit.keep(node)
    edit.finish()
    return changed


def _shiftable(edit: Edit, tensor: str) -> bool:
    """Whether all that make and read a uint8 tensor are Q and DQ nodes with constant zero points."""
    graph = edit.graph
    if tensor in edit.exposed or graph.dtype(tensor) != np.uint8:
        return False
    nodes = list(graph.consumers.get(tensor, []))
    if tensor not in graph.initializers:
        maker = graph.producer.get(tensor)
        if maker is None or maker.op_type != "QuantizeLinear":
            return False
        nodes.append(maker)
    for node in nodes:
        known = len(node.input) < 3 or not node.input[2] or node.input[2] in graph.initializers
        reads_it_as_values = node.op_type == "QuantizeLinear" or list(node.input).index(tensor) == 0
        if node.op_type not in QDQ or not known or not reads_it_as_values:
            return False
    return True


def pairs_on_pairs(model: onnx.ModelProto) -> list[str]:
    """QuantizeLinear of what DequantizeLinear gives with the same parameters: the integers themselves."""
    edit = Edit(model)
    for node in edit.graph.nodes:
        inner = edit.graph.producer.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if inner is not None and inner.op_type == "DequantizeLinear" and same_grid(edit.graph, node, inner):
            edit.rename(node, inner.input[0])
        else:
            edit.keep(node)
    return edit.finish()


def same_grid(graph: Graph, first: NodeProto, second: NodeProto) -> bool:
    """Whether two Q or DQ nodes have one scale and zero point for the whole tensor, of the same type and value."""
    if len(first.input) < 3 or len(second.input) < 3 or not first.input[2] or not second.input[2]:
        return False
    pairs = [[graph.constant(node.input[i]) for node in (first, second)] for i in (1, 2)]
    return all(
        a is not None and b is not None and a.size == b.size == 1 and a.dtype == b.dtype and a.ravel() == b.ravel()
        for a, b in pairs
    )


def weights_transposed(model: onnx.ModelProto) -> list[str]:
    """A Transpose of dequantized weights: the integers transposed, the scales' axis with them."""
    edit = Edit(model)
    graph = edit.graph
    for node in graph.nodes:
        inner = graph.producer.get(node.input[0]) if node.op_type == "Transpose" else None
        value = graph.constant(inner.input[0]) if inner is not None and inner.op_type == "DequantizeLinear" else None
        if inner is None or value is None or node.output[0] in edit.exposed or attribute(inner, "block_size", 0):
            edit.keep(node)
            continue
        order = list(attribute(node, "perm", list(range(value.ndim))[::-1]))
        integers = edit.constant(f"{inner.input[0]}_transposed", np.ascontiguousarray(value.transpose(order)))
        axis = order.index(int(attribute(inner, "axis", 1)) % value.ndim)
        several = bool(graph.shape(inner.input[1]))
        inputs = [integers, *inner.input[1:]]
        name = edit.names.fresh(f"{node.output[0]}_weights")
        edit.rename(node, edit.add("DequantizeLinear", inputs, name, **({"axis": axis} if several else {})))
    return edit.finish()


def grids_carried_to_products(model: onnx.ModelProto) -> list[str]:
    """A pair of its own for a product's operand that only passed through operators which move values.

    DequantizeLinear -> Reshape -> Conv becomes DequantizeLinear -> Reshape -> QuantizeLinear -> DequantizeLinear ->
    Conv: the values lie on that grid already, so the pair changes none of them.
    """
    edit = Edit(model)
    made: dict[str, str] = {}
    changed = []
    for node in edit.graph.nodes:
        sources = [_moved_from(edit.graph, name) for name in node.input[:2]] if node.op_type in MAC_OPS else []
        makers = [edit.graph.producer.get(name) for name in node.input[:2]]
        plain = [maker is not None and maker.op_type == "DequantizeLinear" for maker in makers]
        for index, source in enumerate(sources):
            if source is None or not (plain[1 - index] or sources[1 - index] is not None):
                continue
            name = node.input[index]
            if name not in made:
                grid = list(source.input[1:3])
                integers = edit.add("QuantizeLinear", [name, *grid], edit.names.fresh(f"{name}_quantized"))
                made[name] = edit.add("DequantizeLinear", [integers, *grid], edit.names.fresh(f"{name}_dequantized"))
            node.input[index] = made[name]
            changed.append(node.name)
        edit.keep(node)
    edit.finish()
    return list(dict.fromkeys(changed))


def _moved_from(graph: Graph, name: str) -> NodeProto | None:
    """The DequantizeLinear, with one 8-bit grid, whose values reach `name` through movers; None when there is none."""
    node = graph.producer.get(name)
    if node is None or node.op_type not in MOVERS:
        return None
    while node is not None and node.op_type in MOVERS:
        node = graph.producer.get(node.input[0])
    if node is None or node.op_type != "DequantizeLinear" or len(node.input) < 3 or not same_grid(graph, node, node):
        return None
    return node if graph.dtype(node.input[0]) in (np.dtype(np.int8), np.dtype(np.uint8)) else None


def biases_to_int32(model: onnx.ModelProto) -> list[str]:
    """A float bias that is a whole number of steps (the input's scale times the weights') as int32 and a pair."""
    edit = Edit(model)
    changed = []
    for node in edit.graph.nodes:
        if node.op_type in ("Conv", "Gemm", "ConvTranspose") and len(node.input) > 2 and node.input[2]:
            found = _integer_bias(edit.graph, node)
            if found is not None:
                steps, scales = found
                name = node.input[2]
                inputs = [edit.constant(f"{name}_quantized", steps), edit.constant(f"{name}_scale", scales)]
                axis = {"axis": 0} if scales.ndim else {}
                target = edit.names.fresh(f"{name}_dequantized")
                node.input[2] = edit.add("DequantizeLinear", inputs, target, **axis)
                changed.append(node.name)
        edit.keep(node)
    edit.finish()
    return changed


def _integer_bias(graph: Graph, node: NodeProto) -> tuple[np.ndarray, np.ndarray] | None:
    """int32 steps and float32 scales that give a float bias exactly; None when there are none."""
    bias = graph.constant(node.input[2])
    makers = [graph.producer.get(name) for name in node.input[:2]]
    if bias is None or bias.dtype != np.float32 or bias.ndim != 1:
        return None
    scales = [graph.constant(m.input[1]) for m in makers if m is not None and m.op_type == "DequantizeLinear"]
    if len(scales) != 2 or scales[0] is None or scales[1] is None or scales[0].size != 1:
        return None
    if scales[1].size not in (1, bias.size):
        return None
    product = np.asarray(scales[0].reshape(()) * scales[1], np.float32)
    steps = np.rint(bias.astype(np.float64) / product)
    if np.abs(steps).max(initial=0) > 2**31 - 1:
        return None
    integers = steps.astype(np.int32)
    exact = (integers.astype(np.float32) * product == bias).all()
    return (integers, product) if exact else None


RULES: dict[str, Callable[[onnx.ModelProto], list[str]]] = {
    "single values as scalars": single_values_to_scalars,
    "integer operators as pairs": operators_to_pairs,
    "casts of whole numbers": casts_back_and_forth,
    "quantized constants": constants_quantized,
    "uint8 as int8": unsigned_to_signed,
    "pairs on pairs": pairs_on_pairs,
    "transposed weights": weights_transposed,
    "grids carried to products": grids_carried_to_products,
    "biases as int32": biases_to_int32,
}
"""In their order: each may count on what those before it left."""
