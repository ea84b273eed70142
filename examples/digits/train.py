"""Train the digits CNN and write everything that this example needs: some ten seconds.

    python examples/digits/train.py

writes, beside this file, digits_cnn.onnx, calibration/ (64 PNG files) and test.npz. Needs numpy, onnx and Pillow. The
data, 1797 handwritten digits, comes out of the scikit-learn wheel, which is downloaded but not installed.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from model_zoo import packages  # noqa: E402
from model_zoo.onnx_builder import OnnxBuilder  # noqa: E402
from network import EPSILON, Adam, Network, Parameters, cross_entropy, initialize  # noqa: E402

TRAINING = 1297
CALIBRATION = 64
EPOCHS = 40
BATCH = 64
RATE = 4e-3
GRID = 2.0**-12


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [1797, 8, 8] in 0..255, labels int64 [1797]), shuffled with a fixed seed."""
    folder = packages.unpack(packages.SCIKIT_LEARN)
    with gzip.open(folder / "sklearn/datasets/data/digits.csv.gz") as table:
        rows = np.loadtxt(table, delimiter=",")
    order = np.random.default_rng(0).permutation(len(rows))
    images = np.rint(rows[order, :64].reshape(-1, 8, 8) * (255 / 16))  # the table holds 0..16
    return images.astype(np.uint8), rows[order, 64].astype(np.int64)


def train(images: np.ndarray, labels: np.ndarray) -> Parameters:
    """Fit the network to images uint8 [N, 8, 8]. Digits are moved by up to one pixel, so that it sees more of them."""
    rng = np.random.default_rng(0)
    parameters = initialize(rng)
    optimizer = Adam(parameters)
    padded = np.pad(images / 255.0, ((0, 0), (1, 1), (1, 1)))
    steps = EPOCHS * (len(images) // BATCH)
    for epoch in range(EPOCHS):
        losses = []
        order = rng.permutation(len(images))
        for start in range(0, len(images) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            moves = rng.integers(0, 3, (BATCH, 2))
            batch = np.stack([padded[i, y : y + 8, x : x + 8] for i, (y, x) in zip(chosen, moves, strict=True)])
            network = Network(parameters, training=True)
            loss, gradient = cross_entropy(network.forward(batch[..., None]), labels[chosen])
            network.backward(gradient)
            done = epoch * (len(images) // BATCH) + start // BATCH
            optimizer.step(parameters, network.gradients, RATE * (1 + np.cos(np.pi * done / steps)) / 2)
            losses.append(loss)
        print(f"epoch {epoch + 1:2}: loss {np.mean(losses):.4f}")
    # Linear algebra libraries differ between CPUs in the last bits. On a coarse grid they agree, so that the same
    # file comes out everywhere.
    return {name: np.round(value / GRID) * GRID for name, value in parameters.items()}


def accuracy(parameters: Parameters, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images that are recognized."""
    logits = Network(parameters, training=False).forward(images[..., None] / 255.0)
    return float((logits.argmax(1) == labels).mean())


def to_onnx(parameters: Parameters) -> onnx.ModelProto:
    """The network as exporters write it: NCHW, batch norms as nodes of their own."""
    graph = OnnxBuilder()

    def convolve(layer: str, source: str) -> str:
        weight = parameters[f"{layer}.weight"]
        depthwise = weight.ndim == 3
        oihw = weight.transpose(2, 0, 1)[:, None] if depthwise else weight.transpose(3, 2, 0, 1)
        margin, channels = weight.shape[0] // 2, oihw.shape[0]
        convolved = graph.node(
            "Conv",
            [source, graph.weight(f"{layer}.weight", oihw)],
            f"{layer}.conv",
            kernel_shape=list(oihw.shape[2:]),
            pads=[margin] * 4,
            group=channels if depthwise else 1,
        )
        statistics = [
            graph.weight(f"{layer}.{part}", parameters[f"{layer}.{part}"])
            for part in ("scale", "shift", "mean", "variance")
        ]
        return graph.node("BatchNormalization", [convolved, *statistics], f"{layer}.norm", epsilon=EPSILON)

    x = graph.node("Relu", [convolve("stem", "image")], "stem.relu")
    shortcut = x
    x = graph.node("Relu", [convolve("depthwise", x)], "depthwise.relu")
    x = graph.node("Relu", [graph.node("Add", [convolve("pointwise", x), shortcut], "block.add")], "block.relu")
    x = graph.node("MaxPool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])
    x = graph.node("Relu", [convolve("head", x)], "head.relu")
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x], "average")], "flatten")
    linear = [graph.weight(f"linear.{part}", parameters[f"linear.{part}"]) for part in ("weight", "bias")]
    graph.node("Gemm", [x, *linear], "linear", output="logits")
    return graph.model("digits_cnn", {"image": (1, 1, 8, 8)}, {"logits": (1, 10)})


def write(folder: Path) -> float:
    """Train, write the three results into `folder`, and return the accuracy on the test digits."""
    images, labels = load_digits()
    parameters = train(images[:TRAINING], labels[:TRAINING])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "digits_cnn.onnx").write_bytes(to_onnx(parameters).SerializeToString(deterministic=True))
    (folder / "calibration").mkdir(exist_ok=True)
    for index in range(CALIBRATION):
        Image.fromarray(images[index]).save(folder / "calibration" / f"{index:02}_digit{labels[index]}.png")
    np.savez_compressed(folder / "test.npz", images=images[TRAINING:], labels=labels[TRAINING:].astype(np.uint8))
    return accuracy(parameters, images[TRAINING:], labels[TRAINING:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="where to write (default: beside this file)")
    folder = parser.parse_args().output
    print(f"{folder / 'digits_cnn.onnx'}: {write(folder):.1%} of the 500 test digits")


if __name__ == "__main__":
    main()
