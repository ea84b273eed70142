"""The words of TFLite's schema: operators, element types and options, by their names in schema.fbs.

The classes come with ai-edge-litert (`schema_py_generated`, plain Python): nothing native is loaded to write a file.
"""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as generated

__all__ = [
    "ACTIVATIONS",
    "DTYPES",
    "OPERATOR_NAMES",
    "PADDINGS",
    "TENSOR_TYPES",
    "generated",
    "operator_code",
    "options",
    "options_type",
]

TENSOR_TYPES = {
    "float32": generated.TensorType.FLOAT32,
    "float16": generated.TensorType.FLOAT16,
    "int8": generated.TensorType.INT8,
    "int16": generated.TensorType.INT16,
    "int32": generated.TensorType.INT32,
    "int64": generated.TensorType.INT64,
    "uint8": generated.TensorType.UINT8,
    "bool": generated.TensorType.BOOL,
}
"""By numpy's names."""

DTYPES = {value: name for name, value in TENSOR_TYPES.items()}

ACTIVATIONS = {
    "none": generated.ActivationFunctionType.NONE,
    "relu": generated.ActivationFunctionType.RELU,
    "relu6": generated.ActivationFunctionType.RELU6,
}

PADDINGS = {"SAME": generated.Padding.SAME, "VALID": generated.Padding.VALID}

OPERATOR_NAMES: dict[int, str] = {
    value: name for name, value in vars(generated.BuiltinOperator).items() if isinstance(value, int)
}


def operator_code(name: str) -> int:
    """The number of an operator: CONV_2D is 3."""
    return int(getattr(generated.BuiltinOperator, name))


def options(table: str, **fields: Any) -> Any:
    """An options table: `options("Pool2DOptions", padding=0)`. Fields that are left out have the schema's default."""
    made = getattr(generated, f"{table}T")()
    for name, value in fields.items():
        assert hasattr(made, name), (table, name)
        setattr(made, name, value)
    return made


def options_type(made: Any) -> int:
    """Which member of the union BuiltinOptions a table is."""
    return int(getattr(generated.BuiltinOptions, type(made).__name__.removesuffix("T")))
