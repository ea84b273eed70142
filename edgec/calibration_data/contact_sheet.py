"""A contact sheet: the first images as the model saw them, brought back to colors from its own input tensors.

Crops, borders, stretched shapes, swapped colors and a wrong layout are seen at a glance.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgec.calibration_data.diagnosis import image_layout
from edgec.contract import Contract
from edgec.samples import Feeds

TILES = 16
MAX_BYTES = 150_000

_COLUMNS = 4
_GAP = 4  # pixels between tiles
_LARGEST_SIDES = (160, 128, 96, 64, 48)  # of a tile; the first that keeps the file small enough


class ContactSheet:
    """Keeps the first TILES samples of the first input that holds images.

    recipe: as CalibrationRecipe.to_json() gives it: colors are brought back by its formula and order. Without one,
    channels are taken as red, green and blue, and values as 0..1, -1..1 or 0..255, by the range that they use; other
    ranges are stretched.
    """

    def __init__(self, contract: Contract, recipe: Mapping[str, Any] | None = None) -> None:
        self._recipe = recipe if recipe is not None and recipe["applies_to"] == "images" else None
        self._input, self._layout = next(
            (
                (spec.name, layout)
                for spec in contract.inputs
                if (layout := image_layout(spec, self._recipe)) is not None
            ),
            ("", ""),
        )
        self._tiles: list[np.ndarray] = []

    def add(self, feeds: Feeds) -> None:
        """Take one sample's feeds; of a batch the first image. Ignored once there are enough."""
        if not self._layout or len(self._tiles) == TILES or self._input not in feeds:
            return
        tensor = feeds[self._input][0] if self._layout.startswith("N") else feeds[self._input]
        axes = self._layout.removeprefix("N")
        if "C" not in axes:
            tensor, axes = tensor[..., None], axes + "C"
        self._tiles.append(np.array(tensor.transpose([axes.index(axis) for axis in "HWC"]), np.float64))

    def png(self) -> bytes | None:
        """The sheet as PNG, below MAX_BYTES; None when there is no input that holds images, or no sample."""
        if not self._tiles:
            return None
        low = min(float(tile.min()) for tile in self._tiles)
        high = max(float(tile.max()) for tile in self._tiles)
        colors = [self._pixels(tile, low, high) for tile in self._tiles]
        sheet = b""
        for side in _LARGEST_SIDES:
            sheet = _sheet(colors, side)
            if len(sheet) < MAX_BYTES:
                break
        return sheet

    def _pixels(self, tile: np.ndarray, low: float, high: float) -> np.ndarray:
        """uint8 [H, W, 3]. low, high: of all tiles."""
        if self._recipe is not None:
            rule = self._recipe["normalize"]
            values = (tile * np.asarray(rule["std"]) + np.asarray(rule["mean"])) / rule["scale"]
            if self._recipe["color"] == "BGR":
                values = values[:, :, ::-1]
        elif low >= 0 and high <= 1:
            values = tile * 255
        elif low >= -1 and high <= 1:
            values = (tile + 1) * 127.5
        elif low >= 0 and high <= 255:
            values = tile
        else:
            values = (tile - low) * (255 / max(high - low, 1e-30))
        pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _sheet(colors: list[np.ndarray], side: int) -> bytes:
    """Tiles in rows of four, each with a longer side of `side` pixels, as a PNG with a palette."""
    from PIL import Image

    height, width = colors[0].shape[:2]
    ratio = side / max(height, width)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    columns = min(_COLUMNS, len(colors))
    rows = -(-len(colors) // columns)
    sheet = Image.new("RGB", (columns * (size[0] + _GAP) + _GAP, rows * (size[1] + _GAP) + _GAP), (255, 255, 255))
    method = Image.Resampling.NEAREST if ratio > 1 else Image.Resampling.BOX
    for number, pixels in enumerate(colors):
        tile = Image.fromarray(pixels).resize(size, method)
        row, column = divmod(number, columns)
        sheet.paste(tile, (_GAP + column * (size[0] + _GAP), _GAP + row * (size[1] + _GAP)))
    packed = io.BytesIO()
    sheet.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(packed, "PNG")
    return packed.getvalue()
