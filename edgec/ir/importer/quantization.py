"""QuantizeLinear and DequantizeLinear: where integers stand for real numbers.

Integers are int8, int16 or int32. Where a model has uint8, its constants and the values that nothing but
DequantizeLinear reads become int8 with a zero point that is 128 less: the same real numbers. An input or an output of
the model that is uint8 stays so.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgec.ir.graph import Quantization, TensorType, Value
from edgec.ir.importer.handlers import imports
from edgec.ir.importer.node import NodeImport, per_axis
from edgec.ir.kinds import Dequantize, Quantize

_INTEGERS = ("int8", "uint8", "int16", "int32")
_SIGNED = 128  # from uint8 to int8


@imports("QuantizeLinear")
def _quantize_linear(item: NodeImport) -> None:
    item.require_float(0)
    dtype = str(item.model.dtype(item.outputs[0]))
    quantization = _quantization(item, dtype, constant=item.constant(0) is not None)
    result = item.outputs[0]
    readers = item.model.consumers.get(result, [])
    only_dequantized = result not in item.model.outputs and all(node.op_type == "DequantizeLinear" for node in readers)
    if dtype == "uint8" and only_dequantized:
        dtype, quantization = "int8", _signed(quantization)
    item.add(Quantize(), [item.operand(0)], types=[TensorType(item.type(item.operand(0)).shape, dtype, quantization)])


@imports("DequantizeLinear")
def _dequantize_linear(item: NodeImport) -> None:
    if (made := str(item.model.dtype(item.outputs[0]))) != "float32":
        item.refuse(f"its result is {made}", "Export the model in float32.")
    operand = item.operand(0)
    data = item.constant(0)
    quantization = _quantization(item, str(item.model.dtype(operand)), constant=data is not None)
    if item.model.dtype(operand) == np.uint8 and (data is not None or item.type(operand).dtype == "int8"):
        quantization = _signed(quantization)
    if data is not None:
        if data.dtype == np.uint8:
            data = (data.astype(np.int16) - _SIGNED).astype(np.int8)
        stored = _stored(item, operand, data, quantization)
        item.add(Dequantize(), [stored])
        return
    of = item.type(operand)
    if of.quantization is None:
        # An input of the model, or integers that were moved about: this node says what they are.
        values = item.builder.graph.values
        values[operand] = replace(values[operand], type=replace(of, quantization=quantization))
    elif of.quantization != quantization:
        item.refuse(
            f"it reads {operand!r} with other scales than those that it was written with",
            "Give QuantizeLinear and DequantizeLinear of a tensor the same scale and zero point.",
        )
    item.add(Dequantize(), [operand])


def _stored(item: NodeImport, name: str, data: np.ndarray, quantization: Quantization) -> str:
    """The constant with its quantization, under its own name where nobody has read it in another way."""
    graph = item.builder.graph
    known = graph.values[name]
    made = TensorType(data.shape, str(data.dtype), quantization)
    if known.type == made:
        return name
    if known.type.quantization is None and len(item.model.consumers.get(name, [])) == 1:
        graph.values[name] = Value(name, made, data)
        return name
    return item.builder.constant(name, data, quantization)


def _quantization(item: NodeImport, dtype: str, *, constant: bool) -> Quantization:
    """The operands `scale` and `zero_point` of the node, whose integers are `dtype`."""
    if dtype not in _INTEGERS:
        item.refuse(f"its integers are {dtype}", "Quantize to int8 (or int16 activations, int32 biases).")
    if item.attribute("block_size", 0):
        item.refuse("its scales are those of blocks", "Quantize with one scale a tensor or a channel.")
    scale = item.required_constant(1, "scale")
    if scale.dtype != np.float32:
        item.refuse(f"its scale is {scale.dtype}", "Export the model in float32.")
    zero_point = item.required_constant(2, "zero point") if item.has(2) else np.zeros(scale.shape, dtype)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        item.refuse("a scale of it is not a positive number", "Quantize the model again: let edgec do it.")
    shape = item.type(item.operand(0)).shape
    axis = int(item.attribute("axis", 1)) % max(len(shape), 1)
    quantization = per_axis(scale, zero_point.astype(np.int64), axis)
    if quantization.axis is None:
        return quantization
    if not constant:
        item.refuse("it gives an activation several scales", "Quantize activations with one scale a tensor.")
    if any(point != (_SIGNED if dtype == "uint8" else 0) for point in quantization.zero_point):
        item.refuse("it has several scales and zero points", "Quantize weights symmetrically: with zero points of 0.")
    return quantization


def _signed(quantization: Quantization) -> Quantization:
    return replace(quantization, zero_point=tuple(point - _SIGNED for point in quantization.zero_point))
