"""Why a layer of a model that came quantized does not compute in INT8: one rule for each reason, with a remedy.

The rules hold for every backend: INT8 kernels multiply an activation of 8 bits, with one scale, by symmetric int8
weights with one scale for each output channel (or by a second activation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from edgec.onnx_graph.graph import MAC_OPS, Graph, attribute

_SHARED = ("Concat", "MaxPool", "Reshape", "Transpose", "Slice", "Pad", "Resize")


@dataclass(frozen=True)
class Objection:
    """Why one node is not computed in INT8, and what would make it so."""

    node: str
    op: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class _Operand:
    """One operand of a product. dequantize: the node that makes it, None where it is float."""

    graph: Graph
    node: NodeProto
    position: int
    dequantize: NodeProto | None

    @property
    def is_weight(self) -> bool:
        return self.dequantize is not None and self.dequantize.input[0] in self.graph.initializers

    @property
    def what(self) -> str:
        return "its weights" if self.is_weight else f"its {('first', 'second')[self.position]} operand"

    @property
    def has(self) -> str:
        return "have" if self.is_weight else "has"


def objections(graph: Graph, wide: bool = False) -> list[Objection]:
    """For every product (Conv, ConvTranspose, Gemm, MatMul) that is not plain INT8: the first reason.

    wide: int16 activations are no reason either, as kernels are concerned that multiply them with int8 weights.
    """
    found = []
    for node in graph.nodes:
        if node.op_type not in MAC_OPS:
            continue
        first = next(_against(graph, node, wide), None)
        if first is not None:
            found.append(Objection(node.name, node.op_type, *first))
    return found


def _against(graph: Graph, node: NodeProto, wide: bool) -> Iterator[tuple[str, str]]:
    operands = [_operand(graph, node, index) for index in range(2)]
    if all(operand.dequantize is None for operand in operands):
        yield "the model's author left it in float", "Quantize it in training, or build the float model with edgec."
        return
    for operand in operands:
        for rule in RULES:
            text = rule(operand)
            if text is not None and not (wide and rule is of_other_width and _is_wide(operand)):
                yield text
    if all(operand.is_weight for operand in operands):
        yield "both of its operands are constants", "Fold it before the model is exported."


def _operand(graph: Graph, node: NodeProto, position: int) -> _Operand:
    maker = graph.producer.get(node.input[position])
    return _Operand(graph, node, position, maker if maker is not None and maker.op_type == "DequantizeLinear" else None)


Found = tuple[str, str] | None


def in_float(operand: _Operand) -> Found:
    if operand.dequantize is not None:
        return None
    return (
        f"{operand.what} has no QuantizeLinear and DequantizeLinear before it",
        "Insert a quantizer there in training, or quantize the float model with edgec.",
    )


def of_other_width(operand: _Operand) -> Found:
    kind = None if operand.dequantize is None else operand.graph.dtype(operand.dequantize.input[0])
    if kind is None or str(kind) in ("int8", "uint8"):
        return None
    return (f"{operand.what} {operand.has} the type {kind}", "Quantize it to 8 bits.")


def _is_wide(operand: _Operand) -> bool:
    kind = None if operand.dequantize is None else operand.graph.dtype(operand.dequantize.input[0])
    return str(kind) == "int16" and not operand.is_weight


def in_blocks(operand: _Operand) -> Found:
    if operand.dequantize is None or not attribute(operand.dequantize, "block_size", 0):
        return None
    return (
        f"{operand.what} {operand.has} a scale for each block of values",
        "Quantize with one scale for each output channel.",
    )


def with_scales_of_run_time(operand: _Operand) -> Found:
    if operand.dequantize is None:
        return None
    if all(operand.graph.constant(name) is not None for name in operand.dequantize.input[1:] if name):
        return None
    return (
        f"the scale of {operand.what} is computed at run time (dynamic quantization)",
        "Build the float model with --calib for fixed scales, or with --precision int8-weights.",
    )


def per_channel_activation(operand: _Operand) -> Found:
    scale = _scale(operand)
    if operand.is_weight or scale is None or scale.size == 1:
        return None
    return (f"{operand.what} has {scale.size} scales, one for each channel", "Quantize activations with one scale.")


def asymmetric_weights(operand: _Operand) -> Found:
    if not operand.is_weight or operand.dequantize is None or len(operand.dequantize.input) < 3:
        return None
    zero = operand.graph.constant(operand.dequantize.input[2])
    middle = 128 if zero is not None and zero.dtype == np.uint8 else 0
    if zero is None or (zero.astype(np.int64) == middle).all():
        return None
    return ("its weights have zero points other than 0", "Quantize weights symmetrically.")


def weights_along_another_axis(operand: _Operand) -> Found:
    scale = _scale(operand)
    if not operand.is_weight or operand.dequantize is None or scale is None or scale.size == 1:
        return None
    rank = len(operand.graph.shape(operand.dequantize.input[0]) or ())
    axis = int(attribute(operand.dequantize, "axis", 1)) % max(rank, 1)
    if axis == _channels(operand, rank):
        return None
    return (f"the scales of its weights lie along axis {axis}, not along its output channels", "Quantize per channel.")


RULES: tuple[Callable[[_Operand], Found], ...] = (
    in_float,
    of_other_width,
    in_blocks,
    with_scales_of_run_time,
    per_channel_activation,
    asymmetric_weights,
    weights_along_another_axis,
)


def unlike_grids(graph: Graph) -> list[str]:
    """Names of nodes that only move values, between grids that differ: some engines compute such a node in float."""

    def grid(name: str, node: NodeProto | None, op: str) -> tuple[float, int] | None:
        if node is None or node.op_type != op or len(node.input) < 3:
            return None
        values = [graph.constant(each) for each in node.input[1:3]]
        if any(value is None or value.size != 1 for value in values):
            return None
        return float(values[0].reshape(())), int(values[1].reshape(()))  # type: ignore[union-attr]

    found = []
    for node in graph.nodes:
        if node.op_type not in _SHARED:
            continue
        before = {grid(name, graph.producer.get(name), "DequantizeLinear") for name in node.input if name}
        after = {grid(node.output[0], each, "QuantizeLinear") for each in graph.consumers.get(node.output[0], [])}
        known = (before | after) - {None}
        if before - {None} and after - {None} and len(known) > 1:
            found.append(str(node.name))
    return found


def _scale(operand: _Operand) -> np.ndarray | None:
    return None if operand.dequantize is None else operand.graph.constant(operand.dequantize.input[1])


def _channels(operand: _Operand, rank: int) -> int:
    """The axis of the output channels of a product's weights."""
    op, position = operand.node.op_type, operand.position
    if op == "Conv":
        return 0
    if op == "ConvTranspose":
        return 1
    if op == "Gemm":
        flipped = bool(attribute(operand.node, ("transA", "transB")[position], 0))
        return 1 if (position == 1) != flipped else 0
    return rank - 1 if position == 1 else rank - 2
