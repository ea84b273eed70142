"""Contracts, photos and shorthands for the tests of this folder."""

from pathlib import Path

import numpy as np
from PIL import Image

from edgec.contract import Contract, TensorSpec


def contract(*inputs: tuple[str, str, tuple[int, ...]]) -> Contract:
    return Contract(tuple(TensorSpec(*spec) for spec in inputs), ())


IMAGES = contract(("x", "float32", (1, 3, 16, 16)))
TOKENS = contract(("ids", "int64", (1, 8)), ("mask", "int64", (1, 8)))
VOICE = contract(("audio", "float32", (1, 32)), ("h", "float32", (2, 1, 4)), ("rate", "int64", ()))


def photo(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    """Smooth color noise, uint8 [height, width, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def photos(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(photo(number)).save(folder / f"img{number}.png")
    return folder
