"""The accuracy of a built artifact on the 500 test digits, beside that of the ONNX file it was built from.

python examples/digits/evaluate.py dist/digits_cnn-host.edgec
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from edgec import runtime

HERE = Path(__file__).resolve().parent


def accuracy(run: Callable[[np.ndarray], np.ndarray]) -> float:
    """Share of the test digits for which `run`, from image [1, 1, 8, 8] to logits [1, 10], is right."""
    with np.load(HERE / "test.npz") as test:
        images = (test["images"] / 255).astype(np.float32)[:, None, None]
        return float(
            np.mean([run(image).argmax() == label for image, label in zip(images, test["labels"], strict=True)])
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path, help="what `edgec build` wrote")
    artifact = runtime.load(parser.parse_args().artifact)
    session = onnxruntime.InferenceSession(HERE / "digits_cnn.onnx")
    print(f"ONNX file: {accuracy(lambda image: session.run(None, {'image': image})[0]):.1%} of the test digits")
    print(f"artifact:  {accuracy(lambda image: artifact.run({'image': image})['logits']):.1%}")


if __name__ == "__main__":
    main()
