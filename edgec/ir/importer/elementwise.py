"""Importing: operators that compute each element for itself.

What the kinds have no function for is written out in those that they have: Selu is a scaled LeakyRelu of an elu.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx

from edgec.ir.importer.handlers import imports
from edgec.ir.importer.node import NodeImport
from edgec.ir.kinds import Binary, Cast, Clip, HardSigmoid, LeakyRelu, PRelu, Select, Unary
from edgec.ir.kinds.elementwise import BinaryFunction, UnaryFunction

_UNARY: dict[str, UnaryFunction] = {
    "Abs": "abs",
    "Ceil": "ceil",
    "Cos": "cos",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "HardSwish": "hard_swish",
    "Log": "log",
    "Neg": "neg",
    "Not": "logical_not",
    "Reciprocal": "reciprocal",
    "Relu": "relu",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Softplus": "softplus",
    "Sqrt": "sqrt",
    "Tan": "tan",
    "Tanh": "tanh",
}

_BINARY: dict[str, BinaryFunction] = {
    "Add": "add",
    "And": "logical_and",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "Div": "div",
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Mul": "mul",
    "Or": "logical_or",
    "Sub": "sub",
    "Xor": "logical_xor",
}

_VARIADIC: dict[str, BinaryFunction] = {"Max": "maximum", "Min": "minimum", "Sum": "add"}


@imports(*_UNARY)
def unary(item: NodeImport) -> None:
    item.add(Unary(_UNARY[item.node.op_type]), [item.operand(0)])


@imports(*_BINARY)
def binary(item: NodeImport) -> None:
    item.add(Binary(_BINARY[item.node.op_type]), [item.operand(0), item.operand(1)])


@imports(*_VARIADIC)
def variadic(item: NodeImport) -> None:
    _chain(item, _VARIADIC[item.node.op_type], list(item.node.input))


@imports("Mean")
def mean(item: NodeImport) -> None:
    operands = list(item.node.input)
    if len(operands) == 1:
        item.rename(operands[0])
        return
    total = _chain(item, "add", operands, "sum")
    item.add(Binary("mul"), [total, item.add_constant("share", np.array(1 / len(operands), np.float32))])


def _chain(item: NodeImport, function: BinaryFunction, operands: Sequence[str], suffix: str | None = None) -> str:
    """One operand after the other; the last result is the node's own unless it gets a `suffix`."""
    if len(operands) == 1:
        item.rename(operands[0])
        return item.outputs[0]
    total = operands[0]
    for position, operand in enumerate(operands[1:], start=2):
        last = position == len(operands)
        output = None if last and suffix is None else item.between(suffix if last and suffix else function)
        total = item.add(Binary(function), [total, operand], output)
    return total


@imports("Pow")
def power(item: NodeImport) -> None:
    """The result has the dtype of the base, whatever the exponent has."""
    base, exponent = item.operand(0), item.operand(1)
    dtype, other = item.type(base).dtype, item.type(exponent).dtype
    value = item.numbers(1)
    if value is not None and value.size == 1 and value.ndim <= item.type(base).rank:
        if value.item() == 1:
            item.rename(base)
            return
        if value.item() == 2:
            item.add(Unary("square"), [base])
            return
    if dtype == other:
        item.add(Binary("pow"), [base, exponent])
    elif dtype == "float32" or other != "float32":
        item.add(Binary("pow"), [base, cast(item, exponent, dtype)])
    else:
        raised = item.add(Binary("pow"), [cast(item, base, "float32"), exponent], item.between("float"))
        item.add(Cast(dtype), [raised])


@imports("Mod")
def modulo(item: NodeImport) -> None:
    """floor_mod has the sign of the divisor; with fmod=1 the remainder has that of the dividend."""
    x, y = item.operand(0), item.operand(1)
    if not item.attribute("fmod", 0) or item.type(x).dtype == "uint8":
        item.add(Binary("floor_mod"), [x, y])
        return
    if item.type(x).dtype == "float32":
        sizes = [item.add(Unary("abs"), [operand], item.between("abs")) for operand in (x, y)]
        rest = item.add(Binary("floor_mod"), sizes, item.between("rest"))
        item.add(Binary("mul"), [item.add(Unary("sign"), [x], item.between("sign")), rest])
        return
    times = item.add(Binary("div"), [x, y], item.between("quotient"))
    item.add(Binary("sub"), [x, item.add(Binary("mul"), [times, y], item.between("multiple"))])


@imports("Clip")
def clip(item: NodeImport) -> None:
    """Limits of float tensors become attributes; those that are computed, and integers, are maximum and minimum."""
    x = item.operand(0)
    given = [position for position in (1, 2) if item.has(position)]
    limits = {position: item.numbers(position) for position in given}
    if item.type(x).dtype == "float32" and all(value is not None for value in limits.values()):
        low, high = (float(value.reshape(())) if (value := limits.get(p)) is not None else None for p in (1, 2))
        clamp(item, x, -math.inf if low is None else low, math.inf if high is None else high)
        return
    if not given:
        item.rename(x)
        return
    for position in given:
        function: BinaryFunction = "maximum" if position == 1 else "minimum"
        output = None if position == given[-1] else item.between(function)
        x = item.add(Binary(function), [x, item.operand(position)], output)


def clamp(item: NodeImport, x: str, low: float, high: float, output: str | None = None) -> str:
    """min(max(x, low), high) as the most special operation that it is. The limits are those of float32."""
    low, high = float(np.float32(low)), float(np.float32(high))
    lowest, highest = float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)
    if low == 0 and high == 6:
        return item.add(Unary("relu6"), [x], output)
    if low == 0 and high >= highest:
        return item.add(Unary("relu"), [x], output)
    if low <= lowest and high >= highest:
        item.rename(x, output)
        return output or item.outputs[0]
    return item.add(Clip(-math.inf if low <= lowest else low, math.inf if high >= highest else high), [x], output)


@imports("LeakyRelu")
def leaky_relu(item: NodeImport) -> None:
    item.add(LeakyRelu(_float(item, "alpha", 0.01)), [item.operand(0)])


@imports("PRelu")
def prelu(item: NodeImport) -> None:
    item.add(PRelu(), [item.operand(0), item.operand(1)])


@imports("ThresholdedRelu")
def thresholded_relu(item: NodeImport) -> None:
    x = item.operand(0)
    alpha = item.add_constant("alpha", np.array(_float(item, "alpha", 1.0), np.float32))
    above = item.add(Binary("greater"), [x, alpha], item.between("above"))
    item.add(Select(), [above, x, item.add_constant("zero", np.array(0, np.float32))])


@imports("Shrink")
def shrink(item: NodeImport) -> None:
    """x + bias below -lambd, x - bias above lambd, else 0."""
    x = item.operand(0)
    dtype = item.type(x).dtype
    if dtype != "float32":
        item.refuse(f"it shrinks {dtype}", "Put a Cast to float32 in front of it.")
    limit, bias = _float(item, "lambd", 0.5), _float(item, "bias", 0.0)
    zero = item.add_constant("zero", np.array(0, dtype))
    kept = zero
    sides: tuple[tuple[BinaryFunction, float, BinaryFunction], ...] = (
        ("greater", limit, "sub"),
        ("less", -limit, "add"),
    )
    for index, (compare, border, move) in enumerate(sides):
        where = item.add(
            Binary(compare), [x, item.add_constant("border", np.array(border, dtype))], item.between(compare)
        )
        moved = item.add(Binary(move), [x, item.add_constant("bias", np.array(bias, dtype))], item.between(move))
        kept = item.add(Select(), [where, moved, kept], None if index else item.between("above"))


@imports("Elu")
def elu(item: NodeImport) -> None:
    """alpha * (exp(x) - 1) below 0: a LeakyRelu of the elu whose alpha is 1, since that has the sign of x."""
    _leaky_elu(item, item.operand(0), _float(item, "alpha", 1.0), None)


@imports("Selu")
def selu(item: NodeImport) -> None:
    alpha = _float(item, "alpha", 1.67326319217681884765625)
    gamma = _float(item, "gamma", 1.05070102214813232421875)
    unscaled = _leaky_elu(item, item.operand(0), alpha, item.between("elu"))
    _scale(item, unscaled, gamma, None)


@imports("Celu")
def celu(item: NodeImport) -> None:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) = alpha * elu(x / alpha), for a positive alpha."""
    alpha = _float(item, "alpha", 1.0)
    if alpha <= 0:
        item.refuse(f"its alpha is {alpha:g}", "Give it an alpha above 0.")
    if alpha == 1:
        item.add(Unary("elu"), [item.operand(0)])
        return
    smaller = _scale(item, item.operand(0), 1 / alpha, item.between("scaled"))
    _scale(item, item.add(Unary("elu"), [smaller], item.between("elu")), alpha, None)


def _leaky_elu(item: NodeImport, x: str, alpha: float, output: str | None) -> str:
    if alpha == 1:
        return item.add(Unary("elu"), [x], output)
    bent = item.add(Unary("elu"), [x], item.between("elu"))
    return item.add(LeakyRelu(alpha), [bent], output)


def _scale(item: NodeImport, x: str, factor: float, output: str | None) -> str:
    constant = item.add_constant("factor", np.array(factor, np.float32))
    return item.add(Binary("mul"), [x, constant], output)


@imports("HardSigmoid")
def hard_sigmoid(item: NodeImport) -> None:
    kind = HardSigmoid(_float(item, "alpha", 0.2), _float(item, "beta", 0.5))
    item.add(kind, [item.operand(0)])


@imports("Gelu")
def gelu(item: NodeImport) -> None:
    form: UnaryFunction = "gelu_tanh" if item.attribute("approximate", "none") == "tanh" else "gelu"
    item.add(Unary(form), [item.operand(0)])


@imports("Mish")
def mish(item: NodeImport) -> None:
    """x * tanh(softplus(x)) = x * n / (n + 2) with n = exp(x) * (exp(x) + 2): fewer steps, and exact where it is small.

    From x = 20 on the quotient is 1 in float32, so that exp need not go further.
    """
    x = item.operand(0)
    two = item.add_constant("two", np.array(2, np.float32))
    power = item.add(Unary("exp"), [clamp(item, x, -math.inf, 20.0, item.between("limited"))], item.between("exp"))
    n = item.add(Binary("mul"), [power, item.add(Binary("add"), [power, two], item.between("more"))], item.between("n"))
    quotient = item.add(
        Binary("div"), [n, item.add(Binary("add"), [n, two], item.between("divisor"))], item.between("gate")
    )
    item.add(Binary("mul"), [x, quotient])


@imports("Swish")
def swish(item: NodeImport) -> None:
    """x * sigmoid(alpha * x)."""
    x = inner = item.operand(0)
    alpha = _float(item, "alpha", 1.0)
    if alpha != 1:
        inner = _scale(item, x, alpha, item.between("scaled"))
    item.add(Binary("mul"), [x, item.add(Unary("sigmoid"), [inner], item.between("sigmoid"))])


@imports("Softsign")
def softsign(item: NodeImport) -> None:
    """x / (1 + |x|)."""
    x = item.operand(0)
    size = item.add(Unary("abs"), [x], item.between("abs"))
    one = item.add_constant("one", np.array(1, np.float32))
    item.add(Binary("div"), [x, item.add(Binary("add"), [size, one], item.between("divisor"))])


@imports("Where")
def where(item: NodeImport) -> None:
    item.add(Select(), [item.operand(0), item.operand(1), item.operand(2)])


_AT_THE_BORDER = (("float32", "float16"), ("float32", "float64"))
"""Casts that are left to who runs the graph where nothing comes behind them."""


@imports("Cast", "CastLike")
def change_dtype(item: NodeImport) -> None:
    x = item.operand(0)
    if item.node.op_type == "CastLike":
        dtype = item.type(item.operand(1)).dtype
    else:
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(item.attribute("to")))
    last = item.outputs[0] in item.model.outputs and not item.model.consumers.get(item.outputs[0])
    if dtype == item.type(x).dtype or (last and (item.type(x).dtype, dtype) in _AT_THE_BORDER):
        item.rename(x)
    else:
        item.add(Cast(dtype), [x])


def cast(item: NodeImport, value: str, dtype: str) -> str:
    """`value` as another dtype; itself where it has that. A constant is converted now."""
    if item.type(value).dtype == dtype:
        return value
    data = item.builder.graph.constant(value)
    if data is not None:
        return item.add_constant(dtype, data.astype(dtype))
    return item.add(Cast(dtype), [value], item.between(dtype))


@imports("Identity")
def identity(item: NodeImport) -> None:
    item.rename(item.operand(0))


@imports("Dropout")
def dropout(item: NodeImport) -> None:
    """Does nothing outside of training."""
    training = item.has(2) and bool(item.required_constant(2, "training mode").reshape(()))
    ratio = float(item.required_constant(1, "ratio").reshape(())) if training and item.has(1) else 0.5
    if training and ratio != 0:
        item.refuse("it drops elements at random, as in training", "Export the model for inference (model.eval()).")
    item.rename(item.operand(0))
    if len(item.outputs) > 1 and item.outputs[1]:
        item.write_constant(item.outputs[1], np.ones(item.type(item.operand(0)).shape, np.bool_))


@imports("IsNaN")
def is_nan(item: NodeImport) -> None:
    item.add(Binary("not_equal"), [item.operand(0), item.operand(0)])


@imports("IsInf")
def is_infinite(item: NodeImport) -> None:
    x = item.operand(0)
    positive, negative = bool(item.attribute("detect_positive", 1)), bool(item.attribute("detect_negative", 1))
    if not positive and not negative:
        item.write_constant(item.outputs[0], np.zeros(item.type(x).shape, np.bool_))
        return
    if positive and negative:
        x = item.add(Unary("abs"), [x], item.between("abs"))
    infinity = item.add_constant("infinity", np.array(np.inf if positive else -np.inf, np.float32))
    item.add(Binary("equal"), [x, infinity])


@imports("BitwiseNot")
def bitwise_not(item: NodeImport) -> None:
    dtype = item.type(item.operand(0)).dtype
    ones = item.add_constant("ones", np.array(255 if dtype == "uint8" else -1, dtype))
    item.add(Binary("bitwise_xor"), [item.operand(0), ones])


@imports("BitShift")
def bit_shift(item: NodeImport) -> None:
    function: BinaryFunction = "shift_left" if item.attribute("direction") == "LEFT" else "shift_right"
    item.add(Binary(function), [item.operand(0), item.operand(1)])


def _float(item: NodeImport, name: str, default: float) -> float:
    """An attribute, which ONNX stores as float32, as the shortest decimal number that is the same float32."""
    return float(str(np.float32(item.attribute(name, default))))
