"""The digits CNN of examples/digits, which needs no download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .case import Case, Example, top1

FOLDER = Path(__file__).resolve().parents[1] / "digits"


def case() -> Case:
    """64 digits calibrate, 500 others judge."""
    return Case(
        name="digits_cnn",
        model=FOLDER / "digits_cnn.onnx",
        calibration=FOLDER / "calibration",
        recipe="digits",
        examples=_examples,
        score=top1("logits"),
    )


def _examples() -> Iterator[Example]:
    with np.load(FOLDER / "test.npz") as test:
        images, labels = test["images"], test["labels"]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield Example(f"digit {index}", ({"image": (image / 255).astype(np.float32)[None, None]},), int(label))
