"""Writing what computes each element for itself."""

from __future__ import annotations

from edgec.backends.tflite.schema import ACTIVATIONS, TENSOR_TYPES, options
from edgec.backends.tflite.writer.graph_writer import Site, write_kind
from edgec.ir.kinds import Binary, Cast, Clip, LeakyRelu, PRelu, Select, Unary

UNARY = {
    "abs": ("ABS", "AbsOptions"),
    "ceil": ("CEIL", None),
    "cos": ("COS", "CosOptions"),
    "elu": ("ELU", None),
    "exp": ("EXP", "ExpOptions"),
    "floor": ("FLOOR", None),
    "gelu": ("GELU", "GeluOptions"),
    "gelu_tanh": ("GELU", "GeluOptions"),
    "hard_swish": ("HARD_SWISH", "HardSwishOptions"),
    "log": ("LOG", None),
    "logical_not": ("LOGICAL_NOT", "LogicalNotOptions"),
    "neg": ("NEG", "NegOptions"),
    "relu": ("RELU", None),
    "relu6": ("RELU6", None),
    "round": ("ROUND", None),
    "rsqrt": ("RSQRT", None),
    "sigmoid": ("LOGISTIC", None),
    "sign": ("SIGN", "SignOptions"),
    "sin": ("SIN", None),
    "sqrt": ("SQRT", None),
    "square": ("SQUARE", "SquareOptions"),
    "tanh": ("TANH", None),
}
"""Functions of one operand: the operator and its options table."""

BINARY = {
    "add": ("ADD", "AddOptions"),
    "bitwise_xor": ("BITWISE_XOR", "BitwiseXorOptions"),
    "div": ("DIV", "DivOptions"),
    "equal": ("EQUAL", "EqualOptions"),
    "floor_div": ("FLOOR_DIV", "FloorDivOptions"),
    "floor_mod": ("FLOOR_MOD", "FloorModOptions"),
    "greater": ("GREATER", "GreaterOptions"),
    "greater_equal": ("GREATER_EQUAL", "GreaterEqualOptions"),
    "less": ("LESS", "LessOptions"),
    "less_equal": ("LESS_EQUAL", "LessEqualOptions"),
    "logical_and": ("LOGICAL_AND", "LogicalAndOptions"),
    "logical_or": ("LOGICAL_OR", "LogicalOrOptions"),
    "maximum": ("MAXIMUM", "MaximumMinimumOptions"),
    "minimum": ("MINIMUM", "MaximumMinimumOptions"),
    "mul": ("MUL", "MulOptions"),
    "not_equal": ("NOT_EQUAL", "NotEqualOptions"),
    "pow": ("POW", "PowOptions"),
    "squared_difference": ("SQUARED_DIFFERENCE", "SquaredDifferenceOptions"),
    "sub": ("SUB", "SubOptions"),
}
"""Functions of two operands: the operator and its options table."""

CLIPS = {(0.0, 1.0): "RELU_0_TO_1", (-1.0, 1.0): "RELU_N1_TO_1"}
"""Limits that have an operator of their own in float."""

FUSES_ACTIVATION = ("add", "sub", "mul", "div")


@write_kind.register
def _(kind: Unary, site: Site) -> None:
    code, table = UNARY[kind.function]
    fields = {"approximate": kind.function == "gelu_tanh"} if code == "GELU" else {}
    site.emit(code, options(table, **fields) if table else None)


@write_kind.register
def _(kind: Binary, site: Site) -> None:
    code, table = BINARY[kind.function]
    made = options(table)
    if kind.function in FUSES_ACTIVATION:
        made.fusedActivationFunction = ACTIVATIONS[kind.activation]
    else:
        assert kind.activation == "none", site.name
    if kind.function in ("add", "sub"):
        made.potScaleInt16 = site.type(0).dtype != "int16"  # scales of int16 are any, not powers of two
    site.emit(code, made)


@write_kind.register
def _(kind: Clip, site: Site) -> None:
    site.emit(CLIPS[kind.low, kind.high])


@write_kind.register
def _(kind: LeakyRelu, site: Site) -> None:
    site.emit("LEAKY_RELU", options("LeakyReluOptions", alpha=kind.alpha))


@write_kind.register
def _(kind: PRelu, site: Site) -> None:
    site.emit("PRELU")


@write_kind.register
def _(kind: Select, site: Site) -> None:
    site.emit("SELECT_V2", options("SelectV2Options"))


@write_kind.register
def _(kind: Cast, site: Site) -> None:
    if site.type(0).dtype == "float16":  # a stored constant: that is how delegates recognize one
        site.emit("DEQUANTIZE", options("DequantizeOptions"))
        return
    table = options("CastOptions", inDataType=TENSOR_TYPES[site.type(0).dtype], outDataType=TENSOR_TYPES[kind.dtype])
    site.emit("CAST", table)
