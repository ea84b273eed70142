"""Calibration recipes: how the user's files become input tensors. One TOML file each, in calibration/.

A recipe is declared once, hashed into every result that depends on it, and shipped in the artifact, where the device
applies it with the code that calibration used (edgec.runtime.preprocess).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgec import resources
from edgec.contract import TensorSpec
from edgec.errors import UsageError
from edgec.runtime.layouts import LAYOUTS, find_layout, height_and_width
from edgec.toml_schema import Table, did_you_mean

COLORS = ("RGB", "BGR", "GRAY")
DTYPES = ("float32", "float16", "uint8", "int8")
INTERPOLATIONS = ("bilinear", "bicubic", "nearest", "area", "lanczos")
OPS = ("center_crop", "resize", "resize_shorter", "letterbox", "resize_height_pad_width")


@dataclass(frozen=True)
class Step:
    """One step of geometry. Options that the op does not have are None.

    center_crop: `size` (height, width), or `fraction` of the shorter side (a square); neither: the model's own size.
    resize: `size` (height, width); None is the model's own. The aspect ratio is not kept.
    resize_shorter: the shorter side becomes `size` pixels; or the image covers `relative` times the model's input.
    letterbox: fit into the model's size, keep the aspect ratio; `align` "center" or "start" in a border of `fill`.
    resize_height_pad_width: to the model's height, keep the aspect ratio up to the model's width, border on the right.
    """

    op: str
    size: int | tuple[int, int] | None = None
    fraction: float | None = None
    relative: float | None = None
    interpolation: str | None = None
    fill: float | None = None
    align: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Normalization:
    """(x * scale - mean) / std; mean and std have one entry, or one for each channel in the order of `color`."""

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class CalibrationRecipe:
    """How a file becomes an input tensor.

    applies_to: "images" (files and uint8 arrays of pixels), or "arrays" (.npy, .npz: normalization only).
    color: the order of the channels that the model sees.
    layout: one of edgec.runtime.layouts.LAYOUTS, or "auto": read off the shape of the model's input.
    made_for: (height, width) of the models that the recipe is meant for; a hint for people, never a condition.
    """

    name: str
    title: str
    applies_to: str
    color: str
    layout: str
    dtype: str
    steps: tuple[Step, ...]
    normalize: Normalization
    made_for: tuple[int, int] | None = None

    @property
    def channels(self) -> int:
        return 1 if self.color == "GRAY" else 3

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides the numbers: not the name and the title."""
        decisive = {key: value for key, value in self.to_json().items() if key not in ("name", "title")}
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(b"edgec recipe 1\n" + text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain values, as edgec.runtime.preprocess takes them and as they stand in an artifact."""
        return {
            "name": self.name,
            "title": self.title,
            "applies_to": self.applies_to,
            "color": self.color,
            "layout": self.layout,
            "dtype": self.dtype,
            "steps": [
                {key: list(value) if isinstance(value, tuple) else value for key, value in step.to_json().items()}
                for step in self.steps
            ],
            "normalize": {
                "scale": self.normalize.scale,
                "mean": list(self.normalize.mean),
                "std": list(self.normalize.std),
            },
        }

    def layout_for(self, shape: Sequence[int]) -> str | None:
        """The layout that the recipe gives an image tensor of `shape`; None when it can't make one."""
        return find_layout(self.layout, self.channels, shape) if self.applies_to == "images" else None


def load_recipe(name: str | Path) -> CalibrationRecipe:
    """The recipe called `name`, or the one in the TOML file at the path `name`.

    Raises UsageError for an unknown name (with the closest known one), and for a file that is not a recipe (with the
    line).
    """
    path = resources.find("calibration", str(name))
    if path is None:
        known = resources.declared("calibration")
        raise UsageError(
            f"There is no recipe called {str(name)!r}.{did_you_mean(str(name), known)}",
            f"Known recipes: {', '.join(sorted(known))}.",
            "Choose one of them, or write calibration/NAME.toml (see docs/calibration-data.md).",
        )
    return _read(path)


def fitting_recipes(spec: TensorSpec) -> list[str]:
    """Names of the known image recipes that can make tensors of `spec`; the ones made for its size come first.

    A recipe made for another size is left out. A recipe of the user's own that can't be read is passed over.
    """
    return [name for _, name in sorted(_fitting(spec))]


def _fitting(spec: TensorSpec) -> Iterator[tuple[bool, str]]:
    for name, path in resources.declared("calibration").items():
        try:
            recipe = _read(path)
        except UsageError:
            continue
        layout = recipe.layout_for(spec.shape)
        if layout is None or recipe.dtype != spec.dtype:
            continue
        made_for_it = recipe.made_for == height_and_width(layout, spec.shape)
        if made_for_it or recipe.made_for is None:
            yield not made_for_it, name


def _read(path: Path) -> CalibrationRecipe:
    table = Table.read(path)
    applies_to = table.get("applies_to", str, "images", choices=("images", "arrays"))
    color = table.get("color", str, "RGB", choices=COLORS)
    made_for = table.list_of("made_for", int, ())
    if made_for and len(made_for) != 2:
        raise table.error(f"made_for has {len(made_for)} entries", "Write [height, width].", "made_for")
    normalize = table.table("normalize")
    recipe = CalibrationRecipe(
        name=path.stem,
        title=table.get("title", str),
        applies_to=applies_to,
        color=color,
        layout=table.get("layout", str, "auto", choices=("auto", *LAYOUTS)),
        dtype=table.get("dtype", str, "float32", choices=DTYPES),
        steps=tuple(_steps(table)),
        normalize=Normalization() if normalize is None else _normalization(normalize),
        made_for=(made_for[0], made_for[1]) if made_for else None,
    )
    table.done()
    if applies_to == "arrays" and recipe.steps:
        raise table.error("a recipe for arrays has steps", "Steps are for images: remove them.", "step")
    if applies_to == "images":
        if color != "GRAY" and recipe.layout in ("NHW", "HW"):
            raise table.error(
                f'layout is "{recipe.layout}" and color is "{color}"',
                'A layout without C holds gray images: set color = "GRAY", or choose a layout with C.',
                "layout",
            )
        for key, entries in (("mean", recipe.normalize.mean), ("std", recipe.normalize.std)):
            if len(entries) not in (1, recipe.channels):
                raise table.error(
                    f"{key} has {len(entries)} entries",
                    f"Give one, or {recipe.channels} for color {color}.",
                    key,
                )
    return recipe


def _steps(recipe: Table) -> Iterator[Step]:
    tables = recipe.tables("step")
    for number, table in enumerate(tables, 1):
        step = _step(table)
        table.done()
        if step.fill is not None and number < len(tables):
            raise table.error(
                f"{step.op} is step {number} of {len(tables)}",
                "It leaves a border in the model's input, so it must be the last step.",
                "op",
            )
        yield step


def _step(table: Table) -> Step:
    """One step. A misspelt key explains more than the value that it leaves missing: it is looked for first."""
    op = table.get("op", str, choices=OPS)
    if op == "center_crop":
        fraction, size = table.get("fraction", float, 0.0), _size(table)
        table.done()
        if fraction and size:
            raise table.error("there are a fraction and a size", "Keep one of them.", "fraction")
        if not 0 <= fraction <= 1:
            raise table.error(f"fraction is {fraction}", "It must be above 0, and 1 at most.", "fraction")
        return Step(op, size=size, fraction=fraction or None)
    interpolation = table.get("interpolation", str, "bilinear", choices=INTERPOLATIONS)
    if op == "resize":
        return Step(op, size=_size(table), interpolation=interpolation)
    if op == "resize_shorter":
        pixels, relative = table.get("size", int, 0), table.get("relative", float, 0.0)
        table.done()
        if (pixels > 0) == (relative > 0) or pixels < 0 or relative < 0 or not math.isfinite(relative):
            raise table.error(
                "resize_shorter has no size, or two",
                "Give it size (pixels) or relative (times the model's size), above 0.",
                "op",
            )
        return Step(op, size=pixels or None, relative=relative or None, interpolation=interpolation)
    fill = table.get("fill", float, 0.0)
    if not 0 <= fill <= 255:
        raise table.error(f"fill is {fill}", "It is on the scale of pixels: 0 to 255.", "fill")
    align = table.get("align", str, "center", choices=("center", "start")) if op == "letterbox" else None
    return Step(op, interpolation=interpolation, fill=fill, align=align)


def _size(table: Table) -> tuple[int, int] | None:
    size = table.list_of("size", int, ())
    if not size:
        return None
    if len(size) != 2 or min(size) < 1:
        raise table.error(f"size is {list(size)}", "Write [height, width] in pixels.", "size")
    return size[0], size[1]


def _normalization(table: Table) -> Normalization:
    result = Normalization(
        scale=table.get("scale", float, 1.0),
        mean=table.list_of("mean", float, (0.0,)),
        std=table.list_of("std", float, (1.0,)),
    )
    table.done()
    for key, values in (("scale", (result.scale,)), ("mean", result.mean), ("std", result.std)):
        if not values or not all(math.isfinite(value) for value in values):
            raise table.error(f"{key} is not a finite number, or empty", "Give numbers.", key)
        if key != "mean" and 0 in values:
            raise table.error(f"{key} is 0", "Every tensor would be constant or infinite.", key)
    return result
