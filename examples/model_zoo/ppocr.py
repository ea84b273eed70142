"""PP-OCR: text orientation, text recognition, text detection. Apache-2.0, from the package rapidocr-onnxruntime.

All three take BGR pictures scaled to -1..1, and have open dimensions: batch, height, width.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache as remember
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import text_pictures
from .case import Case, Compared, Example, Outputs, same_top1, top1
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
_PAGE = DETECTION[3], DETECTION[2]
_ORIENTED, _READ, _MASK = "save_infer_model/scale_0.tmp_1", "softmax_11.tmp_0", "sigmoid_0.tmp_0"


def orientation_case(seed: int = 0) -> Case:
    """Is a line of text upright (class 0) or upside down (1)?"""
    calibration, test = _seeds(100, seed)
    known = lines(calibration, 64)
    return Case(
        name="ppocr_cls",
        model=_model("ch_ppocr_mobile_v2.0_cls_infer.onnx"),
        calibration=_folder(f"orientation-{seed}", lambda: [picture for picture, _ in _turned(known, calibration + 1)]),
        recipe="ppocr-cls",
        examples=lambda: _orientation_examples(_turned(lines(test, 120, without=_texts(known)), test + 1)),
        score=top1(_ORIENTED),
        compare=same_top1(_ORIENTED),
        shapes={"x": ORIENTATION},
        seed=seed,
    )


def recognition_case(seed: int = 0) -> Case:
    """What does a line of text say? The score is the share of lines that are read without a mistake."""
    calibration, test = _seeds(200, seed)
    known = lines(calibration, 64, _WIDEST)
    return Case(
        name="ppocrv4_rec",
        model=_model("ch_PP-OCRv4_rec_infer.onnx"),
        calibration=_folder(f"recognition-{seed}", lambda: [line.picture for line in known]),
        recipe="ppocr-rec",
        examples=lambda: _line_examples(lines(test, 150, _WIDEST, without=_texts(known))),
        score=_exact_lines,
        compare=_same_lines,
        shapes={"x": RECOGNITION},
        seed=seed,
    )


def detection_case(seed: int = 0) -> Case:
    """Where is text on a page? The score is the share of lines whose box is found."""
    calibration, test = _seeds(400, seed)
    known = pages(calibration, 32, *_PAGE)
    texts = [text for page in known for text in page.texts]
    return Case(
        name="ppocrv4_det",
        model=_model("ch_PP-OCRv4_det_infer.onnx"),
        calibration=_folder(f"detection-{seed}", lambda: [page.picture for page in known]),
        recipe="ppocr-det",
        examples=lambda: _page_examples(pages(test, 24, *_PAGE, without=texts)),
        score=_found_boxes,
        compare=_same_mask,
        shapes={"x": DETECTION},
        seed=seed,
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


def _seeds(task: int, seed: int) -> tuple[int, int]:
    """What the calibration data and the test data are drawn by: no two tasks or seeds share a number."""
    first = 10_000 * seed + task
    return first, first + (10 if task == 100 else 100)


def _texts(drawn: Sequence[Line]) -> set[str]:
    return {line.text for line in drawn}


def _folder(task: str, pictures: Callable[[], Sequence[Image.Image]]) -> Path:
    folder = product(f"ppocr-{task}", __file__, text_pictures.__file__)
    with publishing(folder) as partial:
        if partial is not None:
            for index, picture in enumerate(pictures()):
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


def _orientation_examples(turned: Sequence[tuple[Image.Image, int]]) -> Iterator[Example]:
    for index, (picture, flipped) in enumerate(turned):
        yield Example(f"line {index}", ({"x": preprocess(picture, ORIENTATION)},), flipped)


def _line_examples(drawn: Sequence[Line]) -> Iterator[Example]:
    for index, line in enumerate(drawn):
        yield Example(f"line {index}", ({"x": preprocess(line.picture, RECOGNITION)},), line.text)


def _page_examples(drawn: Sequence[Page]) -> Iterator[Example]:
    for index, page in enumerate(drawn):
        yield Example(f"page {index}", ({"x": preprocess(page.picture, DETECTION)},), page.boxes)


def _exact_lines(results: Sequence[tuple[list[Outputs], Any]]) -> float:
    return float(np.mean([read_line(outputs[0][_READ]) == text for outputs, text in results]))


def _found_boxes(results: Sequence[tuple[list[Outputs], Any]]) -> float:
    hits = []
    for outputs, boxes in results:
        found = found_boxes(outputs[0][_MASK])
        hits += [any(_overlap(box, other) > _OVERLAP for other in found) for box in boxes]
    return float(np.mean(hits))


def _same_lines(pairs: Sequence[Compared]) -> dict[str, float]:
    """`agreement`: the share of lines that both models read alike, mistakes included."""
    same = [read_line(pair.outputs[0][_READ]) == read_line(pair.original[0][_READ]) for pair in pairs]
    return {"agreement": float(np.mean(same))}


def _same_mask(pairs: Sequence[Compared]) -> dict[str, float]:
    """`dice`, the mean over pages, and `dice_worst`: of the masks of both models, 2 |A and B| / (|A| + |B|)."""
    dices = []
    for pair in pairs:
        ours, theirs = (step[_MASK] > _THRESHOLD for step in (pair.outputs[0], pair.original[0]))
        dices.append(2 * float((ours & theirs).sum()) / max(1, int(ours.sum() + theirs.sum())))
    return {"dice": float(np.mean(dices)), "dice_worst": min(dices)}


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
