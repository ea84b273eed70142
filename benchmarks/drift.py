"""Which streams of inputs raise an alarm: `python benchmarks/drift.py ARTIFACT FOLDER`.

FOLDER has images like those that the artifact was built with, but not those. From them come streams that did not
change (random ones of them; one scene for a whole window, with a camera's noise) and streams that did. Printed is how
many windows of each raised an alarm for an input or an output, and the first reason.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

import edgec.runtime
from edgec.runtime.model import Model
from edgec.runtime.monitoring.drift import Finding
from edgec.runtime.monitoring.watch import DriftWatch
from edgec.runtime.preprocess import image_tensor

WINDOW = 100
QUIET_WINDOWS, CHANGED_WINDOWS = 30, 3
NOISE = 0.02  # of a camera, relative to the spread of all inputs

Stream = Callable[[np.random.Generator], list[np.ndarray]]
"""Makes the inputs of one window."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = edgec.runtime.load(options.artifact)
    pictures = [Image.open(path).convert("RGB") for path in sorted(options.folder.glob("*.png"))]
    print(f"{len(pictures)} images, windows of {WINDOW} runs\n")
    print("| stream | windows with an alarm | of | first reason |")
    print("|---|---|---|---|")
    for name, (windows, stream) in streams(model, pictures).items():
        rng = np.random.default_rng(options.seed)
        found = [judged(model, stream, rng) for _ in range(windows)]
        alarms = [reasons for reasons in found if reasons]
        print(f"| {name} | {len(alarms)} | {windows} | {alarms[0][0] if alarms else ''} |")


def streams(model: Model, pictures: list[Image.Image]) -> dict[str, tuple[int, Stream]]:
    """Name to (windows, what makes the inputs of one)."""
    recipe, spec = model.manifest["preprocess"], model.free_inputs[0]
    ready = [tensor(recipe, spec.shape, picture) for picture in pictures]
    spread = float(np.std(np.stack(ready)))

    def noisy(value: np.ndarray, rng: np.random.Generator, by: float) -> np.ndarray:
        return (value + by * spread * rng.standard_normal(value.shape)).astype(value.dtype)

    def changed(change: Callable[[Image.Image], Image.Image]) -> tuple[int, Stream]:
        return CHANGED_WINDOWS, lambda rng: [
            tensor(recipe, spec.shape, change(pictures[index])) for index in rng.integers(0, len(pictures), WINDOW)
        ]

    def altered(change: Callable[..., np.ndarray]) -> tuple[int, Stream]:
        return CHANGED_WINDOWS, lambda rng: [
            change(ready[index], rng).astype(np.float32) for index in rng.integers(0, len(ready), WINDOW)
        ]

    def one_scene(rng: np.random.Generator) -> list[np.ndarray]:
        scene = ready[rng.integers(0, len(ready))]
        return [noisy(scene, rng, NOISE) for _ in range(WINDOW)]

    return {
        "unchanged": (QUIET_WINDOWS, lambda rng: [ready[index] for index in rng.integers(0, len(ready), WINDOW)]),
        "one scene": (QUIET_WINDOWS, one_scene),
        "a third of the light": changed(lambda picture: picture.point(lambda value: value // 3)),
        "blurred": changed(lambda picture: picture.filter(ImageFilter.GaussianBlur(max(1.0, min(picture.size) / 100)))),
        "BGR for RGB": changed(lambda picture: Image.merge("RGB", picture.split()[::-1])),
        "negative": changed(lambda picture: picture.point(lambda value: 255 - value)),
        "upside down": changed(lambda picture: picture.transpose(Image.Transpose.ROTATE_180)),
        "noise on it": altered(lambda value, rng: noisy(value, rng, 0.5)),
        "noise only": altered(lambda value, rng: noisy(np.full_like(value, value.mean()), rng, 1.0)),
        "0 to 255": altered(lambda value, rng: 127.5 + 127.5 * value),
        "nothing": altered(lambda value, rng: np.full_like(value, -1.0)),
    }


def tensor(recipe: Any, shape: tuple[int, ...], picture: Image.Image) -> np.ndarray:
    return image_tensor(recipe, np.asarray(picture), shape)


def judged(model: Model, stream: Stream, rng: np.random.Generator) -> list[str]:
    """The reasons of one window of a stream."""
    watch = DriftWatch(model, WINDOW, 1.0, None)
    name = model.free_inputs[0].name
    for number, value in enumerate(stream(rng), 1):
        watch.look({name: value}, model.run({name: value}), number)
    findings: list[Finding] = watch.findings
    return [f"{finding.role}: {reason}" for finding in findings for reason in finding.reasons]


if __name__ == "__main__":
    main()
