"""Images and arrays to input tensors, as a recipe says.

The same code runs twice: where a model is calibrated, and on the device that runs the artifact, so both see the same
numbers. A recipe is a plain dict, as it stands in an artifact's manifest (`CalibrationRecipe.to_json()`):

    applies_to  "images" or "arrays"
    color       "RGB", "BGR" or "GRAY": the order of the channels that the model sees
    layout      one of layouts.LAYOUTS, or "auto"
    dtype       "float32", "float16", "uint8" or "int8"
    steps       [{"op": ..., options}]: geometry, in order
    normalize   {"scale": number, "mean": [one or one per channel], "std": [likewise]}: (x * scale - mean) / std

Pixels are 8 bits wide until `normalize`, which is computed in double precision and rounded once: every value of a
tensor is the nearest one to the formula. Padding is filled in after normalization, with the value that `fill` (on the
pixels' scale, not necessarily whole) has there.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from .errors import InputError
from .layouts import by_x, find_layout, height_and_width

if TYPE_CHECKING:
    from PIL import Image

ImageSource = Union[str, "os.PathLike[str]", bytes, np.ndarray]
"""A path, the bytes of an image file, or pixels: uint8 [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA)."""

FORMATS = ("JPEG", "MPO", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""The image formats that are read, by Pillow's names. Formats that call other programs (EPS) are left out."""

MAX_PIXELS = 100_000_000
"""Images with more pixels are refused: a small file can claim to hold gigabytes."""


def image_tensor(recipe: Mapping[str, Any], image: ImageSource, shape: Sequence[int]) -> np.ndarray:
    """The tensor of one image: shape `shape` with a batch of 1, dtype `recipe["dtype"]`.

    shape: of the model's input, for example (1, 3, 224, 224); its layout is the recipe's, its batch does not matter.

    Raises InputError for an image that can't be decoded, or that the recipe does not bring to the model's size.
    """
    channels = 1 if recipe["color"] == "GRAY" else 3
    layout = find_layout(recipe["layout"], channels, shape)
    if layout is None:
        raise InputError(
            "The recipe does not fit the model's input",
            f"The input has the shape {by_x(shape)}; the recipe makes {channels}-channel images, "
            f"layout {recipe['layout']}.",
            "Choose a recipe with the color and layout of the model.",
        )
    height, width = height_and_width(layout, shape)
    picture, top, left, fill = _arrange(read_image(image, recipe["color"]), recipe["steps"], height, width)
    if (
        top + picture.height > height
        or left + picture.width > width
        or (fill is None and (picture.size != (width, height)))
    ):
        raise InputError(
            f"The recipe makes an image of {picture.height}x{picture.width}",
            f"The model's input is {height}x{width}.",
            'Let the last step of the recipe be op = "resize" or op = "center_crop" without a size: '
            "that takes the model's own.",
        )
    pixels = np.asarray(picture).reshape(picture.height, picture.width, channels)
    if recipe["color"] == "BGR":
        pixels = pixels[:, :, ::-1]
    values = normalized(recipe, np.repeat(np.arange(256.0)[:, None], channels, axis=1))
    planes = np.empty((channels, height, width), values.dtype)
    if fill is not None:
        planes[:] = normalized(recipe, np.full((1, channels), fill))[0][:, None, None]
    for channel in range(channels):
        planes[channel, top : top + picture.height, left : left + picture.width] = values[
            pixels[:, :, channel], channel
        ]
    if layout.endswith("C"):
        planes = np.ascontiguousarray(planes.transpose(1, 2, 0))
    return planes.reshape([1 if axis == "N" else size for axis, size in zip(layout, shape)])


def array_tensor(recipe: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
    """An array of numbers, normalized by a recipe for arrays; same shape, dtype `recipe["dtype"]`.

    One mean and std for each channel go along axis 1, or along the last axis where the layout is "NHWC", "HWC".
    """
    entries = max(len(recipe["normalize"]["mean"]), len(recipe["normalize"]["std"]))
    if entries == 1:
        return normalized(recipe, array.astype(np.float64)[..., None])[..., 0]
    axis = -1 if recipe["layout"].endswith("C") else recipe["layout"].find("C") if "C" in recipe["layout"] else 1
    if array.ndim <= max(axis, 0) or array.shape[axis] != entries:
        raise InputError(
            f"The recipe has {entries} means or stds, the array has the shape {by_x(array.shape)}",
            f"Axis {axis} should have {entries} elements.",
            "Give the recipe the layout of the arrays, or one mean and one std.",
        )
    return np.ascontiguousarray(np.moveaxis(normalized(recipe, np.moveaxis(array, axis, -1)), -1, axis))


def normalized(recipe: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    """(x * scale - mean) / std along the last axis, in double precision, rounded once to `recipe["dtype"]`.

    Raises InputError when a value does not fit an integer dtype.
    """
    rule = recipe["normalize"]
    dtype = np.dtype(recipe["dtype"])
    exact = (values.astype(np.float64) * rule["scale"] - np.asarray(rule["mean"])) / np.asarray(rule["std"])
    if dtype.kind == "f":
        rounded: np.ndarray = exact.astype(dtype)
        return rounded
    whole: np.ndarray = np.rint(exact)
    limits = np.iinfo(dtype)
    if whole.size and (whole.min() < limits.min or whole.max() > limits.max):
        raise InputError(
            f"The recipe's values do not fit {dtype}",
            f"They reach from {whole.min():g} to {whole.max():g}.",
            "Change [normalize] or the dtype of the recipe.",
        )
    return whole.astype(dtype)


def read_image(source: ImageSource, color: str) -> Image.Image:
    """Decode an image: mode "L" for color "GRAY", else "RGB" (also for "BGR").

    The orientation that a camera noted (EXIF) is applied. Transparent parts are put on white. Of 16 bits a channel the
    upper 8 are kept. Of an animation the first frame is taken.

    Raises InputError for what is not an image, is damaged, or is too large.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise InputError(
            "Images can't be read here",
            "Pillow is not installed.",
            "Install it: python3 -m pip install pillow. Emulated devices have none: give an array (.npy, .npz).",
        ) from None
    what = "The image" if isinstance(source, (bytes, np.ndarray)) else os.fspath(source)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or not (source.ndim == 2 or (source.ndim == 3 and source.shape[2] in (1, 3, 4))):
            raise InputError(
                f"An array of {source.dtype} {by_x(source.shape)} is not an image",
                "An image is uint8, height x width, or height x width x 3 in RGB order.",
                "Convert it, or give the array without a recipe if it is ready for the model.",
            )
        single = source.ndim == 3 and source.shape[2] == 1
        return _converted(Image.fromarray(np.ascontiguousarray(source[:, :, 0] if single else source)), color)
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]  # a small Pillow may lack some
    stream: Any = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is below
            with Image.open(stream, formats=formats) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                wide_png = opened.mode == "I" and opened.format == "PNG"  # older Pillow's name for 16-bit gray
                return _converted(ImageOps.exif_transpose(opened), color, wide_png)
    except Image.DecompressionBombError:
        raise InputError(
            f"{what} is too large",
            f"It claims to have more than {MAX_PIXELS // 1_000_000} million pixels.",
            "Make it smaller, or leave it out.",
        ) from None
    except InputError:
        raise
    except Exception as error:  # decoders answer damaged files with nearly any exception
        raise InputError(
            f"{what} can't be decoded",
            f"{type(error).__name__}: {error}",
            f"Leave it out, or save it again as one of: {', '.join(name for name in FORMATS if name != 'MPO')}.",
        ) from error


def _converted(picture: Image.Image, color: str, wide: bool = False) -> Image.Image:
    """`picture` in 8 bits a channel, gray or RGB, without transparency. wide: 16-bit pixels in a 32-bit mode."""
    from PIL import Image

    mode = "L" if color == "GRAY" else "RGB"
    if wide or picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise InputError(
            f"An image has {'32-bit whole' if picture.mode == 'I' else 'floating-point'} pixels",
            "Their range is not known: recipes are for pixels of 8 or 16 bits.",
            "Save it with 8 or 16 bits a channel, or as an .npy array that is ready for the model.",
        )
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture).convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def _arrange(
    picture: Image.Image, steps: Sequence[Mapping[str, Any]], height: int, width: int
) -> tuple[Image.Image, int, int, Any]:
    """Apply the geometry; returns (picture, top, left, fill): where it lies in the tensor, and what surrounds it.

    fill: on the scale of pixels; None without padding.
    """
    top, left, fill = 0, 0, None
    for step in steps:
        size = step.get("size")
        op = step["op"]
        if op == "center_crop":
            picture = _center_crop(picture, step, height, width)
        elif op == "resize":
            picture = _resized(picture, size[0] if size else height, size[1] if size else width, step)
        elif op == "resize_shorter":
            if size is not None:
                upright, shorter = picture.width <= picture.height, size
            else:  # whichever side decides whether the image covers the model's input
                upright = width * picture.height >= height * picture.width
                shorter = max(1, round((width if upright else height) * step["relative"]))
            if upright:
                picture = _resized(picture, max(1, int(shorter * picture.height / picture.width)), shorter, step)
            else:
                picture = _resized(picture, shorter, max(1, int(shorter * picture.width / picture.height)), step)
        elif op == "letterbox":
            ratio = min(height / picture.height, width / picture.width)
            inner = max(1, round(picture.height * ratio)), max(1, round(picture.width * ratio))
            picture = _resized(picture, inner[0], inner[1], step)
            fill = step["fill"]
            if step["align"] == "center":
                top, left = (height - picture.height) // 2, (width - picture.width) // 2
        elif op == "resize_height_pad_width":
            picture = _resized(picture, height, min(width, math.ceil(height * picture.width / picture.height)), step)
            fill = step["fill"]
        else:
            raise InputError(
                f"The recipe has a step {op!r} that this version does not know",
                "It was written for a newer edgec.",
                "Update edgec on this machine.",
            )
    return picture, top, left, fill


def _center_crop(picture: Image.Image, step: Mapping[str, Any], height: int, width: int) -> Image.Image:
    if step.get("fraction") is not None:
        side = max(1, int(min(picture.size) * step["fraction"]))
        height, width = side, side
    elif step.get("size") is not None:
        height, width = step["size"]
    if height > picture.height or width > picture.width:
        raise InputError(
            f"A centre crop of {height}x{width} does not fit an image of {picture.height}x{picture.width}",
            "The recipe crops before the image is large enough.",
            'Put a step op = "resize_shorter" before the crop, or leave the image out.',
        )
    top, left = round((picture.height - height) / 2), round((picture.width - width) / 2)
    return picture.crop((left, top, left + width, top + height))


def _resized(picture: Image.Image, height: int, width: int, step: Mapping[str, Any]) -> Image.Image:
    from PIL import Image

    if (width, height) == picture.size:
        return picture
    if width * height > MAX_PIXELS:
        raise InputError(
            f"The recipe would make an image of {height}x{width}",
            f"The original is {picture.height}x{picture.width}: far from the shape that the recipe is for.",
            "Leave the image out.",
        )
    methods = {
        "nearest": Image.Resampling.NEAREST,
        "area": Image.Resampling.BOX,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    return picture.resize((width, height), methods[step["interpolation"]])
