"""PP-OCR: text orientation, text recognition, text detection. Apache-2.0, from the package rapidocr-onnxruntime.

All three take BGR pictures scaled to -1..1, and have open dimensions: batch, height, width.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from functools import cache as remember
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import text_pictures
from .case import Case, Example, Outputs, top1
from .packages import Package, product, publishing, unpack
from .text_pictures import Line, Page, lines, pages

RAPIDOCR = Package(
    "pypi",
    "rapidocr-onnxruntime",
    "1.4.4",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    ("rapidocr_onnxruntime/models/*.onnx",),
    "Apache-2.0",
)
ORIENTATION = (1, 3, 48, 192)
RECOGNITION = (1, 3, 48, 320)
DETECTION = (1, 3, 320, 480)
_WIDEST = RECOGNITION[3] / RECOGNITION[2]  # width / height of a line that fits without being squeezed
_THRESHOLD = 0.3  # of the detector's probabilities
_OVERLAP = 0.4  # intersection over union from which a box is found
_SPECK = 50  # pixels


def orientation_case() -> Case:
    """Is a line of text upright (class 0) or upside down (1)?"""
    return Case(
        name="ppocr_cls",
        model=_model("ch_ppocr_mobile_v2.0_cls_infer.onnx"),
        calibration=_folder("orientation", [picture for picture, _ in _turned(lines(100, 64), 101)]),
        recipe="ppocr-cls",
        examples=_orientation_examples,
        score=top1("save_infer_model/scale_0.tmp_1"),
        shapes={"x": ORIENTATION},
    )


def recognition_case() -> Case:
    """What does a line of text say? The score is the share of lines that are read without a mistake."""
    return Case(
        name="ppocrv4_rec",
        model=_model("ch_PP-OCRv4_rec_infer.onnx"),
        calibration=_folder("recognition", [line.picture for line in lines(200, 64, _WIDEST)]),
        recipe="ppocr-rec",
        examples=lambda: _line_examples(lines(300, 100, _WIDEST)),
        score=_exact_lines,
        shapes={"x": RECOGNITION},
    )


def detection_case() -> Case:
    """Where is text on a page? The score is the share of lines whose box is found."""
    return Case(
        name="ppocrv4_det",
        model=_model("ch_PP-OCRv4_det_infer.onnx"),
        calibration=_folder("detection", [page.picture for page in _pages(400, 32)]),
        recipe="ppocr-det",
        examples=lambda: _page_examples(_pages(500, 24)),
        score=_found_boxes,
        shapes={"x": DETECTION},
    )


def preprocess(picture: Image.Image, shape: Sequence[int]) -> np.ndarray:
    """float32 `shape` = [1, 3, H, W]: scaled to height H, BGR, -1..1; zeros to the right of a short line."""
    height, width = shape[2:]
    wanted = min(width, math.ceil(picture.width * height / picture.height))
    pixels = np.asarray(picture.resize((wanted, height), Image.Resampling.BILINEAR), np.float32)[:, :, ::-1]
    feed = np.zeros(shape, np.float32)
    feed[0, :, :, :wanted] = (pixels.transpose(2, 0, 1) - 127.5) / 127.5
    return feed


def read_line(probabilities: np.ndarray) -> str:
    """The text of [1, T, 6625]: the best class of each step, repetitions merged, blanks (class 0) dropped."""
    best = probabilities[0].argmax(1)
    kept = [index for step, index in enumerate(best) if index and (step == 0 or index != best[step - 1])]
    return "".join(_alphabet()[index] for index in kept).strip()


def found_boxes(probabilities: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) of the connected regions of [1, 1, H, W] above the threshold."""
    return list(_regions(probabilities[0, 0] > _THRESHOLD))


def _model(name: str) -> Path:
    return unpack(RAPIDOCR) / "rapidocr_onnxruntime/models" / name


def _folder(task: str, pictures: Sequence[Image.Image]) -> Path:
    folder = product(f"ppocr-{task}", __file__, text_pictures.__file__)
    with publishing(folder) as partial:
        if partial is not None:
            for index, picture in enumerate(pictures):
                picture.save(partial / f"{index:03}.png")
    return folder


def _turned(drawn: Sequence[Line], seed: int) -> list[tuple[Image.Image, int]]:
    """About half of the lines upside down, with their class."""
    rng = random.Random(seed)
    turned = []
    for line in drawn:
        flipped = rng.randrange(2)
        turned.append((line.picture.transpose(Image.Transpose.ROTATE_180) if flipped else line.picture, flipped))
    return turned


def _orientation_examples() -> Iterator[Example]:
    for index, (picture, flipped) in enumerate(_turned(lines(110, 120), 111)):
        yield Example(f"line {index}", ({"x": preprocess(picture, ORIENTATION)},), flipped)


def _line_examples(drawn: Sequence[Line]) -> Iterator[Example]:
    for index, line in enumerate(drawn):
        yield Example(f"line {index}", ({"x": preprocess(line.picture, RECOGNITION)},), line.text)


def _pages(seed: int, count: int) -> list[Page]:
    return pages(seed, count, width=DETECTION[3], height=DETECTION[2])


def _page_examples(drawn: Sequence[Page]) -> Iterator[Example]:
    for index, page in enumerate(drawn):
        yield Example(f"page {index}", ({"x": preprocess(page.picture, DETECTION)},), page.boxes)


def _exact_lines(results: Sequence[tuple[list[Outputs], Any]]) -> float:
    return float(np.mean([read_line(outputs[0]["softmax_11.tmp_0"]) == text for outputs, text in results]))


def _found_boxes(results: Sequence[tuple[list[Outputs], Any]]) -> float:
    hits = []
    for outputs, boxes in results:
        found = found_boxes(outputs[0]["sigmoid_0.tmp_0"])
        hits += [any(_overlap(box, other) > _OVERLAP for other in found) for box in boxes]
    return float(np.mean(hits))


def _overlap(one: Sequence[int], other: Sequence[int]) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (area - width * height)


def _regions(mask: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of the 4-connected regions of a mask that are larger than a speck, by a flood fill over runs of rows."""
    height, width = mask.shape
    left = mask.copy()
    for start in zip(*np.nonzero(mask), strict=True):
        if not left[start]:
            continue
        left[start] = False
        stack, cells = [start], [start]
        while stack:
            y, x = stack.pop()
            for cell in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= cell[0] < height and 0 <= cell[1] < width and left[cell]:
                    left[cell] = False
                    stack.append(cell)
                    cells.append(cell)
        if len(cells) > _SPECK:
            ys, xs = zip(*cells, strict=True)
            yield int(min(xs)), int(min(ys)), int(max(xs)) + 1, int(max(ys)) + 1


@remember
def _alphabet() -> list[str]:
    import onnx

    model = onnx.load(_model("ch_PP-OCRv4_rec_infer.onnx"))
    (characters,) = [entry.value for entry in model.metadata_props if entry.key == "character"]
    return ["", *characters.splitlines(), " "]
