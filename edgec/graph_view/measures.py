"""What is shown of each node: a file, a title and a way of colouring for each measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Colours = Literal["cost", "error", "precision"]


@dataclass(frozen=True)
class Measure:
    """What one file shows. title: as the viewer names it."""

    title: str
    colours: Colours


MEASURES: Mapping[str, Measure] = {
    "macs": Measure("MACs", "cost"),
    "time-float32": Measure("ms in float32", "cost"),
    "time-artifact": Measure("ms in the artifact", "cost"),
    "precision": Measure("precision", "precision"),
    "error": Measure("dB SQNR, quantized alone", "error"),
    "accumulated": Measure("dB SQNR, accumulated", "error"),
    "isolated": Measure("dB SQNR, isolated", "error"),
    "lowering": Measure("dB SQNR, lowering", "error"),
}

MODEL = "model.onnx"
FILES = (MODEL, *(f"{name}.json" for name in MEASURES))
"""What may lie in a folder for viewers."""
