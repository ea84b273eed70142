"""The node tests of claimed operators that are refused, each for a stated reason. A test asserts that they are.

An operator may be claimed and still not in every form that ONNX gives it: what can't be computed is refused by name
before anything is lowered, and never computed wrongly.
"""

from __future__ import annotations

import re

from tests.ir.conformance.cases import Case

DTYPES = {"float", "int8", "int16", "int32", "int64", "uint8", "bool"}
"""Element types that the graph's inputs and outputs have, by ONNX's names."""

AT_THE_BORDER = re.compile(r"test_cast_(FLOAT_to_(FLOAT16|DOUBLE)|(FLOAT16|DOUBLE)_to_FLOAT)")
"""Casts that are left to who runs the graph: it has float32 in the place of these types."""

REFUSALS: tuple[tuple[str, str], ...] = (
    (r"_empty_set|_zero_size_|tri[lu]_zero|constantofshape_int_shape_zero|allowzero_reordered", "has no elements"),
    (r"shape_start_greater_than_end|slice_start_out_of_bounds", "has no elements"),
    (r"conv_with_state_kernel_size_one", "has no elements"),  # a convolution's state of no elements
    (r"pool_3d|convtranspose_3d|conv_3d", "spatial dimensions"),
    (r"_antialias", "antialias"),
    (r"resize_tf_crop_and_resize_extrapolation_value", "outside of the image"),
    (r"training_dropout(?!_zero_ratio)", "at random"),
    (r"batchnorm_\w+_training_mode", "training mode"),
    (r"maxpool_with_argmax", "positions of its largest elements"),
    (r"maxpool_2d_uint8", "computes in uint8"),
    (r"_blocked", "scales are those of blocks"),
    (r"(de)?quantizelinear_axis", "gives an activation several scales"),
    (r"scatter\w*_(add|max|min|mul|multiply|duplicate)", "into positions that are computed at run time"),
    (r"scatternd_(max|min)_with_element_indices", "into positions that are computed at run time"),
    (r"dynamicquantizelinear\w*_expanded", "computed at run time"),  # its scale is that of each input
    (r"local_window_gqa_rank4_mask", "float64"),  # within the function that defines Attention
)
"""(pattern of names, part of the reason), the first that fits."""

OF_BACKENDS: dict[str, tuple[tuple[str, str], ...]] = {
    "tflite": ((r"bitshift_", "no operator for shift_"), (r"bitwise_(and|or)", "no operator for bitwise_")),
}
"""The same for what one backend refuses besides."""


def reasons(route: str) -> tuple[tuple[str, str], ...]:
    """The table of a route."""
    return (*REFUSALS, *OF_BACKENDS.get(route, ()))


def refusal(case: Case, route: str) -> str | None:
    """A part of the reason for which a claimed case must be refused on a route; None where it must pass."""
    if not case.dtypes <= DTYPES and not AT_THE_BORDER.fullmatch(case.name):
        return ""
    return next((reason for pattern, reason in reasons(route) if re.search(pattern, case.name)), None)
