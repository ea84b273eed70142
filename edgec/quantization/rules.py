"""How each operator is quantized: the table that placement follows.

The rules are those of the TensorFlow Lite 8-bit quantization specification, because it is the strictest of the
dialects that edgec lowers to: whatever is legal there can be expressed in all others. An operator that is not in the
table has no INT8 kernel there, stays in float32, and is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from onnx import NodeProto

from edgec.onnx_graph.graph import MAC_OPS, Graph, attribute
from edgec.quantization.qparams import QParams

Check = Callable[[Graph, NodeProto], str | None]
"""Why a node that its rule would cover must stay in float; None when nothing is against it."""


class Kind(Enum):
    """What an INT8 kernel does with scales."""

    MAC = "multiplies and accumulates in int32 with int8 weights, then rescales"
    ARITHMETIC = "computes with its operands' scales and rescales to a scale of its own"
    TIED = "leaves the integers as they are: inputs and outputs share one scale and zero point"
    INDEX = "reads integers and gives positions, which have no scale"


@dataclass(frozen=True)
class Rule:
    """How one operator is quantized.

    data: positions of the inputs that are tensors of values; None means all. Other inputs (shapes, axes, limits) are
        left alone.
    output: scale and zero point that the kernel prescribes for its output, whatever the data says.
    moves: the output's elements are elements of the inputs (and constants on the grid), so that a saturating consumer
        may look through this node, and quantizing before or after it is the same.
    check: what else must hold.
    """

    kind: Kind
    data: tuple[int, ...] | None = (0,)
    output: QParams | None = None
    moves: bool = False
    check: Check | None = None

    def inputs(self, node: NodeProto) -> list[int]:
        """Positions of the value tensors that `node` really has."""
        positions = range(len(node.input)) if self.data is None else self.data
        return [i for i in positions if i < len(node.input) and node.input[i]]


def _constant_weights(graph: Graph, node: NodeProto) -> str | None:
    weights = graph.constant(node.input[1])
    if weights is None:
        return "its weights are computed at run time; INT8 needs them as constants"
    if not np.isfinite(weights).all():
        return "its weights hold values that are not finite"
    return _constant_bias(graph, node)


def _constant_bias(graph: Graph, node: NodeProto) -> str | None:
    if len(node.input) > 2 and node.input[2]:
        bias = graph.constant(node.input[2])
        if bias is None:
            return "its bias is computed at run time; INT8 needs it as a constant"
        if not np.isfinite(bias).all():
            return "its bias holds values that are not finite"
    return None


def _gemm(graph: Graph, node: NodeProto) -> str | None:
    if reason := _constant_weights(graph, node):
        return reason
    plain = (("alpha", 1.0), ("beta", 1.0), ("transA", 0))
    if any(attribute(node, name, default) != default for name, default in plain):
        return "its alpha, beta or transA could not be folded into its constants"
    if len(node.input) > 2 and node.input[2]:
        bias, weights = graph.constant(node.input[2]), graph.constant(node.input[1])
        assert bias is not None and weights is not None
        units = weights.shape[0 if attribute(node, "transB", 0) else 1]
        if bias.size not in (1, units) or (bias.ndim and bias.shape[-1] != bias.size):
            return "its third operand is a matrix; only one value per output unit is a bias"
    return None


def _matmul(graph: Graph, node: NodeProto) -> str | None:
    constants = [graph.constant(name) for name in node.input]
    if all(value is not None for value in constants):
        return "both operands are constants"
    if any(value is not None and not np.isfinite(value).all() for value in constants):
        return "its weights hold values that are not finite"
    return None


def _resize(_: Graph, node: NodeProto) -> str | None:
    mode = attribute(node, "mode", "nearest")
    if mode not in ("nearest", "linear"):
        return f"resizing with mode {mode!r} overshoots the range of its input"
    if attribute(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return "cropping while resizing has no INT8 kernel"
    if attribute(node, "antialias", 0):
        return "resizing with antialiasing has no INT8 kernel"
    return None


def _pad(graph: Graph, node: NodeProto) -> str | None:
    if len(node.input) > 2 and node.input[2] and graph.constant(node.input[2]) is None:
        return "the value it pads with is computed at run time"
    return None


def _single_output(graph: Graph, node: NodeProto) -> str | None:
    used = [name for name in node.output[1:] if name in graph.consumers or name in graph.outputs]
    return "its second output (indices) has no INT8 kernel" if used else None


def _constant_limits(graph: Graph, node: NodeProto) -> str | None:
    if any(name and graph.constant(name) is None for name in node.input[1:]):
        return "its limits are computed at run time"
    return None


def _finite_operands(graph: Graph, node: NodeProto) -> str | None:
    for name in node.input:
        value = graph.constant(name)
        if value is not None and value.dtype == np.float32 and not np.isfinite(value).all():
            return f"its operand {name!r} holds values that are not finite"
    return None


MAC_INT8 = Rule(Kind.MAC, (0,), check=_constant_weights)
BINARY = Rule(Kind.ARITHMETIC, (0, 1), check=_finite_operands)
UNARY = Rule(Kind.ARITHMETIC)
MOVE = Rule(Kind.TIED, moves=True)
POOL = Rule(Kind.TIED)

PROBABILITY = QParams(1 / 256, -128)
"""[0, 1) in steps of 1/256: what LOGISTIC and SOFTMAX prescribe."""

RULES: dict[str, Rule] = {
    # --- multiply and accumulate ---
    "Conv": MAC_INT8,
    "ConvTranspose": MAC_INT8,
    "Gemm": Rule(Kind.MAC, (0,), check=_gemm),
    "MatMul": Rule(Kind.MAC, (0, 1), check=_matmul),
    # --- arithmetic with a scale of its own ---
    "Add": BINARY,
    "Sub": BINARY,
    "Mul": BINARY,
    "PRelu": BINARY,
    "Relu": UNARY,
    "LeakyRelu": UNARY,
    "Elu": UNARY,
    "Abs": UNARY,
    "Gelu": UNARY,
    "HardSwish": UNARY,
    "Clip": Rule(Kind.ARITHMETIC, check=_constant_limits),
    "ReduceMean": UNARY,
    "ReduceSum": UNARY,
    "GlobalAveragePool": UNARY,  # becomes MEAN, which may rescale; AVERAGE_POOL_2D may not
    # --- arithmetic with a prescribed output ---
    "Sigmoid": Rule(Kind.ARITHMETIC, output=PROBABILITY),
    "Softmax": Rule(Kind.ARITHMETIC, output=PROBABILITY),
    "LogSoftmax": Rule(Kind.ARITHMETIC, output=QParams(16 / 256, 127)),
    "Tanh": Rule(Kind.ARITHMETIC, output=QParams(1 / 128, 0)),
    "HardSigmoid": Rule(Kind.ARITHMETIC, output=QParams(1 / 255, -128)),  # unlike a sigmoid it does reach 1
    # --- one scale for inputs and outputs ---
    "AveragePool": POOL,
    "MaxPool": Rule(Kind.TIED, moves=True, check=_single_output),
    "GlobalMaxPool": MOVE,
    "ReduceMax": MOVE,
    "ReduceMin": MOVE,
    "Max": Rule(Kind.TIED, None, moves=True, check=_finite_operands),
    "Min": Rule(Kind.TIED, None, moves=True, check=_finite_operands),
    "Concat": Rule(Kind.TIED, None, moves=True, check=_finite_operands),
    "Resize": Rule(Kind.TIED, check=_resize),
    "Pad": Rule(Kind.TIED, moves=True, check=_pad),
    "Gather": Rule(Kind.TIED, moves=True, check=_finite_operands),
    "Identity": MOVE,
    "Reshape": MOVE,
    "Transpose": MOVE,
    "Flatten": MOVE,
    "Squeeze": MOVE,
    "Unsqueeze": MOVE,
    "Slice": MOVE,
    "Split": MOVE,
    "Expand": MOVE,
    "Tile": MOVE,
    "DepthToSpace": MOVE,
    "SpaceToDepth": MOVE,
    # --- positions ---
    "ArgMax": Rule(Kind.INDEX),
    "ArgMin": Rule(Kind.INDEX),
}

FUSED_ACTIVATIONS = ("Relu", "Clip")
"""Activations that a kernel applies to its accumulator before it rounds: quantizing in between would lose a bit."""

FUSES_ACTIVATION = frozenset({*MAC_OPS, "Add", "Sub", "Mul"})


def rule_for(node: NodeProto) -> Rule | None:
    """The rule of a node; None when its operator (or its domain) has none."""
    return RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None


def objection(graph: Graph, node: NodeProto) -> str | None:
    """Why `node` can't be quantized, in words for the user; None when it can."""
    rule = rule_for(node)
    if rule is None:
        domain = f" of domain {node.domain!r}" if node.domain not in ("", "ai.onnx") else ""
        return f"there is no INT8 kernel for {node.op_type}{domain}"
    names = [node.input[i] for i in rule.inputs(node)]
    if rule.kind is not Kind.INDEX:
        names += [name for name in node.output if name]
    if any(not graph.is_float(name) for name in names if graph.dtype(name) is not None):
        return "it does not compute in float32"
    if any(0 in (graph.shape(name) or ()) for name in names):
        return "one of its tensors is empty"
    if all(graph.constant(name) is not None for name in node.input if name):
        return "all its operands are constants"
    return rule.check(graph, node) if rule.check else None
