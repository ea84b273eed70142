"""The digits CNN of examples/digits, which needs no download for seed 0."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from . import packages
from .case import Case, Example, same_top1, top1
from .packages import product, publishing

FOLDER = Path(__file__).resolve().parents[1] / "digits"
TRAINING = 1297
"""So many digits, the first ones, are for training and for calibration; 500 are to judge by."""
CALIBRATION = 64


def case(seed: int = 0) -> Case:
    """64 digits of the training set calibrate, 500 others judge. Seed 0 calibrates on those in the repository."""
    return Case(
        name="digits_cnn",
        model=FOLDER / "digits_cnn.onnx",
        calibration=FOLDER / "calibration" if seed == 0 else _calibration(seed),
        recipe="digits",
        examples=_examples,
        score=top1("logits"),
        compare=same_top1("logits"),
        seed=seed,
    )


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [1797, 8, 8] in 0..255, labels int64 [1797]), shuffled with a fixed seed."""
    folder = packages.unpack(packages.SCIKIT_LEARN)
    with gzip.open(folder / "sklearn/datasets/data/digits.csv.gz") as table:
        rows = np.loadtxt(table, delimiter=",")
    order = np.random.default_rng(0).permutation(len(rows))
    images = np.rint(rows[order, :64].reshape(-1, 8, 8) * (255 / 16))  # the table holds 0..16
    return images.astype(np.uint8), rows[order, 64].astype(np.int64)


def write_pictures(images: np.ndarray, labels: np.ndarray, chosen: np.ndarray, folder: Path) -> None:
    """One PNG file a digit, named by its place among the chosen ones and by its label."""
    for place, index in enumerate(chosen):
        Image.fromarray(images[index]).save(folder / f"{place:02}_digit{labels[index]}.png")


def _calibration(seed: int) -> Path:
    folder = product(f"digits-{seed}", __file__, packages.__file__)
    with publishing(folder) as partial:
        if partial is not None:
            chosen = np.random.default_rng(seed).choice(TRAINING, CALIBRATION, replace=False)
            write_pictures(*load_digits(), chosen, partial)
    return folder


def _examples() -> Iterator[Example]:
    with np.load(FOLDER / "test.npz") as test:
        images, labels = test["images"], test["labels"]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield Example(f"digit {index}", ({"image": (image / 255).astype(np.float32)[None, None]},), int(label))
