"""The digits CNN: a few layers, a residual block among them.

stem      conv 3x3, 1 -> 24, batch norm, relu          8x8
block     depthwise 3x3, batch norm, relu,
          pointwise 24 -> 24, batch norm, + input, relu
pool      max 2x2                                      4x4
head      conv 3x3, 24 -> 48, batch norm, relu,
          global average, linear 48 -> 10
"""

from __future__ import annotations

import numpy as np
from model_zoo.numpy_layers import Layers, Parameters, he, normalization


def initialize(rng: np.random.Generator) -> Parameters:
    """Parameters before training."""
    parameters = {
        "stem.weight": he(rng, 3, 3, 1, 24, fan_in=9),
        "depthwise.weight": he(rng, 3, 3, 24, fan_in=9),
        "pointwise.weight": he(rng, 1, 1, 24, 24, fan_in=24),
        "head.weight": he(rng, 3, 3, 24, 48, fan_in=216),
        "linear.weight": he(rng, 48, 10, fan_in=48),
        "linear.bias": np.zeros(10),
    }
    for layer, channels in (("stem", 24), ("depthwise", 24), ("pointwise", 24), ("head", 48)):
        parameters |= normalization(layer, channels)
    return parameters


class Network(Layers):
    """One forward pass, and what its backward pass needs."""

    def forward(self, images: np.ndarray) -> np.ndarray:
        """Logits [N, 10] of images [N, 8, 8, 1]."""
        x = self.relu(self.normalize("stem", self.convolve("stem", images)))
        shortcut = x = self.branch(x)
        x = self.relu(self.normalize("depthwise", self.depthwise("depthwise", x)))
        x = self.normalize("pointwise", self.convolve("pointwise", x))
        x = self.relu(self.add_shortcut(x, shortcut))
        x = self.max_pool(x)
        x = self.relu(self.normalize("head", self.convolve("head", x)))
        return self.linear("linear", self.average(x))
