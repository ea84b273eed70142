"""Train the digits CNN and write everything that this example needs: some ten seconds.

    python examples/digits/train.py

writes, beside this file, digits_cnn.onnx, calibration/ (64 PNG files) and test.npz. Needs numpy, onnx and Pillow. The
data, 1797 handwritten digits, comes out of the scikit-learn wheel, which is downloaded but not installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model_zoo.digits import CALIBRATION, TRAINING, load_digits, write_pictures
from model_zoo.numpy_layers import Parameters
from model_zoo.numpy_training import Schedule, accuracy, classifier, convolution, fit
from model_zoo.onnx_builder import OnnxBuilder
from network import Network, initialize

HERE = Path(__file__).resolve().parent

SCHEDULE = Schedule(epochs=40, batch=64, rate=4e-3)


def train(images: np.ndarray, labels: np.ndarray) -> Parameters:
    """The network, fitted to images uint8 [N, 8, 8]."""
    rng = np.random.default_rng(0)
    return fit(Network, initialize(rng), images, labels, SCHEDULE, rng)


def to_onnx(parameters: Parameters) -> onnx.ModelProto:
    """The network as exporters write it: NCHW, batch norms as nodes of their own."""
    graph = OnnxBuilder()

    def convolve(layer: str, source: str) -> str:
        return convolution(graph, parameters, layer, source)

    x = graph.node("Relu", [convolve("stem", "image")], "stem.relu")
    shortcut = x
    x = graph.node("Relu", [convolve("depthwise", x)], "depthwise.relu")
    x = graph.node("Relu", [graph.node("Add", [convolve("pointwise", x), shortcut], "block.add")], "block.relu")
    x = graph.node("MaxPool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])
    x = graph.node("Relu", [convolve("head", x)], "head.relu")
    classifier(graph, parameters, x)
    return graph.model("digits_cnn", {"image": (1, 1, 8, 8)}, {"logits": (1, 10)})


def write(folder: Path) -> float:
    """Train, write the three results into `folder`, and return the accuracy on the test digits."""
    images, labels = load_digits()
    parameters = train(images[:TRAINING], labels[:TRAINING])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "digits_cnn.onnx").write_bytes(to_onnx(parameters).SerializeToString(deterministic=True))
    (folder / "calibration").mkdir(exist_ok=True)
    write_pictures(images, labels, np.arange(CALIBRATION), folder / "calibration")
    np.savez_compressed(folder / "test.npz", images=images[TRAINING:], labels=labels[TRAINING:].astype(np.uint8))
    return accuracy(Network, parameters, images[TRAINING:], labels[TRAINING:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="where to write (default: beside this file)")
    folder = parser.parse_args().output
    print(f"{folder / 'digits_cnn.onnx'}: {write(folder):.1%} of the 500 test digits")


if __name__ == "__main__":
    main()
