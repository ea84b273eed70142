"""Which version of an operator a file asks for, and which runtime has it.

A version is the smallest that has a kernel for the operands' types: an older runtime refuses a file that asks for more
than it has, even where it could run it. The numbers are those of TensorFlow's `op_version.cc` and
`runtime_version.cc`; none here is newer than TensorFlow 2.14, which the last tflite-runtime was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgec.ir.graph import TensorType

Types = Sequence[TensorType]
Rule = Callable[[Types, Types, Any], int]

NEWEST = (2, 14)
"""The runtime that every file can be loaded with."""

INTRODUCED: dict[str, tuple[str, ...]] = {
    "ABS": ("1.13", "2.4", "2.5", "2.6", "2.12"),
    "ADD": ("1.5", "1.14", "2.4", "2.6", "2.11"),
    "ARG_MAX": ("1.9", "1.14", "2.9"),
    "ARG_MIN": ("1.9", "1.14", "2.9"),
    "AVERAGE_POOL_2D": ("1.5", "1.14", "2.3"),
    "BATCH_MATMUL": ("2.3", "2.3", "2.4", "2.5"),
    "BITWISE_XOR": ("2.13",),
    "BROADCAST_TO": ("2.5", "2.5", "2.5"),
    "CAST": ("1.5", "2.7", "2.8", "2.9", "2.13"),
    "CEIL": ("1.14",),
    "CONCATENATION": ("1.5", "1.14", "2.3"),
    "CONV_2D": ("1.5", "1.14", "1.14", "2.3", "2.4", "2.9"),
    "COS": ("1.14",),
    "CUMSUM": ("2.4",),
    "DEPTH_TO_SPACE": ("2.1", "2.5"),
    "DEPTHWISE_CONV_2D": ("1.5", "1.12", "1.14", "2.2", "2.3", "2.3"),
    "DEQUANTIZE": ("1.13", "1.14", "1.15", "2.2", "2.7"),
    "DIV": ("1.6", "2.3"),
    "ELU": ("1.14",),
    "EQUAL": ("1.14", "1.14", "2.3", "2.13"),
    "EXP": ("1.7", "2.12"),
    "FLOOR": ("1.9",),
    "FLOOR_DIV": ("1.14", "1.14", "2.13"),
    "FLOOR_MOD": ("1.13", "2.13"),
    "FULLY_CONNECTED": ("1.5", "1.10", "1.14", "1.14", "2.0", "2.1", "2.3", "2.3", "2.3"),
    "GATHER": ("1.6", "1.14", "1.15", "2.4", "2.5", "2.13"),
    "GATHER_ND": ("1.14", "2.3", "2.5", "2.13"),
    "GELU": ("2.9", "2.9"),
    "GREATER": ("1.14", "1.14"),
    "GREATER_EQUAL": ("1.14", "1.14", "2.13"),
    "HARD_SWISH": ("1.15",),
    "LEAKY_RELU": ("1.13", "2.3"),
    "LESS": ("1.14", "1.14", "2.13"),
    "LESS_EQUAL": ("1.14", "1.14"),
    "LOG": ("1.14",),
    "LOGICAL_AND": ("1.11",),
    "LOGICAL_NOT": ("1.11",),
    "LOGICAL_OR": ("1.11",),
    "LOGISTIC": ("1.14", "1.14", "2.3"),
    "LOG_SOFTMAX": ("1.14", "1.14"),
    "MAXIMUM": ("1.14", "1.14", "2.3", "2.3"),
    "MAX_POOL_2D": ("1.5", "1.14", "2.3"),
    "MEAN": ("1.6", "1.14", "2.4"),
    "MINIMUM": ("1.14", "1.14", "2.3", "2.3"),
    "MIRROR_PAD": ("1.13", "2.3", "2.12"),
    "MUL": ("1.5", "1.14", "1.15", "2.3", "2.6", "2.11", "2.13"),
    "NEG": ("1.9",),
    "NOT_EQUAL": ("1.14", "1.14", "2.3"),
    "ONE_HOT": ("1.11",),
    "PAD": ("1.5", "1.14", "2.4", "2.6"),
    "PADV2": ("1.9", "1.14", "2.4", "2.6"),
    "POW": ("1.10",),
    "PRELU": ("1.8",),
    "QUANTIZE": ("1.14", "1.15", "2.7"),
    "REDUCE_ALL": ("2.6",),
    "REDUCE_ANY": ("1.11",),
    "REDUCE_MAX": ("1.11", "1.14", "2.5"),
    "REDUCE_MIN": ("1.11", "1.14", "2.5"),
    "REDUCE_PROD": ("1.11", "2.6"),
    "RELU": ("1.5", "2.1", "2.5"),
    "RELU6": ("1.5", "1.14", "2.5"),
    "RELU_0_TO_1": ("2.10",),
    "RELU_N1_TO_1": ("1.5",),
    "RESHAPE": ("1.5",),
    "RESIZE_BILINEAR": ("1.7", "1.14", "2.2", "2.5"),
    "RESIZE_NEAREST_NEIGHBOR": ("1.13", "1.14", "2.3", "2.4"),
    "REVERSE_V2": ("1.14", "2.2", "2.5"),
    "ROUND": ("1.14",),
    "RSQRT": ("1.10", "2.5"),
    "SCATTER_ND": ("2.1",),
    "SELECT_V2": ("2.2",),
    "SIGN": ("2.11", "2.12"),
    "SIN": ("1.9",),
    "SLICE": ("1.14", "1.14", "1.14", "2.4", "2.5"),
    "SOFTMAX": ("1.5", "1.14", "2.3"),
    "SPACE_TO_DEPTH": ("1.5", "1.14"),
    "SPLIT": ("1.5", "1.14", "1.14", "2.3"),
    "SPLIT_V": ("1.13", "2.3"),
    "SQRT": ("1.10",),
    "SQUARE": ("1.12",),
    "SQUARED_DIFFERENCE": ("1.13", "2.5"),
    "SQUEEZE": ("1.6",),
    "STRIDED_SLICE": ("1.6", "1.14", "2.1", "2.2"),
    "SUB": ("1.6", "1.14", "2.3", "2.4", "2.4"),
    "SUM": ("1.10", "1.15"),
    "TANH": ("1.14", "1.14", "2.3"),
    "TILE": ("1.10", "2.2", "2.8"),
    "TOPK_V2": ("1.7", "1.14"),
    "TRANSPOSE": ("1.6", "1.14", "1.15", "2.3", "2.4", "2.12"),
    "TRANSPOSE_CONV": ("1.9", "2.2", "2.3", "2.13"),
}
"""Every operator that is written, and the runtime that brought each of its versions (the first is version 1).
Where TensorFlow's own table has no line, it is the first release whose interpreter registers the version."""


def version_of(code: str, inputs: Types, outputs: Types, options: Any = None) -> int:
    """The smallest version of an operator for operands of these types. `options` is its table."""
    rule = _RULES.get(code)
    if rule is not None:
        return rule(inputs, outputs, options)
    return _BY_DTYPE.get(code, {}).get(inputs[0].dtype, 1)


def needed_runtime(codes: Sequence[tuple[str, int]]) -> str:
    """The oldest TensorFlow Lite that knows all these operators: "2.3.0"."""
    newest = max((_numbers(INTRODUCED[code][version - 1]) for code, version in codes), default=(1, 5))
    return f"{newest[0]}.{newest[1]}.0"


def _numbers(release: str) -> tuple[int, int]:
    major, minor = release.split(".")
    return int(major), int(minor)


# --- operators whose version depends on the element type of the first operand alone ---

_INT8 = {"int8": 2}
_INT8_INT16 = {"int8": 2, "int16": 3}

_BY_DTYPE: dict[str, dict[str, int]] = {
    **dict.fromkeys(
        (
            "ARG_MAX", "ARG_MIN", "DEPTH_TO_SPACE", "GELU", "GREATER", "LESS_EQUAL", "LOG_SOFTMAX", "NOT_EQUAL",
            "SPACE_TO_DEPTH", "SPLIT_V", "SQUARED_DIFFERENCE", "SUM", "TOPK_V2",
        ),
        _INT8,
    ),
    **dict.fromkeys(
        (
            "AVERAGE_POOL_2D", "CONCATENATION", "GREATER_EQUAL", "LESS", "LOGISTIC", "MAX_POOL_2D", "MEAN",
            "MIRROR_PAD", "REDUCE_MAX", "REDUCE_MIN", "RELU6", "SOFTMAX", "TANH",
        ),
        _INT8_INT16,
    ),
    "ARG_MAX": {"int8": 2, "bool": 3},
    "ARG_MIN": {"int8": 2, "bool": 3},
    "BATCH_MATMUL": {"int8": 2, "int16": 3},
    "BROADCAST_TO": {"float32": 2, "int32": 2, "int64": 2, "bool": 2, "uint8": 2, "int8": 3, "int16": 3},
    "EQUAL": {"int8": 2, "int16": 4},
    "EXP": {"int8": 2, "int16": 2},
    "FLOOR_DIV": {"float32": 2, "int8": 3, "int16": 3},
    "FLOOR_MOD": {"int8": 2, "int16": 2},
    "GATHER_ND": {"int16": 3},
    "LEAKY_RELU": {"int16": 2},
    "REDUCE_PROD": {"int8": 2, "int16": 2},
    "RELU": {"int8": 2, "uint8": 2, "int16": 3},
    "REVERSE_V2": {"bool": 2, "int8": 3},
    "RSQRT": {"int8": 2},
    "SIGN": {"int32": 2},
    "TILE": {"int8": 3},
}  # fmt: skip


# --- operators whose version depends on more ---


def _conv(inputs: Types, outputs: Types, options: Any) -> int:
    x, weights = inputs[:2]
    if weights.shape[3] != x.shape[3]:
        return 6  # groups
    if x.dtype == "int8":
        return 3
    return 4 if x.dtype == "int16" else 1


def _depthwise(inputs: Types, outputs: Types, options: Any) -> int:
    if inputs[0].dtype == "int8":
        return 3
    if inputs[0].dtype == "int16":
        return 5
    return 2 if (options.dilationHFactor, options.dilationWFactor) != (1, 1) else 1


def _fully_connected(inputs: Types, outputs: Types, options: Any) -> int:
    if inputs[0].dtype == "int16":
        return 7
    if options.keepNumDims:
        return 5
    return 4 if inputs[0].dtype == "int8" else 1


def _transpose_conv(inputs: Types, outputs: Types, options: Any) -> int:
    if options.fusedActivationFunction:
        return 4
    return 3 if len(inputs) == 4 else {"int8": 2}.get(inputs[1].dtype, 1)


def _abs(inputs: Types, outputs: Types, options: Any) -> int:
    x = inputs[0]
    if x.dtype == "int16":
        return 3 if x.quantization is not None else 4
    return {"int8": 2, "int32": 5}.get(x.dtype, 1)


def _add(inputs: Types, outputs: Types, options: Any) -> int:
    x = inputs[0]
    if x.dtype == "int16":
        return 3 if x.quantization is not None else 5
    return {"int8": 2, "int64": 4}.get(x.dtype, 1)


def _sub(inputs: Types, outputs: Types, options: Any) -> int:
    x = inputs[0]
    if x.dtype in ("int16", "int64"):
        return {"int16": 5, "int64": 4}[x.dtype]
    return 3 if _wide_broadcast(inputs) else {"int8": 2}.get(x.dtype, 1)


def _mul(inputs: Types, outputs: Types, options: Any) -> int:
    x = inputs[0]
    if x.dtype == "int16":
        return 4 if x.quantization is not None else 7
    if x.dtype == "int64":
        return 5
    scales = [item.quantization.scale[0] for item in (*inputs, *outputs) if item.quantization is not None]
    if len(scales) == 3 and scales[0] * scales[1] / scales[2] >= 1.0:
        return 3  # only since then may the product have a finer scale than its operands
    return {"int8": 2}.get(x.dtype, 1)


def _extremum(inputs: Types, outputs: Types, options: Any) -> int:
    if inputs[0].dtype == "int16":
        return 4
    return 3 if _wide_broadcast(inputs) else {"int8": 2}.get(inputs[0].dtype, 1)


def _wide_broadcast(inputs: Types) -> bool:
    return inputs[0].shape != inputs[1].shape and max(item.rank for item in inputs) > 4


def _gather(inputs: Types, outputs: Types, options: Any) -> int:
    if options.batchDims:
        return 5
    return {"int8": 2, "bool": 3, "int16": 4}.get(inputs[0].dtype, 1)


def _cast(inputs: Types, outputs: Types, options: Any) -> int:
    dtypes = {inputs[0].dtype, outputs[0].dtype}
    if "float16" in dtypes:
        return 5
    return 3 if "int8" in dtypes else 1


def _dequantize(inputs: Types, outputs: Types, options: Any) -> int:
    x = inputs[0]
    if x.dtype == "int8" and x.quantization is not None and x.quantization.axis is not None:
        return 5
    return {"int16": 3, "float16": 3, "int8": 2}.get(x.dtype, 1)


def _quantize(inputs: Types, outputs: Types, options: Any) -> int:
    return 2 if outputs[0].dtype == "int16" else 1


def _pad(inputs: Types, outputs: Types, options: Any) -> int:
    if inputs[0].rank > 4:
        return 4
    return {"int8": 2, "int16": 3}.get(inputs[0].dtype, 1)


def _resize_bilinear(inputs: Types, outputs: Types, options: Any) -> int:
    if inputs[0].dtype == "int16":
        return 4
    return 3 if options.halfPixelCenters else {"int8": 2}.get(inputs[0].dtype, 1)


def _resize_nearest(inputs: Types, outputs: Types, options: Any) -> int:
    if inputs[0].dtype == "int16":
        return 4
    return 3 if options.halfPixelCenters or options.alignCorners else {"int8": 2}.get(inputs[0].dtype, 1)


def _slice(inputs: Types, outputs: Types, options: Any) -> int:
    return 5 if inputs[0].rank > 4 else {"int8": 2, "int16": 4}.get(inputs[0].dtype, 1)


def _split(inputs: Types, outputs: Types, options: Any) -> int:
    return {"int8": 2, "int32": 3, "int16": 4}.get(inputs[1].dtype, 1)  # the axis comes first


def _strided_slice(inputs: Types, outputs: Types, options: Any) -> int:
    return 4 if inputs[0].rank > 4 else {"int8": 2, "bool": 3}.get(inputs[0].dtype, 1)


def _transpose(inputs: Types, outputs: Types, options: Any) -> int:
    x = inputs[0]
    if x.rank > 5:
        return 6
    if x.dtype == "int16":
        return 5
    return 4 if x.rank > 4 else {"int8": 2, "bool": 3}.get(x.dtype, 1)


def _div(inputs: Types, outputs: Types, options: Any) -> int:
    return 2 if _wide_broadcast(inputs) else 1


_RULES: dict[str, Rule] = {
    "ABS": _abs,
    "ADD": _add,
    "CAST": _cast,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEQUANTIZE": _dequantize,
    "DIV": _div,
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _gather,
    "MAXIMUM": _extremum,
    "MINIMUM": _extremum,
    "MUL": _mul,
    "PAD": _pad,
    "PADV2": _pad,
    "QUANTIZE": _quantize,
    "RESIZE_BILINEAR": _resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
    "SLICE": _slice,
    "SPLIT": _split,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _sub,
    "TRANSPOSE": _transpose,
    "TRANSPOSE_CONV": _transpose_conv,
}
