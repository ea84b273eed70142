"""The MNIST CNN: convolutions, one of them depthwise, and pooling.

stem      conv 3x3, 1 -> 12, batch norm, relu           28x28
pool      max 2x2                                       14x14
block     depthwise 3x3, batch norm, relu,
          pointwise 12 -> 24, batch norm, relu
pool      max 2x2                                       7x7
head      conv 3x3, 24 -> 48, batch norm, relu,
          global average, linear 48 -> 10
"""

from __future__ import annotations

import numpy as np
from model_zoo.numpy_layers import Layers, Parameters, he, normalization


def initialize(rng: np.random.Generator) -> Parameters:
    """Parameters before training."""
    parameters = {
        "stem.weight": he(rng, 3, 3, 1, 12, fan_in=9),
        "depthwise.weight": he(rng, 3, 3, 12, fan_in=9),
        "pointwise.weight": he(rng, 1, 1, 12, 24, fan_in=12),
        "head.weight": he(rng, 3, 3, 24, 48, fan_in=216),
        "linear.weight": he(rng, 48, 10, fan_in=48),
        "linear.bias": np.zeros(10),
    }
    for layer, channels in (("stem", 12), ("depthwise", 12), ("pointwise", 24), ("head", 48)):
        parameters |= normalization(layer, channels)
    return parameters


class Network(Layers):
    """One forward pass, and what its backward pass needs."""

    def forward(self, images: np.ndarray) -> np.ndarray:
        """Logits [N, 10] of images [N, 28, 28, 1]."""
        x = self.max_pool(self.relu(self.normalize("stem", self.convolve("stem", images))))
        x = self.relu(self.normalize("depthwise", self.depthwise("depthwise", x)))
        x = self.max_pool(self.relu(self.normalize("pointwise", self.convolve("pointwise", x))))
        x = self.relu(self.normalize("head", self.convolve("head", x)))
        return self.linear("linear", self.average(x))
