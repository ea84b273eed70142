"""What a few nodes compute, as a formula: exporters write the same one in many orders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from edgec.onnx_graph.canonicalization.workpiece import Workpiece, constant_operand

CLOSE = 1e-5
"""How far a constant may lie from what a formula asks for, relatively. Exporters write 0.166667 for a sixth."""

_DEEP = 12
_HIGHEST = 3
"""Degree of the polynomials that are followed: GELU's tanh form has a cube."""


def near(value: float, wanted: float) -> bool:
    """Whether a constant is the wanted one, as exporters write it."""
    return math.isclose(value, wanted, rel_tol=CLOSE, abs_tol=0.0)


@dataclass(frozen=True)
class Polynomial:
    """Coefficients of 1, x, x^2, ... and the nodes that compute it."""

    coefficients: tuple[float, ...]
    members: tuple[NodeProto, ...] = ()

    def is_near(self, wanted: Sequence[float]) -> bool:
        """Whether all coefficients are the wanted ones."""
        found = [*self.coefficients, *[0.0] * (len(wanted) - len(self.coefficients))]
        scale = max(map(abs, wanted))
        return len(found) == len(wanted) and all(
            near(one, other) if other else abs(one) <= CLOSE * scale for one, other in zip(found, wanted, strict=True)
        )


def polynomial(work: Workpiece, tensor: str, source: str, deep: int = _DEEP) -> Polynomial | None:
    """`tensor` as a polynomial in `source` with scalar coefficients; None when it is none, or of a high degree."""
    if tensor == source:
        return Polynomial((0.0, 1.0))
    value = work.scalar(tensor) if work.is_float(tensor) else None
    if value is not None:
        return Polynomial((value,))
    node = work.made_by(tensor, "Add", "Sub", "Mul", "Div", "Neg", "Pow")
    if node is None or deep == 0:
        return None
    first = polynomial(work, node.input[0], source, deep - 1)
    if first is None:
        return None
    if node.op_type == "Neg":
        return Polynomial(tuple(-value for value in first.coefficients), (*first.members, node))
    if node.op_type == "Pow":
        power = work.scalar(node.input[1])
        if power not in (2.0, 3.0):
            return None
        second = first if power == 2 else Polynomial(_product(first.coefficients, first.coefficients))
    else:
        other = polynomial(work, node.input[1], source, deep - 1)
        if other is None:
            return None
        second = other
    members = {item.name: item for item in (*first.members, *second.members, node)}
    one, two = first.coefficients, second.coefficients
    if node.op_type in ("Add", "Sub"):
        sign = 1 if node.op_type == "Add" else -1
        length = max(len(one), len(two))
        padded = [[*values, *[0.0] * (length - len(values))] for values in (one, two)]
        result = tuple(a + sign * b for a, b in zip(*padded, strict=True))
    elif node.op_type == "Div":
        if len(two) != 1 or two[0] == 0:
            return None
        result = tuple(value / two[0] for value in one)
    else:
        result = _product(one, two)
    return Polynomial(result, tuple(members.values())) if len(result) <= _HIGHEST + 1 else None


def _product(one: Sequence[float], two: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.polynomial.polynomial.polymul(one, two))


@dataclass(frozen=True)
class Affine:
    """scale * source + offset, and the nodes that compute it."""

    source: str
    scale: float
    offset: float
    members: tuple[NodeProto, ...]


def affine(work: Workpiece, tensor: str) -> Affine:
    """Walk up from `tensor` through scalar multiplications and additions, as long as nobody else reads on the way."""
    members: list[NodeProto] = []
    source = tensor
    while (node := work.private(source, "Add", "Sub", "Mul", "Div", "Neg")) is not None:
        deeper = _varying(work, node)
        if deeper is None:
            break
        members.append(node)
        source = deeper
    found = polynomial(work, tensor, source)
    if found is None or len(found.coefficients) != 2:
        return Affine(tensor, 1.0, 0.0, ())
    offset, scale = found.coefficients
    return Affine(source, scale, offset, tuple(members))


def _varying(work: Workpiece, node: NodeProto) -> str | None:
    """The input of an affine node that is no scalar constant."""
    if node.op_type == "Neg":
        return str(node.input[0])
    for varying, fixed in (tuple(node.input), tuple(reversed(node.input))):
        if work.scalar(fixed) is not None and not work.is_constant(varying):
            if node.op_type == "Div" and varying != node.input[0]:
                return None
            same = work.shape(varying) == work.shape(node.output[0])
            return varying if same and work.is_float(varying) else None
    return None


@dataclass(frozen=True)
class Product:
    """factor * the tensors, and the nodes that multiply them."""

    factor: float
    tensors: tuple[str, ...]
    members: tuple[NodeProto, ...]


def product(work: Workpiece, node: NodeProto) -> Product:
    """What a Mul multiplies, with the Muls that only it reads taken apart. Scalar constants become the factor."""
    factor, tensors, members = 1.0, list[str](), [node]
    waiting = list(node.input)
    while waiting:
        name = waiting.pop(0)
        value = work.scalar(name)
        inner = work.private(name, "Mul")
        if value is not None:
            factor *= value
        elif inner is not None and work.shape(name) == work.shape(node.output[0]) and name not in tensors:
            members.append(inner)
            waiting += inner.input
        else:
            tensors.append(name)
    return Product(factor, tuple(tensors), tuple(members))


def varies(work: Workpiece, node: NodeProto) -> str | None:
    """The varying input of a node with one constant float32 operand."""
    found = constant_operand(work, node)
    return None if found is None else found[0]
