"""Train a small CNN in numpy, and write it as exporters do.

Everything is seeded, and the weights end on a coarse grid, so that the same file comes out on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .numpy_layers import EPSILON, Layers, Parameters
from .onnx_builder import OnnxBuilder

_GRID = 2.0**-12

MakeNetwork = Callable[[Parameters, bool], Layers]


@dataclass(frozen=True)
class Schedule:
    """How long to train: passes over the data, pictures a step, and the rate at the start, which falls as a cosine."""

    epochs: int
    batch: int
    rate: float


def fit(
    network: MakeNetwork,
    parameters: Parameters,
    images: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    rng: np.random.Generator,
) -> Parameters:
    """Fit `network` to images uint8 [N, H, W]. They are moved by up to one pixel, so that it sees more of them."""
    optimizer = Adam(parameters)
    height, width = images.shape[1:]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    batch_size = schedule.batch
    steps = schedule.epochs * (len(images) // batch_size)
    for epoch in range(schedule.epochs):
        losses = []
        order = rng.permutation(len(images))
        for start in range(0, len(images) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            moves = rng.integers(0, 3, (batch_size, 2))
            moved = [padded[i, y : y + height, x : x + width] for i, (y, x) in zip(chosen, moves, strict=True)]
            learner = network(parameters, True)
            loss, gradient = cross_entropy(learner.forward(np.stack(moved)[..., None] / 255.0), labels[chosen])
            learner.backward(gradient)
            done = epoch * (len(images) // batch_size) + start // batch_size
            optimizer.step(parameters, learner.gradients, schedule.rate * (1 + np.cos(np.pi * done / steps)) / 2)
            losses.append(loss)
        print(f"epoch {epoch + 1:2}: loss {np.mean(losses):.4f}", flush=True)
    # Linear algebra libraries differ between CPUs in the last bits. On a coarse grid they agree, so that the same
    # file comes out everywhere.
    return {name: np.round(value / _GRID) * _GRID for name, value in parameters.items()}


def accuracy(network: MakeNetwork, parameters: Parameters, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images uint8 [N, H, W] that are recognized."""
    logits = network(parameters, False).forward(images[..., None] / 255.0)
    return float((logits.argmax(1) == labels).mean())


def convolution(graph: OnnxBuilder, parameters: Parameters, layer: str, source: str) -> str:
    """Add a convolution and its batch norm as exporters write them: NCHW, the norm a node of its own."""
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


def classifier(graph: OnnxBuilder, parameters: Parameters, source: str) -> str:
    """Add the global average and the layer `linear`, which gives the output `logits`."""
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [source], "average")], "flatten")
    linear = [graph.weight(f"linear.{part}", parameters[f"linear.{part}"]) for part in ("weight", "bias")]
    return graph.node("Gemm", [x, *linear], "linear", output="logits")


class Adam:
    """Kingma & Ba 2015, algorithm 1."""

    def __init__(self, parameters: Parameters) -> None:
        self._first = {name: np.zeros_like(value) for name, value in parameters.items()}
        self._second = {name: np.zeros_like(value) for name, value in parameters.items()}
        self._steps = 0

    def step(self, parameters: Parameters, gradients: Parameters, rate: float) -> None:
        """Move `parameters` (in place) against `gradients`."""
        self._steps += 1
        for name, gradient in gradients.items():
            self._first[name] = 0.9 * self._first[name] + 0.1 * gradient
            self._second[name] = 0.999 * self._second[name] + 0.001 * gradient**2
            mean = self._first[name] / (1 - 0.9**self._steps)
            power = self._second[name] / (1 - 0.999**self._steps)
            parameters[name] = parameters[name] - rate * mean / (np.sqrt(power) + 1e-8)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean loss and its gradient with respect to the logits [N, 10]."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    loss = -np.log(probabilities[rows, labels]).mean()
    gradient = probabilities
    gradient[rows, labels] -= 1
    return float(loss), gradient / len(labels)
