"""Conv, ConvTranspose, Gemm, MatMul and Einsum.

Weights are constants; those that are stored as integers or float16 stay so, in the order of dimensions that the kinds
have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from edgec.ir.importer.handlers import imports
from edgec.ir.importer.node import NodeImport
from edgec.ir.importer.spatial import (
    add_on_image,
    explicit_pads,
    padding,
    spatial_attribute,
    spatial_sizes,
    split_padding,
    to_image,
    two,
    windows,
)
from edgec.ir.inference import result_types
from edgec.ir.kinds import BatchMatMul, Binary, Conv2D, FullyConnected, Reduce, Reshape, Transpose, TransposeConv2D

# --- convolutions ---


@imports("Conv")
def _conv(item: NodeImport) -> None:
    item.require_float(0, 1, 2)
    sizes = spatial_sizes(item, 0)
    weights = _convolution_weights(item)
    found = windows(item, item.type(item.operand(1)).shape[2:])
    kind = Conv2D(
        two(found.stride),
        two(found.dilation),
        padding(found.before, found.after),
        int(item.attribute("group", 1)),
    )
    _convolve(item, kind, item.permuted(weights, (0, 2, 3, 1), "ohwi"), 2 + len(sizes))


@imports("ConvTranspose")
def _conv_transpose(item: NodeImport) -> None:
    item.require_float(0, 1, 2)
    sizes = spatial_sizes(item, 0)
    rank = len(sizes)
    groups = int(item.attribute("group", 1))
    kernel = item.type(item.operand(1)).shape[2:]
    stride = spatial_attribute(item, "strides", rank)
    dilation = spatial_attribute(item, "dilations", rank)
    after = list(spatial_attribute(item, "output_padding", rank, 0))
    wanted = item.attribute("output_shape")
    automatic = item.attribute("auto_pad", "NOTSET")
    begin, end = explicit_pads(item, rank) if automatic == "NOTSET" else ([0] * rank, [0] * rank)
    if wanted is None and automatic in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * step for size, step in zip(sizes, stride, strict=True)]
    if wanted is not None:
        for i, size in enumerate(list(wanted)[-rank:]):
            reached = (sizes[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 + after[i]
            # Of an odd number of rows that are cut off, only SAME_UPPER takes the larger part from the end.
            order = "SAME_UPPER" if automatic == "SAME_UPPER" else "SAME_LOWER"
            begin[i], end[i] = split_padding(max(reached - size, 0), order)
            after[i] += max(size - reached, 0)
    kind = TransposeConv2D(two(stride), two(dilation), padding(begin, end), two(after, 0), groups)
    weights = _convolution_weights(item)
    rows, columns = item.type(weights).shape[2:]

    def by_output(data: np.ndarray) -> np.ndarray:
        grouped = data.reshape(groups, data.shape[0] // groups, data.shape[1], rows, columns)
        return grouped.transpose(0, 2, 3, 4, 1).reshape(groups * data.shape[1], rows, columns, -1)

    _convolve(item, kind, item.arranged(weights, by_output, f"ohwi{groups}"), 2 + rank)


def _convolution_weights(item: NodeImport) -> str:
    """The second operand, which must be constant, with two spatial dimensions."""
    weights = item.operand(1)
    if not item.is_stored(weights):
        item.refuse(
            "its weights are computed at run time",
            "Export the model with constant weights; a product of two computed tensors can be a MatMul.",
        )
    if item.type(weights).rank == 4:
        return weights
    return item.arranged(weights, lambda data: data[:, :, None, :], "row")


def _convolve(item: NodeImport, kind: Conv2D | TransposeConv2D, weights: str, rank: int) -> None:
    operands = [to_image(item, item.operand(0)), weights]
    if not item.has(2) or item.is_stored(item.operand(2)):
        add_on_image(item, kind, [*operands, item.operand(2)] if item.has(2) else operands, rank)
        return
    product = item.add(kind, operands, item.between("product"))
    add_on_image(item, Binary("add"), [product, item.operand(2)], rank)


# --- matrices ---


@imports("Gemm")
def _gemm(item: NodeImport) -> None:
    item.require_float(0, 1, 2)
    alpha, beta = float(item.attribute("alpha", 1.0)), float(item.attribute("beta", 1.0))
    a, b = item.operand(0), item.operand(1)
    transpose_a, transpose_b = bool(item.attribute("transA", 0)), bool(item.attribute("transB", 0))
    result = item.outputs[0]
    addend = item.operand(2) if item.has(2) and beta != 0.0 else None
    steps: list[str] = ["product"]
    bias = None
    if addend is not None and alpha == 1.0 and item.is_stored(b):
        bias = _gemm_bias(item, addend, beta, item.type(b).shape[0 if transpose_b else 1])
        addend = addend if bias is None else None
    if alpha != 1.0:
        steps.append("alpha")
    if addend is not None:
        steps.append("addend")

    def name(step: str) -> str:
        return result if steps[-1] == step else item.between(step)

    if item.is_stored(b):
        rows = item.permuted(a, (1, 0), "transposed") if transpose_a else a
        weights = b if transpose_b else item.permuted(b, (1, 0), "transposed")
        value = item.add(FullyConnected(), [rows, weights, *([bias] if bias else [])], name("product"))
    else:
        value = item.add(BatchMatMul(transpose_a, transpose_b), [a, b], name("product"))
    if alpha != 1.0:
        value = item.add(Binary("mul"), [value, item.add_constant("alpha_value", np.float32(alpha))], name("alpha"))
    if addend is not None:
        if beta != 1.0:
            factor = item.add_constant("beta_value", np.float32(beta))
            addend = item.add(Binary("mul"), [addend, factor], item.between("beta"))
        item.add(Binary("add"), [value, addend], name("addend"))


def _gemm_bias(item: NodeImport, addend: str, beta: float, channels: int) -> str | None:
    """The third operand of a Gemm as a bias [channels], where it is a constant that is the same for every row."""
    shape = item.type(addend).shape
    if not item.is_stored(addend) or shape not in ((channels,), (1, channels), (1,), (1, 1), ()):
        return None
    if beta == 1.0:
        if shape == (channels,):
            return addend
        if shape == (1, channels):
            return item.arranged(addend, lambda data: data.reshape(channels), "vector")
    numbers = item.numbers(2)
    assert numbers is not None
    return item.add_constant("bias", np.broadcast_to(numbers.reshape(-1) * np.float32(beta), (channels,)))


@imports("MatMul")
def _matmul(item: NodeImport) -> None:
    item.require_float(0, 1)
    a, b = item.operand(0), item.operand(1)
    a_shape, b_shape = item.type(a).shape, item.type(b).shape
    matrix = int(np.prod(b_shape[:-2], dtype=np.int64)) == 1  # one matrix for all of a, however many dimensions
    k, n = b_shape[-2:] if len(b_shape) > 1 else (b_shape[0], 1)
    if item.is_stored(b) and matrix:
        if len(b_shape) == 2:
            weights = item.permuted(b, (1, 0), "transposed")
        else:
            weights = item.arranged(b, lambda data: data.reshape(k, n).transpose(), "transposed")
        rows = a if len(a_shape) > 1 else _reshaped(item, a, (1, *a_shape), "row")
        _add_reshaped(item, FullyConnected(), [rows, weights], _product_shape(a_shape, b_shape))
        return
    left = a if len(a_shape) > 1 else _reshaped(item, a, (1, *a_shape), "row")
    right = b if len(b_shape) > 1 else _reshaped(item, b, (*b_shape, 1), "column")
    _add_reshaped(item, BatchMatMul(), [left, right], _product_shape(a_shape, b_shape))


def _product_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of numpy's matmul."""
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    return (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


def _add_reshaped(
    item: NodeImport, kind: FullyConnected | BatchMatMul, inputs: Sequence[str], shape: tuple[int, ...]
) -> None:
    """Add the node's operation, and a Reshape where its result has not the node's `shape`."""
    (made,) = result_types(kind, [item.type(name) for name in inputs])
    if made.shape == shape:
        item.add(kind, inputs)
    else:
        item.add(Reshape(shape), [item.add(kind, inputs, item.between("product"))])


def _reshaped(item: NodeImport, value: str, shape: tuple[int, ...], suffix: str) -> str:
    if item.is_stored(value):
        return item.arranged(value, lambda data: data.reshape(shape), suffix)
    return item.builder.add(Reshape(shape), [value], f"{value}/{suffix}", origin=(item.node.name,))


# --- Einsum ---


@dataclass(frozen=True)
class _Term:
    """An operand of an Einsum: a value, and the letter of each of its dimensions."""

    value: str
    letters: str


@imports("Einsum")
def _einsum(item: NodeImport) -> None:
    """Sums of products of one or two tensors: sums over the letters of one operand only, then one BatchMatMul."""
    equation = str(item.attribute("equation")).replace(" ", "")
    operands, _, result = equation.partition("->")
    terms = [_Term(item.operand(i), letters) for i, letters in enumerate(operands.split(","))]
    item.require_float(*range(len(terms)))
    if "->" not in equation:
        every = operands.replace(",", "").replace("...", "")
        alone = "".join(sorted(letter for letter in set(every) if every.count(letter) == 1))
        result = f"...{alone}" if "..." in operands else alone
    hidden = [
        max(item.type(term.value).rank - len(term.letters) + 3, 0) if "..." in term.letters else 0 for term in terms
    ]
    capitals = [letter for letter in ascii_uppercase if letter not in equation]
    if len(capitals) < max(hidden):
        item.refuse(f"its equation {equation!r} has too many letters", "Write it as MatMul and Transpose in the model.")
    # An ellipsis stands for dimensions that are counted from the right.
    terms = [
        _Term(term.value, term.letters.replace("...", "".join(capitals[:count][::-1])))
        for term, count in zip(terms, hidden, strict=True)
    ]
    result = result.replace("...", "".join(capitals[: max(hidden)][::-1]))
    if len(terms) > 2 or any(len(set(term.letters)) < len(term.letters) for term in terms):
        item.refuse(
            f"its equation {equation!r} is no product of one or two tensors with one letter for every dimension",
            "Write it as MatMul, Transpose and ReduceSum in the model.",
        )
    summed = [
        _summed(item, term, result + "".join(other.letters for other in terms if other is not term)) for term in terms
    ]
    made = summed[0] if len(summed) == 1 else _contracted(item, summed[0], summed[1], result)
    if made.letters == result:
        item.rename(made.value)
    else:
        item.add(Transpose(tuple(made.letters.index(letter) for letter in result)), [made.value])


def _summed(item: NodeImport, term: _Term, needed: str) -> _Term:
    """The operand without the dimensions that nobody else names."""
    axes = tuple(axis for axis, letter in enumerate(term.letters) if letter not in needed)
    if not axes:
        return term
    kept = "".join(letter for letter in term.letters if letter in needed)
    return _Term(item.add(Reduce("sum", axes, keepdims=False), [term.value], item.between("sum")), kept)


def _contracted(item: NodeImport, a: _Term, b: _Term, result: str) -> _Term:
    """The sum of products over the letters that both have and the result has not."""
    sizes: dict[str, int] = {}
    for term in (a, b):
        for letter, size in zip(term.letters, item.type(term.value).shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    for term in (a, b):
        if item.type(term.value).shape != tuple(sizes[letter] for letter in term.letters):
            item.refuse("a dimension of size 1 is spread to another size in it", "Write the Einsum with equal sizes.")
    shared = [letter for letter in a.letters if letter in b.letters]
    batch = [letter for letter in shared if letter in result]
    inner = [letter for letter in shared if letter not in result]
    rows = [letter for letter in a.letters if letter not in shared]
    columns = [letter for letter in b.letters if letter not in shared]

    def count(letters: Sequence[str]) -> int:
        return int(np.prod([sizes[letter] for letter in letters], dtype=np.int64))

    def arranged(term: _Term, order: Sequence[str], shape: tuple[int, ...], suffix: str) -> str:
        turned = tuple(term.letters.index(letter) for letter in order)
        if item.is_stored(term.value):
            return item.arranged(term.value, lambda data: data.transpose(turned).reshape(shape), f"{suffix}{turned}")
        value = item.permuted(term.value, turned, suffix)
        return _reshaped(item, value, shape, suffix)

    left_shape = (count(batch), count(rows), count(inner))
    left = arranged(a, [*batch, *rows, *inner], left_shape if batch else left_shape[1:], "left")
    if not batch and item.is_stored(b.value):
        weights = arranged(b, [*columns, *inner], (count(columns), count(inner)), "right")
        product = item.add(FullyConnected(), [left, weights], item.between("product"))
    else:
        right_shape = (count(batch), count(inner), count(columns))
        right = arranged(b, [*batch, *inner, *columns], right_shape if batch else right_shape[1:], "right")
        product = item.add(BatchMatMul(), [left, right], item.between("product"))
    letters = [*batch, *rows, *columns]
    shape = tuple(sizes[letter] for letter in letters)
    return _Term(item.add(Reshape(shape), [product], item.between("dimensions")), "".join(letters))
