"""Which operators the Edge TPU compiler maps, and under which conditions.

The compiler is closed; this table holds what is published of it, and for each operator where that was read:

    coral   https://coral.ai/docs/edgetpu/models-intro/#supported-operations, as of 2019, in a public copy
            (https://github.com/dgist-datalab/Datalab_Intern, Edge_TPU/convert_model_for_Edge_TPU.md)
    axis    https://developer.axis.com/computer-vision/on-device/system-on-chip/artpec-7/supported-ops/: the table of a
            camera whose accelerator is an Edge TPU
    N       https://github.com/google-coral/edgetpu/issues/N
    memory  the table on coral.ai as people remember it; no copy was at hand to read it in

Least runtime versions are those of Coral's table, from memory too, but for QUANTIZE (issue 439) and TRANSPOSE (issue
193), which were read. The compiler's newest release, 16.0, targets runtime 14.

Highest versions of operators are those of TensorFlow 2.6, as compiler 16.0 was built in the summer of 2021 (issue 631
shows that CONV_2D ends at 5, as there). A file with a newer one is refused
as a whole: "Didn't find op for builtin opcode 'CONV_2D' version '6'".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from edgec.backends.edgetpu.network import Operator, Tensor, activation
from edgec.backends.edgetpu.statuses import Status

NEWEST_RUNTIME = 14
"""What the compiler's last release targets unless told otherwise."""

SOFTMAX_ELEMENTS = 16_000
"""The longest Softmax (coral)."""

MEAN_ELEMENTS = 8_192
"""Issue 461: a Mean over 64 x 128 was mapped, one over 256 x 128 was not. The limit lies somewhere between."""

RESIZE_ELEMENTS = 128 * 128
"""Issue 31: a resize was mapped at 128 x 128 and not at 512 x 512. No limit is published."""

HALF_PIXELS_SINCE = 14
"""Compiler 15 (runtime 13) refuses resizes with half-pixel centers (issues 206, 396, 420). 16 maps those that Keras
writes, which have them (https://github.com/WongKinYiu/yolov7/pull/1672)."""

ON_DEVICE_TYPES = frozenset({"int8", "uint8"})


@dataclass(frozen=True)
class Objection:
    """Why an operation is not mapped: the compiler's status, the cause, and what would change it."""

    status: Status
    reason: str
    remedy: str


Check = Callable[[Operator], Objection | None]


@dataclass(frozen=True)
class Rule:
    """What is known of one operator.

    version: the highest that the compiler can read. since: the least runtime version.
    limits: the conditions, in words. sources: where they were read; see the module.
    parameters: positions of operands that must be constants. checks: the conditions.
    caveat: what the published limits leave open of an operation that meets them all.
    """

    operator: str
    version: int
    since: int = 0
    limits: str = ""
    sources: str = "coral, axis"
    parameters: tuple[int, ...] = ()
    checks: tuple[Check, ...] = ()
    caveat: Callable[[Operator], str | None] | None = None


def objection(operator: Operator, runtime: int = NEWEST_RUNTIME) -> Objection | None:
    """Why the compiler would not map an operator; None where nothing that is published speaks against it."""
    if operator.name == "DEQUANTIZE":  # issue 490 shows this status, not that it is unknown
        return Objection(
            Status.DATA_TYPE,
            f"it makes {operator.label!r} of integers, which is float: that is the CPU's",
            "Build with --io int8 where whoever loads the payload can take integers.",
        )
    rule = RULES.get(operator.name)
    if rule is None:
        return Objection(
            Status.OPERATION,
            "the Edge TPU has no such operator",
            REPLACEMENTS.get(operator.name, "Leave it to the CPU at the end of the model, or build the model without."),
        )
    for position in rule.parameters:
        if (found := _constant(operator, position)) is not None:
            return found
    if (found := _data_types(operator) or _rank(operator)) is not None:
        return found
    if runtime < rule.since:
        return Objection(
            Status.VERSION,
            f"it needs runtime version {rule.since}, and the target has {runtime}",
            f"Update the Edge TPU runtime of the device to version {rule.since}.",
        )
    if runtime < HALF_PIXELS_SINCE and operator.option("halfPixelCenters", False):
        return Objection(
            Status.VERSION,
            f"its half-pixel centers need runtime version {HALF_PIXELS_SINCE}, and the target has {runtime}",
            "Update the runtime of the device, or resize with the asymmetric coordinate transformation.",
        )
    if operator.version > rule.version:
        return Objection(
            Status.VERSION,
            f"the file has version {operator.version} of it, and the compiler reads up to {rule.version}",
            "Write the operator in an older version.",
        )
    return next((item for check in rule.checks if (item := check(operator)) is not None), None)


def caveat(operator: Operator) -> str | None:
    """What may yet keep an operator without objections from being mapped; None where nothing is known to."""
    rule = RULES[operator.name]
    return rule.caveat(operator) if rule.caveat is not None else None


# --- conditions of all operators ---


def _data_types(operator: Operator) -> Objection | None:
    if operator.name == "QUANTIZE" and operator.given and operator.given[0].dtype == "float32":
        return Objection(  # issues 13 and 317 show this status, not that of the data type
            Status.LIMITATION,
            f"it makes integers of {operator.given[0].name!r}, which is float: that is the CPU's",
            "Build with --io int8 where whoever loads the payload can hand over integers.",
        )
    for tensor in operator.computed:
        if not tensor.static:
            return Objection(
                Status.LIMITATION,
                f"the shape of {tensor.name!r} is left open",
                "Fix the shapes of the model's inputs with --shape.",
            )
        if tensor.dtype not in ON_DEVICE_TYPES:
            return Objection(
                Status.DATA_TYPE,
                f"{tensor.name!r} is {tensor.dtype or 'of an unknown type'}",
                "Only operations on 8-bit integers are mapped: quantize it, or leave it to the CPU at the end.",
            )
    return None


def _rank(operator: Operator) -> Objection | None:
    for tensor in operator.computed:
        if any(size > 1 for size in tensor.shape[:-3]):
            return Objection(
                Status.RANK,
                f"{tensor.name!r} is {_by_x(tensor.shape)}: only the three innermost dimensions may be larger than 1",
                "Build for a batch of one, and reshape so that outer dimensions are 1.",
            )
    return None


def _constant(operator: Operator, position: int) -> Objection | None:
    tensor = operator.input(position)
    if tensor is None or (tensor.constant and not tensor.outside):
        return None
    why = "lies behind the flatbuffer" if tensor.outside else "is computed at run time"
    return Objection(
        Status.NOT_CONSTANT,
        f"its operand {tensor.name!r} {why}",
        "Only constants inside of the file can be weights, biases and parameters.",
    )


# --- conditions of some ---


def _no_activation(operator: Operator) -> Objection | None:
    if (fused := activation(operator)) == "NONE":
        return None
    return Objection(
        Status.LIMITATION, f"{fused} is fused into it", "Write the activation as an operator of its own behind it."
    )


def _equal_dilation(operator: Operator) -> Objection | None:
    rows, columns = operator.option("dilationHFactor", 1), operator.option("dilationWFactor", 1)
    if rows == columns:
        return None
    return Objection(
        Status.LIMITATION,
        f"its dilation is {rows} down and {columns} across",
        "Use the same dilation in both directions.",
    )


def _one_group(operator: Operator) -> Objection | None:
    image, weights = operator.given[0], operator.given[1]
    if weights.shape[-1:] == image.shape[-1:]:
        return None
    groups = image.shape[-1] // max(1, weights.shape[-1])
    return Objection(
        Status.LIMITATION,
        f"it has {groups} groups, which no published list mentions",
        "Use a full convolution, or a depthwise one followed by a 1x1 convolution.",
    )


def _one_dimensional_output(operator: Operator) -> Objection | None:
    shape = operator.outputs[0].shape
    if all(size == 1 for size in shape[:-1]):
        return None
    return Objection(
        Status.TWO_DIMENSIONAL,
        f"its result is {_by_x(shape)}: only the last dimension may be larger than 1",
        "End the model before it." if operator.name == "SOFTMAX" else "Write it as a 1x1 convolution.",
    )


def _default_weights(operator: Operator) -> Objection | None:
    if not operator.option("weightsFormat", 0):
        return None
    return Objection(Status.LIMITATION, "its weights are shuffled", "Write them in the default format.")


def _one_scale(operator: Operator) -> Objection | None:
    weights = operator.input(1)
    if weights is None or not weights.per_axis:
        return None
    return Objection(
        Status.LIMITATION,
        "its weights have a scale for each output: the compiler's TensorFlow Lite knows one for all of them",
        "Quantize these weights per tensor.",
    )


def _softmax_size(operator: Operator) -> Objection | None:
    if operator.outputs[0].size <= SOFTMAX_ELEMENTS:
        return None
    return Objection(
        Status.LIMITATION,
        f"it has {operator.outputs[0].size:,} elements, and {SOFTMAX_ELEMENTS:,} is the most",
        "End the model before it: the largest element is the same before and after it.",
    )


def _padding_of_concatenation(operator: Operator) -> Objection | None:
    constants = [tensor for tensor in operator.given if tensor.constant]
    if not constants or (len(operator.given) == 2 and all(_is_zero(tensor) for tensor in constants)):
        return None
    return Objection(
        Status.LIMITATION,
        f"it puts the constant {constants[0].name!r} beside the rest",
        "Add the constant's elements where the result is used, on the CPU.",
    )


def _not_the_batch(what: str, axes: Callable[[Operator], Iterable[int]]) -> Check:
    """`axes` counts from the inside, as the Edge TPU does: -1 are the channels, -4 is the batch."""

    def check(operator: Operator) -> Objection | None:
        if all(axis > -4 for axis in axes(operator)):
            return None
        return Objection(
            Status.LIMITATION, f"it {what} the batch dimension", "Reshape so that the first dimension stays 1."
        )

    return check


def _reduced_axes(operator: Operator) -> list[int]:
    rank = len(operator.given[0].shape)
    return [axis if axis < 0 else axis - rank for axis in _integers(operator.input(1))]


def _pack_axis(operator: Operator) -> list[int]:
    axis, rank = int(operator.option("axis", 0)), len(operator.outputs[0].shape)
    return [axis if axis < 0 else axis - rank]


def _split_axis(operator: Operator) -> list[int]:
    rank = len(operator.outputs[0].shape)
    return [axis if axis < 0 else axis - rank for axis in _integers(operator.input(0))]


def _padded_axes(operator: Operator) -> list[int]:
    amounts, rank = _integers(operator.input(1)), len(operator.given[0].shape)
    return [axis - rank for axis in range(len(amounts) // 2) if any(amounts[2 * axis : 2 * axis + 2])]


def _reduced_depth(operator: Operator) -> Objection | None:
    shape = operator.given[0].shape
    if -1 not in _reduced_axes(operator) or shape[-1] % 4 == 0:
        return None
    return Objection(
        Status.LIMITATION,
        f"it reduces the {shape[-1]} channels, which are no multiple of 4",
        "Reduce over height and width only, or use a number of channels that 4 divides.",
    )


def _reduced_elements(operator: Operator) -> Objection | None:
    shape = operator.given[0].shape
    count = int(np.prod([shape[axis] for axis in set(_reduced_axes(operator))], dtype=np.int64))
    if count <= MEAN_ELEMENTS:
        return None
    return Objection(
        Status.LIMITATION,
        f"it reduces over {count:,} elements; {MEAN_ELEMENTS:,} have been seen to be mapped, and 32,768 not to be",
        "Split the input, reduce the parts, and reduce their results.",
    )


def _slope_of_channels(operator: Operator) -> Objection | None:
    slope = operator.input(1)
    if slope is None or all(size == 1 for size in slope.shape[:-1]):
        return None
    return Objection(
        Status.LIMITATION,
        f"its slopes are {_by_x(slope.shape)}: only the innermost dimension may be larger than 1",
        "Train it with one slope for each channel (Keras: shared_axes=[1, 2]).",
    )


def _leading_ones(operator: Operator) -> Objection | None:
    source, result = operator.given[0].shape, operator.outputs[0].shape
    if _without_leading_ones(source) == _without_leading_ones(result):
        return None
    return Objection(
        Status.LIMITATION,
        f"it takes a dimension out of the middle of {_by_x(source)}",
        "Only leading ones can be taken away; reshape instead.",
    )


def _steps_of_one(operator: Operator) -> Objection | None:
    if all(step == 1 for step in _integers(operator.input(3))):
        return None
    return Objection(Status.LIMITATION, "its strides are not 1", "Use a convolution or a pooling with that stride.")


def _half_pixels(operator: Operator) -> Objection | None:
    if not (operator.option("halfPixelCenters", False) and operator.option("alignCorners", False)):
        return None
    return Objection(
        Status.VERSION,
        "it asks for half-pixel centers and aligned corners at once",
        "Choose one coordinate transformation.",
    )


def _resize_size(operator: Operator) -> str | None:
    _, rows, columns, _ = (1, 1, 1, 1, *operator.outputs[0].shape)[-4:]
    if rows * columns <= RESIZE_ELEMENTS:
        return None
    return (
        f"resizing to {rows}x{columns} may be refused: the compiler leaves out what it can't compute precisely enough, "
        "by limits that are not published"
    )


def _reshape_size(operator: Operator) -> str | None:
    source, result = operator.given[0].shape, operator.outputs[0].shape
    if tuple(size for size in source if size > 1) == tuple(size for size in result if size > 1):
        return None
    return "reshapes of large tensors may be refused, by limits that are not published"


def _some_transposes(_: Operator) -> str | None:
    return "some transposes are refused, by limits that are not published (issue 433)"


def _some_transpose_convolutions(_: Operator) -> str | None:
    return "large transpose convolutions have been refused (issues 684 and 686)"


# --- readings ---


def _integers(tensor: Tensor | None) -> list[int]:
    if tensor is None or tensor.data is None:
        return []
    return [int(value) for value in tensor.data.reshape(-1)]


def _is_zero(tensor: Tensor) -> bool:
    """Whether a constant stands for 0 throughout."""
    return tensor.data is not None and bool((tensor.data == tensor.zero_point).all())


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    first = next((position for position, size in enumerate(shape) if size != 1), len(shape))
    return shape[first:]


def _by_x(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


_NO_BATCH = "not over the batch"
_RULES = (
    Rule("ADD", 4),
    Rule("AVERAGE_POOL_2D", 3, 0, "no fused activation", checks=(_no_activation,)),
    Rule(
        "CONCATENATION",
        3,
        0,
        "no fused activation; a constant only as one of two inputs, and all zeros",
        checks=(_no_activation, _padding_of_concatenation),
    ),
    Rule(
        "CONV_2D",
        5,
        0,
        "constant weights; same dilation in both directions; one group",
        "coral, axis, 631",
        (1, 2),
        (_equal_dilation, _one_group),
    ),
    Rule(
        "DEPTHWISE_CONV_2D",
        6,
        0,
        "constant weights; same dilation in both directions",
        parameters=(1, 2),
        checks=(_equal_dilation,),
    ),
    Rule("EXPAND_DIMS", 1, 13, "", "axis"),
    Rule(
        "FULLY_CONNECTED",
        9,
        0,
        "constant weights in the default format, with one scale; one-dimensional result",
        "coral, axis, 25, 27",
        (1, 2),
        (_one_dimensional_output, _default_weights, _one_scale),
    ),
    Rule("L2_NORMALIZATION", 2),
    Rule("LOGISTIC", 3),
    Rule("MAXIMUM", 4),
    Rule("MAX_POOL_2D", 3, 0, "no fused activation", checks=(_no_activation,)),
    Rule(
        "MEAN",
        3,
        0,
        f"{_NO_BATCH}; channels only where 4 divides their number; at most {MEAN_ELEMENTS:,} elements",
        "axis, 461",
        (1,),
        (_not_the_batch("reduces", _reduced_axes), _reduced_depth, _reduced_elements),
    ),
    Rule("MINIMUM", 4),
    Rule("MUL", 5),
    Rule("PACK", 3, 13, _NO_BATCH, "axis", checks=(_not_the_batch("packs along", _pack_axis),)),
    Rule("PAD", 4, 0, _NO_BATCH, "axis", (1,), (_not_the_batch("pads", _padded_axes),)),
    Rule("PRELU", 1, 13, "constant slopes, at most one for each channel", "axis", (1,), (_slope_of_channels,)),
    Rule("QUANTIZE", 2, 13, "from 8 bits to 8 bits", "axis, 439"),
    Rule("REDUCE_MAX", 3, 14, _NO_BATCH, "axis", (1,), (_not_the_batch("reduces", _reduced_axes),)),
    Rule("REDUCE_MIN", 3, 14, _NO_BATCH, "axis", (1,), (_not_the_batch("reduces", _reduced_axes),)),
    Rule("RELU", 3),
    Rule("RELU6", 3),
    Rule("RELU_N1_TO_1", 1),
    Rule("RESHAPE", 1, 0, "large ones may be refused", parameters=(1,), caveat=_reshape_size),
    Rule(
        "RESIZE_BILINEAR",
        4,
        0,
        "large ones may be refused; half-pixel centers from runtime 14 on",
        "coral, axis, 31, 63, 396",
        (1,),
        (_half_pixels,),
        _resize_size,
    ),
    Rule(
        "RESIZE_NEAREST_NEIGHBOR",
        4,
        0,
        "large ones may be refused; half-pixel centers from runtime 14 on",
        "coral, axis, 206, 420",
        (1,),
        (_half_pixels,),
        _resize_size,
    ),
    Rule("RSQRT", 2, 14, "", "memory"),
    Rule("SLICE", 5, 0, "constant begin and size", parameters=(1, 2)),
    Rule(
        "SOFTMAX",
        3,
        0,
        f"one-dimensional, at most {SOFTMAX_ELEMENTS:,} elements",
        "coral, axis, 27",
        (),
        (_one_dimensional_output, _softmax_size),
    ),
    Rule("SPACE_TO_DEPTH", 2),
    Rule("SPLIT", 4, 0, _NO_BATCH, "coral, axis", (0,), (_not_the_batch("splits", _split_axis),)),
    Rule("SQUARED_DIFFERENCE", 2, 14, "", "memory"),
    Rule("SQUEEZE", 1, 0, "leading ones only", "coral", (), (_leading_ones,)),
    Rule(
        "STRIDED_SLICE",
        4,
        0,
        "constant begin, end and strides; strides of 1",
        "coral, axis",
        (1, 2, 3),
        (_steps_of_one,),
    ),
    Rule("SUB", 5),
    Rule(
        "SUM",
        2,
        13,
        f"{_NO_BATCH}; channels only where 4 divides their number; at most {MEAN_ELEMENTS:,} elements",
        "memory",
        (1,),
        (_not_the_batch("reduces", _reduced_axes), _reduced_depth, _reduced_elements),
    ),
    Rule("TANH", 3),
    Rule("TRANSPOSE", 5, 14, "some are refused", "193, 433", (1,), (), _some_transposes),
    Rule(
        "TRANSPOSE_CONV",
        3,
        13,
        "constant weights; large ones may be refused",
        "147, 684",
        (0, 1, 3),
        (),
        _some_transpose_convolutions,
    ),
)
RULES = {rule.operator: rule for rule in _RULES}
"""By the operator's name in the TensorFlow Lite schema."""

REPLACEMENTS = {
    "ARG_MAX": "End the model before it, and take the largest element on the CPU.",
    "BATCH_MATMUL": "Products of two computed tensors are left to the CPU; put them behind all convolutions.",
    "DEPTH_TO_SPACE": "Use a transpose convolution, or a resize followed by a convolution.",
    "DIV": "Multiply by the reciprocal of a constant.",
    "ELU": "Train the model with Relu or PRelu.",
    "EXP": "End the model before it, and compute it on the CPU.",
    "GATHER": "Use Slice or Split with constant limits.",
    "GELU": "Train the model with Relu, or write x * Sigmoid(1.702 x).",
    "HARD_SWISH": "Train the model with Relu6 (as the EfficientNet-Lite models are), or write x * Sigmoid(x).",
    "LEAKY_RELU": "Write it as PRelu with constant slopes (runtime 13), or train the model with Relu.",
    "LOG_SOFTMAX": "End the model before it: the largest element is the same before and after it.",
    "MIRROR_PAD": "Pad with zeros.",
    "PADV2": "Pad with zeros: put the Relu before the pooling, or use padding that the pooling itself can do.",
    "SPLIT_V": "Split into equal parts, or use Slice.",
    "SQRT": "Use Rsqrt (runtime 14), or leave it to the CPU.",
    "TILE": "Let the next operation broadcast.",
    "TOPK_V2": "End the model before it, and sort on the CPU.",
    "UNPACK": "Use Split and Reshape.",
}
"""What may stand in an operator's place, by its name in the TensorFlow Lite schema."""


def table() -> list[str]:
    """The rules as a table in Markdown, for docs/edgetpu.md."""
    lines = ["| operator | up to version | from runtime | conditions | read in |", "|---|---|---|---|---|"]
    for rule in RULES.values():
        since = str(rule.since or "any")
        lines.append(f"| {rule.operator} | {rule.version} | {since} | {rule.limits} | {rule.sources} |")
    return lines
