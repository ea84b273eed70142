"""Models in the operator-oriented form, as pairs of QuantizeLinear and DequantizeLinear around float operators.

    QLinearConv, QLinearMatMul      DequantizeLinear -> Conv or MatMul -> QuantizeLinear
    ConvInteger, MatMulInteger      DequantizeLinear of scale 1 -> Conv or MatMul -> Cast

Both say the same (the ONNX specification defines the former by the latter's arithmetic), but only pairs are what
backends know. The integers behind a QLinear operator may differ by one where a sum falls on the middle between two
steps: one engine scales int32 sums, another float ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from edgec.onnx_graph.graph import Graph
from edgec.quantization.given_edit import Edit

OPERATORS = frozenset({"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"})
"""What quantized models are made of beside QuantizeLinear and DequantizeLinear."""


def operators_to_pairs(model: onnx.ModelProto) -> list[str]:
    """Rewrite all of them in place (DynamicQuantizeLinear stays); returns the names of the nodes that are gone."""
    edit = Edit(model)
    for node in edit.graph.nodes:
        rule = _RULES.get(node.op_type)
        if rule is None:
            edit.keep(node)
        else:
            rule(edit, node)
    return edit.finish()


def _qlinear_conv(edit: Edit, node: NodeProto) -> None:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = node.input
    operands = [edit.dequantized(x, x_scale, x_zero), edit.dequantized(w, w_scale, w_zero, axis=0)]
    if bias and bias[0]:
        scales = [edit.graph.constant(name) for name in (x_scale, w_scale)]
        if scales[0] is None or scales[1] is None:
            edit.keep(node)
            return
        product = edit.constant(f"{bias[0]}_scale", np.asarray(scales[0].reshape(-1)[0] * scales[1], np.float32))
        operands.append(edit.dequantized(bias[0], product, "", axis=0))
    edit.replace(node, "Conv", operands, (y_scale, y_zero))


def _qlinear_matmul(edit: Edit, node: NodeProto) -> None:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.input
    left = edit.dequantized(a, a_scale, a_zero, axis=-2)
    right = edit.dequantized(b, b_scale, b_zero, axis=-1)
    edit.replace(node, "MatMul", [left, right], (y_scale, y_zero))


def _conv_integer(edit: Edit, node: NodeProto) -> None:
    _integer(edit, node, "Conv", (1, 0))


def _matmul_integer(edit: Edit, node: NodeProto) -> None:
    _integer(edit, node, "MatMul", (-2, -1))


def _integer(edit: Edit, node: NodeProto, op: str, axes: tuple[int, int]) -> None:
    """int32 sums as float32 ones: exact up to 2^24, and what every reader makes of them next in the usual pattern."""
    zeros = [*node.input[2:], "", ""]
    ones = []
    for index in range(2):
        zero = edit.graph.constant(zeros[index]) if zeros[index] else None
        channels = zero.size if zero is not None and zero.ndim else 0
        value = np.ones(channels, np.float32) if channels else np.float32(1)
        ones.append(edit.constant(f"{node.name}_one", np.asarray(value)))
    operands = [edit.dequantized(node.input[i], ones[i], zeros[i], axis=axes[i]) for i in range(2)]
    edit.replace(node, op, operands, None, cast=TensorProto.INT32)


_RULES: dict[str, Callable[[Edit, NodeProto], None]] = {
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "ConvInteger": _conv_integer,
    "MatMulInteger": _matmul_integer,
}


def casts_back_and_forth(model: onnx.ModelProto) -> list[str]:
    """Cast to int32 and back to float32 of what is whole anyhow: the float goes straight through.

    Only for sums that `operators_to_pairs` wrote: they are products of whole numbers.
    """
    graph = Graph(model)
    edit = Edit(model)
    for node in edit.graph.nodes:
        inner = graph.producer.get(node.input[0]) if node.op_type == "Cast" else None
        whole = inner is not None and inner.op_type == "Cast" and inner.name.endswith(Edit.WHOLE)
        if whole and inner is not None and graph.dtype(node.output[0]) == np.float32:
            edit.rename(node, inner.input[0])
        else:
            edit.keep(node)
    return edit.finish()
