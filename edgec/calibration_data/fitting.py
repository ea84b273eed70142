"""Whether an array is what an input takes, and how: its shape, its dtype, its values.

Only what can't change a number is done silently: a batch axis of one is added, axes of one are dropped or added in
images, numbers are converted where each keeps its value (and floats where only precision changes). All else is refused
with what was expected, what came, and what was probably meant.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgec.contract import TensorSpec
from edgec.errors import CalibrationDataError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Arrangement:
    """How an array holds tensors of one input.

    samples: length of a leading sample axis; None when the array is one sample.
    steps: length of a time axis (after the sample axis); None when a sample is one step.
    row: an item is one row of a batch larger than one, and is stacked with others.
    """

    samples: int | None = None
    steps: int | None = None
    row: bool = False


def find_arrangement(shape: Sequence[int], spec: TensorSpec, batch: int, sequence: bool) -> Arrangement | None:
    """How an array of `shape` holds tensors of `spec`, or None when it does not.

    batch: the model's batch, where it is larger than one and the same for all inputs; else 1.
    sequence: the model is recurrent: a leading axis is time, the one before it samples.
    """
    whole, given = spec.shape, tuple(shape)
    forms = [whole]  # shapes that one step of one sample may have
    if whole[:1] == (1,):
        forms.append(whole[1:])
    rows = [whole[1:], (1, *whole[1:])] if batch > 1 and not sequence else []
    for axes in range(3 if sequence else 2):
        for form in (*forms, *rows):
            if given[axes:] != form or len(given) < axes:
                continue
            leading = given[:axes]
            if sequence:
                return Arrangement(
                    samples=leading[0] if axes == 2 else None, steps=leading[-1] if axes else None, row=False
                )
            return Arrangement(samples=leading[0] if axes else None, row=form in rows)
    if len(whole) >= 3 and whole[0] == 1 and not sequence:  # images without their channel axis, say
        core = _without_ones(whole)
        if _without_ones(given) == core:
            return Arrangement()
        if len(given) > 1 and _without_ones(given[1:]) == core:
            return Arrangement(samples=given[0])
    return None


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def wrong_shape(where: str, shape: Sequence[int], spec: TensorSpec, sequence: bool) -> CalibrationDataError:
    """The error for an array that does not fit, with what was probably meant."""
    leading = "T x " if sequence else "N x "
    return CalibrationDataError(
        f"{where} does not fit the model's input {spec.name!r}",
        f"It has the shape {by_x(shape)}; the input is {by_x(spec.shape)}, or {leading}that.",
        _shape_hint(tuple(shape), spec),
        {"got": list(shape), "expected": list(spec.shape)},
    )


def _shape_hint(shape: tuple[int, ...], spec: TensorSpec) -> str:
    item = spec.shape[1:] if spec.shape[:1] == (1,) else spec.shape
    for leading in (0, 1):
        rest = shape[leading:]
        if len(rest) == len(item) and sorted(rest) == sorted(item):
            order = next(p for p in itertools.permutations(range(len(rest))) if tuple(rest[i] for i in p) == item)
            axes = (*range(leading), *(leading + i for i in order))
            kind = ""
            if len(item) == 3 and rest[-1] == item[0] and rest[-1] <= 4:
                kind = "This looks like NHWC data for an NCHW model. "
            elif len(item) == 3 and rest[0] == item[-1] and rest[0] <= 4:
                kind = "This looks like NCHW data for an NHWC model. "
            return f"{kind}Transpose it before saving: x.transpose({', '.join(map(str, axes))})."
    size = math.prod(item)
    if size and size in (math.prod(shape), math.prod(shape[1:])):
        return "The number of elements would fit: reshape it before saving, if the order of the elements is right."
    build = _shape_option(shape, item, spec)
    if len(spec.shape) == 4:
        return (
            f"{build}If these are images of another size, save them as image files (or uint8 arrays, height x width "
            "x 3) and name a recipe: --preprocess RECIPE (see `edgec recipes`)."
        )
    return (
        f"{build}Or save arrays of the shape {by_x(spec.shape)}."
        if build
        else f"Save arrays of the shape {by_x(spec.shape)}."
    )


def _shape_option(shape: tuple[int, ...], item: tuple[int, ...], spec: TensorSpec) -> str:
    """How to build the model for arrays that differ from it in some sizes only, such as height and width; else ""."""
    rest = shape if len(shape) == len(item) else shape[1:]
    same = sum(a == b for a, b in zip(rest, item, strict=False))
    if len(rest) != len(item) or 0 in rest or not 0 < same < len(item):
        return ""
    channel = 0 if item[0] <= item[-1] else -1  # of an image: weights are made for so many
    if len(item) == 3 and rest[channel] != item[channel]:
        return ""
    wanted = (*spec.shape[: len(spec.shape) - len(item)], *rest)
    return f"If the model can run at that size, build it so: --shape {spec.name}={by_x(wanted)}. "


def dtype_problem(kind: str, dtype: str, spec: TensorSpec) -> str | None:
    """Why numbers of `dtype` can't be given to `spec`, with what to do; None when they can (values still decide).

    kind: numpy's letter for the kind of `dtype`.
    """
    wanted = _kind(spec.dtype)
    if wanted == "f" and dtype in ("uint8", "int8") and len(spec.shape) >= 3:
        return (
            "These look like raw pixels, and nothing says how the model wants them scaled. Name a recipe "
            "(--preprocess, see `edgec recipes`), or save them scaled as float32."
        )
    if wanted in "iu" and kind == "f":
        return f"The input takes whole numbers. If these are, save them so: x.astype({spec.dtype!r})."
    if wanted == "b" and kind != "b":
        return "Save them as truth values: x.astype(bool)."
    if wanted == "O":
        return f"Inputs of dtype {spec.dtype} can't be calibrated from arrays."
    return None


def _kind(dtype: str) -> str:
    for start, kind in (("float", "f"), ("uint", "u"), ("int", "i"), ("bool", "b")):
        if dtype.startswith(start):
            return kind
    return "O"


def wrong_dtype(where: str, dtype: str, spec: TensorSpec, problem: str) -> CalibrationDataError:
    return CalibrationDataError(
        f"{where} does not fit the model's input {spec.name!r}",
        f"It holds {dtype}; the input is {spec.dtype}.",
        problem,
        {"got": dtype, "expected": spec.dtype},
    )


def fit(array: np.ndarray, spec: TensorSpec, shape: Sequence[int], where: str) -> np.ndarray:
    """`array` as a tensor of `shape` and of the dtype of `spec`, contiguous, in the machine's byte order.

    where: names the array in errors.
    Raises CalibrationDataError for values that are not finite or that the dtype can't hold.
    """
    import numpy as np

    problem = dtype_problem(array.dtype.kind, array.dtype.name, spec)
    if problem is not None:
        raise wrong_dtype(where, array.dtype.name, spec, problem)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        bad = int(array.size - np.isfinite(array).sum())
        raise CalibrationDataError(
            f"{where} holds values that are not finite",
            f"The first is {array[first]} at index {list(first)}; {bad} of {array.size} in all.",
            "Find out where NaN or infinity comes from in the preparation of the data, or leave the sample out.",
        )
    with np.errstate(over="ignore"):
        tensor: np.ndarray = array.astype(spec.dtype)
    wanted = np.dtype(spec.dtype)
    exact = array.dtype.kind == "f" or bool((tensor.astype(array.dtype) == array).all())
    if wanted.kind in "iu" and array.dtype.kind in "iu" and array.size:  # a wrapped value can return to itself
        limits = np.iinfo(wanted)
        exact = limits.min <= int(array.min()) and int(array.max()) <= limits.max
    if not exact or (wanted.kind == "f" and not np.isfinite(tensor).all()):
        raise CalibrationDataError(
            f"{where} holds values that {spec.dtype} can't hold",
            f"They reach from {array.min()} to {array.max()}; the input {spec.name!r} is {spec.dtype}.",
            "Bring them into that range, or leave the sample out.",
        )
    return np.ascontiguousarray(tensor).reshape(tuple(shape))


def by_x(shape: Sequence[int]) -> str:
    """A shape as people write it: 1x3x224x224."""
    return "x".join(str(size) for size in shape) or "a single number"
