"""PP-OCR: find the lines of a page, turn them upright, read them; with the ONNX files or with built artifacts.

python examples/ppocr/ocr.py prepare -o models      fetches three models, and shows how to build them
python examples/ppocr/ocr.py read                   reads ten drawn pages with the ONNX files
python examples/ppocr/ocr.py read --artifacts dist  the same with dist/ppocr_cls-host.edgec and so on
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model_zoo import ppocr
from model_zoo.case import Case, Run, onnx_runtime
from model_zoo.fetch import copy
from model_zoo.text_pictures import pages

import edgec.runtime

_PAGES, _SEED = 10, 900
_UNCLIP = 1.6  # the detector marks the core of a line; PP-OCR grows it by this much of area / perimeter


@dataclass(frozen=True)
class Reader:
    """Three models that read a page together."""

    find: Run
    orient: Run
    read: Run

    def lines(self, page: Image.Image) -> list[str]:
        """The page's lines from top to bottom."""
        found = self.find({"x": ppocr.preprocess(page, ppocr.DETECTION)})["sigmoid_0.tmp_0"]
        return [self._line(page.crop(_grown(box))) for box in sorted(ppocr.found_boxes(found), key=lambda box: box[1])]

    def _line(self, line: Image.Image) -> str:
        turned = self.orient({"x": ppocr.preprocess(line, ppocr.ORIENTATION)})["save_infer_model/scale_0.tmp_1"]
        if turned[0, 1] > 0.9:  # as sure as PP-OCR wants to be
            line = line.transpose(Image.Transpose.ROTATE_180)
        return ppocr.read_line(self.read({"x": ppocr.preprocess(line, ppocr.RECOGNITION)})["softmax_11.tmp_0"])


def prepare(folder: Path) -> None:
    """Fetch the models with their calibration pictures, and show the commands."""
    for case in _cases():
        print(f"{copy(case, folder).command()} -o dist\n")


def read(artifacts: Path | None) -> None:
    """Read drawn pages, and count the lines that were read without a wrong letter."""
    runs = [onnx_runtime(case.model) if artifacts is None else _artifact(artifacts, case) for case in _cases()]
    reader = Reader(*runs)
    exact = total = 0
    started = time.perf_counter()
    for page in pages(_SEED, _PAGES, width=ppocr.DETECTION[3], height=ppocr.DETECTION[2]):
        lines = reader.lines(page.picture)
        words = [line.replace(" ", "") for line in lines]  # the model often drops a space between words
        exact += sum(text.replace(" ", "") in words for text in page.texts)
        total += len(page.texts)
    seconds = time.perf_counter() - started
    print("\n".join(lines))
    print(
        f"\n{exact} of {total} lines on {_PAGES} pages read without a wrong letter, "
        f"{seconds / _PAGES * 1000:.0f} ms a page"
    )


def _artifact(folder: Path, case: Case) -> Run:
    return edgec.runtime.load(folder / f"{case.name}-host.edgec", threads=1).run


def _cases() -> list[Case]:
    return [ppocr.detection_case(), ppocr.orientation_case(), ppocr.recognition_case()]


def _grown(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    margin = round(_UNCLIP * width * height / (2 * (width + height)))
    return left - margin, top - margin, right + margin, bottom + margin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("prepare", help="fetch models and data").add_argument(
        "-o", "--output", type=Path, default="models"
    )
    verbs.add_parser("read", help="read drawn pages").add_argument("--artifacts", type=Path, help="folder of artifacts")
    arguments = parser.parse_args()
    if arguments.verb == "prepare":
        prepare(arguments.output)
    else:
        read(arguments.artifacts)


if __name__ == "__main__":
    main()
