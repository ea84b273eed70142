"""The measure of accuracy that the digits are judged by: `edgec build --metric examples/digits/metric.py:accuracy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def accuracy(outputs: Sequence[Mapping[str, np.ndarray]], labels: Sequence[int] | None, names: Sequence[str]) -> float:
    """Share of the digits that are recognized. Without labels they are read from names like 31_digit6.png."""
    if labels is None:
        labels = [int(name.split("digit")[1][0]) for name in names]
    return float(np.mean([sample["logits"].argmax() == label for sample, label in zip(outputs, labels, strict=True)]))
