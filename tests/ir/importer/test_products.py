"""Products compute what ONNX Runtime computes, and keep constants stored as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto

from edgec.errors import UnsupportedOp
from edgec.ir.graph import Graph
from edgec.ir.kinds import Conv2D, Dequantize, FullyConnected, TransposeConv2D
from edgec.ir.reference.executor import execute
from tests.ir.importer.comparison import agree, assert_same_as_onnxruntime, imported, labels, model_of, node, random

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 7, 6), (4, 3, 3, 2), {}),
    "strides": ((1, 3, 9, 8), (4, 3, 3, 3), {"strides": [2, 3]}),
    "dilations": ((1, 3, 9, 8), (4, 3, 3, 2), {"dilations": [2, 3]}),
    "pads": ((1, 3, 5, 6), (4, 3, 3, 3), {"pads": [1, 2, 0, 1]}),
    "same upper": ((1, 3, 7, 8), (4, 3, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 3, 7, 8), (4, 3, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ((1, 3, 7, 8), (4, 3, 4, 3), {"auto_pad": "VALID"}),
    "groups": ((1, 6, 5, 5), (8, 3, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    "depthwise": ((1, 4, 5, 5), (4, 1, 3, 3), {"group": 4}),
    "depthwise, two a channel": ((1, 3, 5, 5), (6, 1, 3, 3), {"group": 3}),
    "all at once": (
        (2, 4, 11, 10), (6, 2, 3, 2), {"group": 2, "strides": [2, 1], "dilations": [1, 2], "pads": [2, 0, 1, 3]}
    ),
    "1-D": ((2, 3, 9), (4, 3, 3), {}),
    "1-D, all at once": ((1, 4, 12), (6, 2, 3), {"group": 2, "strides": [2], "dilations": [2], "pads": [2, 1]}),
    "1-D same": ((1, 4, 11), (6, 4, 4), {"auto_pad": "SAME_UPPER", "strides": [3]}),
}  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv(case: str, bias: bool) -> None:
    shape, weights, attributes = CONVOLUTIONS[case]
    constants = {"w": random(*weights), **({"b": random(weights[0])} if bias else {})}
    graph = agree(node("Conv", ["x", *constants], **attributes), {"x": shape}, constants)
    assert len([operation for operation in graph.operations if isinstance(operation.kind, Conv2D)]) == 1


TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 5, 4), (3, 4, 3, 2), {}),
    "strides": ((1, 3, 5, 4), (3, 4, 3, 2), {"strides": [2, 3]}),
    "pads": ((1, 3, 5, 4), (3, 4, 4, 3), {"strides": [2, 2], "pads": [1, 2, 0, 1]}),
    "output padding": ((1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2, 3], "output_padding": [1, 2]}),
    "padding of both kinds": (
        (1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2, 3], "output_padding": [1, 2], "pads": [1] * 4}
    ),
    "dilations": ((1, 3, 5, 4), (3, 4, 3, 2), {"dilations": [2, 3]}),
    "output shape": ((1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2, 2], "output_shape": [10, 8]}),
    "output shape, upper": (
        (1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2, 2], "output_shape": [10, 8], "auto_pad": "SAME_UPPER"}
    ),
    "output shape, lower": (
        (1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2, 2], "output_shape": [10, 8], "auto_pad": "SAME_LOWER"}
    ),
    "larger output shape": ((1, 3, 5, 4), (3, 4, 3, 3), {"strides": [3, 3], "output_shape": [17, 13]}),
    "same upper": ((1, 3, 5, 4), (3, 4, 3, 4), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same lower": ((1, 3, 5, 4), (3, 4, 3, 4), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "groups": ((1, 6, 5, 4), (6, 2, 3, 3), {"group": 3, "strides": [2, 2]}),
    "depthwise": ((1, 4, 5, 4), (4, 1, 2, 2), {"group": 4, "strides": [2, 2]}),
    "1-D": ((2, 3, 5), (3, 4, 3), {"strides": [2], "pads": [1, 0], "output_padding": [1]}),
    "1-D groups": ((1, 4, 5), (4, 3, 3), {"group": 2, "strides": [3]}),
}  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", TRANSPOSED)
def test_conv_transpose(case: str, bias: bool) -> None:
    shape, weights, attributes = TRANSPOSED[case]
    channels = weights[1] * attributes.get("group", 1)
    constants = {"w": random(*weights), **({"b": random(channels)} if bias else {})}
    item = node("ConvTranspose", ["x", *constants], **attributes)
    graph = agree(item, {"x": shape}, constants)
    assert len([operation for operation in graph.operations if isinstance(operation.kind, TransposeConv2D)]) == 1


def test_a_bias_that_is_computed_is_added() -> None:
    item = node("Conv", ["x", "w", "b"])
    graph = agree(item, {"x": (1, 3, 5, 5), "b": (4,)}, {"w": random(4, 3, 3, 3)})
    assert "add" in labels(graph)


def test_what_cannot_be_convolved_is_refused_with_a_reason() -> None:
    computed = model_of(node("Conv", ["x", "w"]), {"x": (1, 3, 5, 5), "w": (4, 3, 3, 3)})
    with pytest.raises(UnsupportedOp, match="weights are computed at run time"):
        imported(computed)
    volume = model_of(node("Conv", ["x", "w"]), {"x": (1, 3, 5, 5, 5)}, {"w": random(4, 3, 3, 3, 3)})
    with pytest.raises(UnsupportedOp, match="3 spatial dimensions"):
        imported(volume)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("beta", [1.0, 2.0, 0.0])
@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("c", [None, (), (1,), (5,), (1, 5), (4, 1), (4, 5)])
@pytest.mark.parametrize("constant", ["b, c", "b", "c", ""])
def test_gemm(alpha: float, beta: float, trans_a: int, trans_b: int, c: tuple[int, ...] | None, constant: str) -> None:
    shapes = {"a": (3, 4) if trans_a else (4, 3), "b": (5, 3) if trans_b else (3, 5)}
    if c is not None:
        shapes["c"] = c
    constants = {name: random(*shape) for name, shape in shapes.items() if name in constant}
    inputs = {name: shape for name, shape in shapes.items() if name not in constants}
    item = node("Gemm", list(shapes), alpha=alpha, beta=beta, transA=trans_a, transB=trans_b)
    graph = agree(item, inputs, constants)
    assert ("FullyConnected" if "b" in constant else "BatchMatMul") in labels(graph)


def test_a_bias_of_one_row_is_part_of_the_product() -> None:
    constants = {"b": random(3, 5), "c": random(1, 5)}
    graph = imported(model_of(node("Gemm", ["a", "b", "c"]), {"a": (4, 3)}, constants))
    assert labels(graph) == ["FullyConnected"]


MATRICES = [
    ((4, 3), (3, 5)), ((2, 4, 3), (3, 5)), ((2, 6, 4, 3), (3, 5)), ((3,), (3, 5)), ((4, 3), (3,)), ((3,), (3,)),
    ((2, 4, 3), (3,)), ((3,), (2, 3, 5)), ((2, 4, 3), (2, 3, 5)), ((2, 4, 3), (1, 3, 5)), ((4, 3), (2, 3, 5)),
    ((4, 3), (1, 1, 3, 5)), ((6, 1, 4, 3), (2, 3, 5)), ((1, 4, 3), (2, 3, 5)),
]  # fmt: skip


@pytest.mark.parametrize("constant", ["", "a", "b"])
@pytest.mark.parametrize(("a", "b"), MATRICES)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...], constant: str) -> None:
    shapes = {"a": a, "b": b}
    constants = {constant: random(*shapes.pop(constant))} if constant else {}
    graph = agree(node("MatMul", ["a", "b"]), shapes, constants)
    one_matrix = constant == "b" and int(np.prod(b[:-2])) == 1
    assert ("FullyConnected" if one_matrix else "BatchMatMul") in labels(graph)


EQUATIONS = [
    ("ij,jk->ik", (4, 3), (3, 5)), ("ij,kj->ik", (4, 3), (5, 3)), ("bij,bjk->bik", (2, 4, 3), (2, 3, 5)),
    ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)), ("bihd,bjhd->bhij", (2, 4, 3, 5), (2, 6, 3, 5)),
    ("bij,jk", (2, 4, 3), (3, 5)), ("i,j->ij", (4,), (3,)), ("i,i->", (4,), (4,)), ("abc,cd->abd", (2, 3, 4), (4, 5)),
    ("abcd,acde->abe", (2, 3, 4, 5), (2, 4, 5, 6)), ("ij,k->j", (4, 3), (5,)), ("ij->ji", (4, 3), None),
    ("ij->", (4, 3), None), ("bchw,c->bhw", (2, 3, 4, 5), (3,)), ("...ij,...jk->...ik", (2, 6, 4, 3), (2, 6, 3, 5)),
    ("...ij,...jk", (2, 4, 3), (2, 3, 5)), ("...ij,jk->...ik", (2, 6, 4, 3), (3, 5)), ("...ij->...ji", (2, 4, 3), None),
]  # fmt: skip


@pytest.mark.parametrize("constant", ["", "b"])
@pytest.mark.parametrize(("equation", "a", "b"), EQUATIONS)
def test_einsum(equation: str, a: tuple[int, ...], b: tuple[int, ...] | None, constant: str) -> None:
    shapes = {"a": a, **({"b": b} if b is not None else {})}
    operands = list(shapes)
    constants = {"b": random(*shapes.pop("b"))} if constant and b is not None else {}
    agree(node("Einsum", operands, equation=equation), shapes, constants)


@pytest.mark.parametrize(("a", "b"), [((6, 2, 4, 3), (2, 5, 3)), ((4, 3), (2, 5, 3))])
def test_ellipses_of_several_lengths(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """ONNX Runtime refuses one of these and crashes on the other: numpy is what they must equal."""
    equation = "...ij,...kj->...ik"
    graph = imported(model_of(node("Einsum", ["a", "b"], equation=equation), {"a": a, "b": b}))
    feeds = {"a": random(*a), "b": random(*b)}
    np.testing.assert_allclose(execute(graph, feeds)["y"], np.einsum(equation, *feeds.values()), atol=1e-6)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("ii->i", [(3, 3)]), ("i,i,i->i", [(3,), (3,), (3,)])],
)
def test_other_equations_are_refused(equation: str, shapes: list[tuple[int, ...]]) -> None:
    inputs = {f"x{i}": shape for i, shape in enumerate(shapes)}
    with pytest.raises(UnsupportedOp, match="no product of one or two tensors"):
        imported(model_of(node("Einsum", list(inputs), equation=equation), inputs))


# --- constants that are stored smaller ---


def _int8(data: np.ndarray, axis: int) -> dict[str, np.ndarray]:
    """An initializer `w` as int8, with a scale for each index along `axis`."""
    axes = tuple(i for i in range(data.ndim) if i != axis)
    scales = (np.abs(data).max(axis=axes) / 127).astype(np.float32)
    along = [1] * data.ndim
    along[axis] = -1
    values = np.rint(data / scales.reshape(along)).astype(np.int8)
    return {"w8": values, "s": scales, "z": np.zeros(scales.shape, np.int8)}


def _with_int8_weights(product: NodeProto, shape: tuple[int, ...], weights: np.ndarray, axis: int) -> onnx.ModelProto:
    nodes = [node("DequantizeLinear", ["w8", "s", "z"], ["w"], axis=axis), product]
    return model_of(nodes, {"x": shape}, _int8(weights, axis))


def _stored_weights(graph: Graph) -> tuple[int, ...]:
    """The shape of the int8 constant that the graph's only Dequantize reads, whose scales lie along dimension 0."""
    (maker,) = [operation for operation in graph.operations if isinstance(operation.kind, Dequantize)]
    of = graph.type(maker.inputs[0])
    assert of.dtype == "int8" and of.quantization is not None and of.quantization.axis == 0
    assert graph.constant(maker.inputs[0]) is not None
    return of.shape


INT8 = {
    "Conv": ((1, 6, 5, 5), (8, 3, 3, 2), 0, {"group": 2}, (8, 3, 2, 3)),
    "Conv 1-D": ((1, 6, 5), (8, 3, 3), 0, {"group": 2}, (8, 1, 3, 3)),
    "ConvTranspose": ((1, 3, 5, 5), (3, 4, 3, 2), 1, {}, (4, 3, 2, 3)),
    "ConvTranspose groups": ((1, 6, 5, 5), (6, 4, 3, 2), 1, {"group": 2}, (8, 3, 2, 3)),
    "ConvTranspose 1-D": ((1, 3, 5), (3, 4, 3), 1, {}, (4, 1, 3, 3)),
    "MatMul": ((2, 4, 3), (3, 5), 1, {}, (5, 3)),
    "Gemm": ((4, 3), (3, 5), 1, {}, (5, 3)),
    "Gemm transposed": ((4, 3), (5, 3), 0, {"transB": 1}, (5, 3)),
}


@pytest.mark.parametrize("case", INT8)
def test_int8_weights_stay_int8_in_the_order_of_the_kind(case: str) -> None:
    shape, weights, axis, attributes, expected = INT8[case]
    item = node(case.split(maxsplit=1)[0], ["x", "w"], **attributes)
    graph = assert_same_as_onnxruntime(_with_int8_weights(item, shape, random(*weights), axis))
    assert _stored_weights(graph) == expected


@pytest.mark.parametrize(
    "moves",
    [
        [node("Transpose", ["w0"], ["w"], perm=[1, 0])],
        [node("Transpose", ["w0"], ["w1"], perm=[1, 0]), node("Reshape", ["w1", "shape"], ["w"])],
    ],
)
def test_int8_weights_that_are_moved_about_stay_int8(moves: list[NodeProto]) -> None:
    constants = _int8(random(5, 3), 0) | {"shape": np.array([1, 3, 5])}
    nodes = [node("DequantizeLinear", ["w8", "s", "z"], ["w0"], axis=0), *moves, node("MatMul", ["x", "w"])]
    graph = agree(nodes, {"x": (1, 4, 3)}, constants)
    assert labels(graph) == ["Dequantize", "FullyConnected"]
    assert _stored_weights(graph) == (5, 3)


def test_float16_weights_stay_float16() -> None:
    nodes = [node("Cast", ["w16"], ["w"], to=onnx.TensorProto.FLOAT), node("Conv", ["x", "w"])]
    constants = {"w16": random(4, 3, 3, 3).astype(np.float16)}
    graph = agree(nodes, {"x": (1, 3, 5, 5)}, constants)
    (product,) = [operation for operation in graph.operations if isinstance(operation.kind, Conv2D)]
    stored = graph.producers()[product.inputs[1]].inputs[0]
    assert graph.type(stored).dtype == "float16" and graph.type(stored).shape == (4, 3, 3, 3)


def test_a_constant_that_two_nodes_read_is_arranged_once() -> None:
    nodes = [
        node("DequantizeLinear", ["w8", "s", "z"], ["w"], axis=1),
        node("MatMul", ["x", "w"], ["h"]),
        node("MatMul", ["h", "w"], ["y"]),
    ]
    graph = agree(nodes, {"x": (4, 3)}, _int8(random(3, 3), 1))
    assert _stored_weights(graph) == (3, 3)
    assert [operation.kind for operation in graph.operations[-2:]] == [FullyConnected(), FullyConnected()]
