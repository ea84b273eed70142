"""EfficientNet-Lite0 from published weights to a verified INT8 artifact.

    python examples/efficientnet_lite0/classify.py prepare -o models
    edgec build models/efficientnet_lite0.onnx --target host \\
        --calib models/efficientnet_lite0-calibration --preprocess efficientnet-lite -o dist
    python examples/efficientnet_lite0/classify.py evaluate dist/efficientnet_lite0-host.edgec
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model_zoo import efficientnet_lite0
from model_zoo.case import Run, onnx_runtime
from model_zoo.fetch import copy

import edgec.runtime

PHOTOS = 20  # of the examples, these come first; the others are crops of them


def prepare(folder: Path) -> None:
    """Download, write the ONNX file and the calibration pictures, and show the command."""
    case = copy(efficientnet_lite0.case(), folder)
    print(f"{len(list(case.calibration.iterdir()))} calibration pictures\n\n{case.command()} -o dist")


def evaluate(artifact: Path) -> None:
    """Top-1 of the ONNX file and of the artifact, and how often they say the same."""
    case = efficientnet_lite0.case()
    labels = np.array([example.label for example in case.examples()])
    original = _decisions(onnx_runtime(case.model))
    built = _decisions(edgec.runtime.load(artifact).run)
    for name, decided in (("ONNX file", original), ("artifact", built)):
        right = decided == labels
        print(
            f"{name:10}{right[:PHOTOS].sum()} of {PHOTOS} photos, {right[PHOTOS:].sum()} of {len(right) - PHOTOS} crops"
        )
    print(f"the same class in {(original == built).mean():.0%} of all {len(labels)}")


def _decisions(run: Run) -> np.ndarray:
    return np.array([run(example.steps[0])["logits"].argmax() for example in efficientnet_lite0.case().examples()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("prepare", help="fetch model and data").add_argument("-o", "--output", type=Path, default="models")
    verbs.add_parser("evaluate", help="compare an artifact with the original").add_argument("artifact", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "prepare":
        prepare(arguments.output)
    else:
        evaluate(arguments.artifact)


if __name__ == "__main__":
    main()
