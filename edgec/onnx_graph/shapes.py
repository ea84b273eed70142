"""Static shapes: an artifact for a device has one size, known when it is built."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence

import onnx

from edgec.errors import ModelRefused
from edgec.onnx_graph.fields import ELEMENT_TYPES

_GUESSES = ((224, 224, 128), (48, 320, 512), (640, 640, 64))
"""Height and width of an image, and the length of anything else, that a model which leaves them open may take: the most
usual first; a line of text; a page. Only the first is proposed; the others are for trying out."""

_NAMELESS = re.compile(r"\?|0|-\d+")

MOST_BYTES = 8 << 30
"""Of one tensor. Devices have less memory, and so have most machines that build for them."""

Dimension = int | str
"""A fixed size, or the name of an open one; where it has none, "?", or the "0" or "-1" that the model has there."""


def declared(item: onnx.ValueInfoProto) -> list[Dimension] | None:
    """The dimensions of an input or output as the model gives them; None when not even their number is known.

    Zero and negative sizes are what some exporters write for "open".
    """
    kind = item.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [dim.dim_value if dim.dim_value > 0 else dim.dim_param or _unnamed(dim) for dim in kind.shape.dim]


def _unnamed(dim: onnx.TensorShapeProto.Dimension) -> str:
    return str(dim.dim_value) if dim.HasField("dim_value") else "?"


def freeze_inputs(
    model: onnx.ModelProto, shapes: Sequence[tuple[str, tuple[int, ...]]], warn: Callable[[str], None]
) -> None:
    """Give every input of the model a static shape, and forget every shape inside of the graph that may have changed.

    shapes: (input, dims) as the user gave them. An open dimension that shares its name with one that the user fixed
    takes its value. Raises ModelRefused when a shape does not fit the model, or when a dimension stays open.
    """
    inputs = {item.name: item for item in model.graph.input}
    chosen = dict(shapes)
    known: dict[str, int] = {}
    for name, dims in chosen.items():
        if name not in inputs:
            raise _no_such_input(name, dims, inputs, model)
        for axis, (given, size) in enumerate(zip(_matched(name, dims, declared(inputs[name])), dims, strict=True)):
            if isinstance(given, str) and not _NAMELESS.fullmatch(given) and known.setdefault(given, size) != size:
                warn(
                    f"The model calls dimension {axis} of {name} {given!r}, as one of another input, but --shape gives "
                    f"them the sizes {size} and {known[given]}."
                )
    settled: dict[str, Sequence[Dimension] | None] = {}
    for name, item in inputs.items():
        settled[name] = chosen[name] if name in chosen else _by_name(declared(item), known)
    if any(dims is None or any(isinstance(dim, str) for dim in dims) for dims in settled.values()):
        raise _open(settled)
    for name, item in inputs.items():
        shape = item.type.tensor_type.shape
        shape.SetInParent()
        del shape.dim[:]
        for dim in settled[name] or ():
            assert isinstance(dim, int)
            shape.dim.add(dim_value=dim)
    del model.graph.value_info[:]
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()
    check_sizes(model)


def check_sizes(model: onnx.ModelProto) -> None:
    """Raises ModelRefused when an input, an output or a tensor in between needs more than MOST_BYTES.

    model: with the shapes that are known so far, in inputs, outputs and value_info.
    """
    graph = model.graph
    roles = [("input", graph.input), ("output", graph.output), ("tensor", graph.value_info)]
    for role, item in ((role, item) for role, items in roles for item in items):
        kind = item.type.tensor_type
        dims = [dim.dim_value for dim in kind.shape.dim]
        element = ELEMENT_TYPES.get(kind.elem_type)
        size = math.prod(dims) * (element.bits if element else 8) // 8
        if size > MOST_BYTES:
            raise ModelRefused(
                f"The {role} {item.name!r} is too large: {text(dims)} takes {size / 2**30:,.1f} GiB",
                f"edgec runs the model while it builds, and takes tensors of up to {MOST_BYTES >> 30} GiB.",
                "Give smaller sizes with --shape, or export the model for smaller inputs.",
                {"tensor": item.name, "bytes": size},
            )


def _by_name(dims: list[Dimension] | None, known: Mapping[str, int]) -> list[Dimension] | None:
    """`dims` with the open ones filled in whose name has a known size."""
    return None if dims is None else [known.get(dim, dim) if isinstance(dim, str) else dim for dim in dims]


def _matched(name: str, dims: tuple[int, ...], given: list[Dimension] | None) -> list[Dimension]:
    """The model's dimensions of an input for which the user gave `dims`; raises ModelRefused when they disagree."""
    flag = f"--shape {name}={text(dims)}"
    if any(size < 1 for size in dims):
        raise ModelRefused(
            f"{flag} does not fit the model",
            "Every size must be at least 1.",
            "Give positive numbers, as in 1x3x224x224.",
        )
    if given is None:
        return list(dims)
    if len(given) != len(dims):
        raise ModelRefused(
            f"{flag} does not fit the model",
            f"The input {name} has {len(given)} dimensions ({text(given)}), the flag gives {len(dims)}.",
            f"Give {len(given)} sizes: {_flag(name, given)}",
        )
    for axis, (fixed, size) in enumerate(zip(given, dims, strict=True)):
        if isinstance(fixed, int) and fixed != size:
            raise ModelRefused(
                f"{flag} does not fit the model",
                f"Dimension {axis} of the input {name} is fixed at {fixed} in the model ({text(given)}).",
                f"Leave it at {fixed}, or export the model with that dimension open (`dynamic_axes`).",
            )
    return given


def text(dims: Sequence[Dimension]) -> str:
    """Dimensions as the flag --shape has them: 1x3x224x224."""
    return "x".join(map(str, dims)) or "scalar"


def _flag(name: str, dims: Sequence[Dimension] | None) -> str:
    """A flag that fixes the open dimensions of an input, with likely sizes."""
    return f"--shape {name}={text(_sizes(dims))}"


def _sizes(dims: Sequence[Dimension] | None, guess: tuple[int, int, int] = _GUESSES[0]) -> list[int]:
    """The dimensions of an input with likely sizes where they are open."""
    if dims is None:
        return [1, 3, guess[0], guess[1]]
    return [dim if isinstance(dim, int) else _likely(dim, axis, dims, guess) for axis, dim in enumerate(dims)]


def _likely(name: str, axis: int, dims: Sequence[Dimension], guess: tuple[int, int, int]) -> int:
    """A size for an open dimension that a person can start from."""
    recurrent_state = len(dims) == 3 and axis == 1 and isinstance(dims[0], int) and isinstance(dims[2], int)
    if axis == 0 or name.lower() in ("n", "b") or "batch" in name.lower() or recurrent_state:
        return 1
    if len(dims) == 4:
        channels_last = dims[3] in (1, 3, 4)
        height, channel = (1, 3) if channels_last else (2, 1)
        return 3 if axis == channel else guess[0] if axis == height else guess[1]
    return guess[2]


def _open(settled: Mapping[str, Sequence[Dimension] | None]) -> ModelRefused:
    """The error that names every open input, its dimensions, and the flags to type."""
    unsettled = {
        name: dims for name, dims in settled.items() if dims is None or any(isinstance(dim, str) for dim in dims)
    }
    lines = [f"  {name}: {'unknown' if dims is None else text(dims)}" for name, dims in unsettled.items()]
    flags = " ".join(_flag(name, dims) for name, dims in unsettled.items())
    only_batch = all(dims is not None and all(isinstance(dim, int) for dim in dims[1:]) for dims in unsettled.values())
    own = "" if only_batch else " (with your own sizes where the model leaves them open)"
    zero = any(dim in ("0", "-1") for dims in unsettled.values() for dim in dims or ())
    meaning = "\nA size of 0 or -1 is taken for open." if zero else ""
    return ModelRefused(
        "The model leaves dimensions open; an artifact needs static shapes",
        "These inputs are not fixed:\n" + "\n".join(lines) + meaning,
        f"Add{own}: {flags}",
        {
            "open": {name: None if dims is None else list(dims) for name, dims in unsettled.items()},
            "likely": [{name: _sizes(dims, guess) for name, dims in unsettled.items()} for guess in _GUESSES],
            "flags": flags,
        },
    )


def _no_such_input(
    name: str, dims: tuple[int, ...], inputs: Mapping[str, onnx.ValueInfoProto], model: onnx.ModelProto
) -> ModelRefused:
    why = f"The model's inputs are: {', '.join(inputs)}."
    if any(item.name == name for item in model.graph.initializer):
        why = f"{name} is a constant of the model, not an input. {why}"
    close = difflib.get_close_matches(name, inputs, 1)
    fix = f"Did you mean --shape {close[0]}={text(dims)} ?" if close else "Name one of them in --shape."
    return ModelRefused(f"The model has no input {name!r}, which --shape names", why, fix)
