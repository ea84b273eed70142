"""The layers of small CNNs in numpy, forward and backward.

All arrays are float64, activations are NHWC.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Parameters = dict[str, np.ndarray]
Backward = Callable[[np.ndarray], np.ndarray]

EPSILON = 1e-5
_MOMENTUM = 0.9


def he(rng: np.random.Generator, *shape: int, fan_in: int) -> np.ndarray:
    """Weights by He et al. 2015. Convolutions: [kh, kw, in, out]; depthwise: [kh, kw, channels]; linear: [in, out]."""
    return rng.normal(0, np.sqrt(2 / fan_in), shape)


def normalization(layer: str, channels: int) -> Parameters:
    """A batch norm that changes nothing yet."""
    return {
        f"{layer}.scale": np.ones(channels),
        f"{layer}.shift": np.zeros(channels),
        f"{layer}.mean": np.zeros(channels),
        f"{layer}.variance": np.ones(channels),
    }


class Layers:
    """Runs layers one after the other, and remembers what going back takes. `gradients` is filled by `backward`.

    A network adds `forward(images [N, H, W, C]) -> logits [N, classes]`.
    """

    def __init__(self, parameters: Parameters, training: bool) -> None:
        self._parameters = parameters
        self._training = training
        self._tape: list[Backward] = []
        self._skipped = np.zeros(())
        self.gradients: Parameters = {}

    def forward(self, images: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def backward(self, gradient: np.ndarray) -> None:
        """Fill `gradients`, given the loss's gradient with respect to the last layer's result."""
        for step in reversed(self._tape):
            gradient = step(gradient)

    def convolve(self, layer: str, x: np.ndarray) -> np.ndarray:
        """A convolution of stride 1, padded with zeros to the same size, without a bias."""
        weight = self._parameters[f"{layer}.weight"]
        kernel = weight.shape[0]
        patches = _patches(x, kernel)  # [N, H, W, kernel, kernel, C]
        rows = patches.reshape(-1, kernel * kernel * x.shape[3])
        matrix = weight.reshape(-1, weight.shape[3])

        def backward(gradient: np.ndarray) -> np.ndarray:
            flat = gradient.reshape(-1, gradient.shape[3])
            self.gradients[f"{layer}.weight"] = (rows.T @ flat).reshape(weight.shape)
            return _scatter((flat @ matrix.T).reshape(patches.shape), x.shape)

        self._tape.append(backward)
        return (rows @ matrix).reshape(*x.shape[:3], -1)

    def depthwise(self, layer: str, x: np.ndarray) -> np.ndarray:
        """The same, each channel with a kernel of its own."""
        weight = self._parameters[f"{layer}.weight"]
        patches = _patches(x, weight.shape[0])

        def backward(gradient: np.ndarray) -> np.ndarray:
            self.gradients[f"{layer}.weight"] = np.einsum("nhwijc,nhwc->ijc", patches, gradient)
            return _scatter(gradient[:, :, :, None, None] * weight, x.shape)

        self._tape.append(backward)
        return np.einsum("nhwijc,ijc->nhwc", patches, weight)

    def normalize(self, layer: str, x: np.ndarray) -> np.ndarray:
        """Batch norm: by the batch's own statistics in training, which also move the running ones."""
        scale, shift = self._parameters[f"{layer}.scale"], self._parameters[f"{layer}.shift"]
        if not self._training:
            deviation = np.sqrt(self._parameters[f"{layer}.variance"] + EPSILON)
            return (x - self._parameters[f"{layer}.mean"]) / deviation * scale + shift
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        for name, seen in (("mean", mean), ("variance", variance)):
            running = self._parameters[f"{layer}.{name}"]
            self._parameters[f"{layer}.{name}"] = _MOMENTUM * running + (1 - _MOMENTUM) * seen
        deviation = np.sqrt(variance + EPSILON)
        unit = (x - mean) / deviation

        def backward(gradient: np.ndarray) -> np.ndarray:
            self.gradients[f"{layer}.scale"] = (gradient * unit).sum((0, 1, 2))
            self.gradients[f"{layer}.shift"] = gradient.sum((0, 1, 2))
            inner = gradient * scale
            return (inner - inner.mean((0, 1, 2)) - unit * (inner * unit).mean((0, 1, 2))) / deviation

        self._tape.append(backward)
        return unit * scale + shift

    def relu(self, x: np.ndarray) -> np.ndarray:
        self._tape.append(lambda gradient: gradient * (x > 0))
        return np.maximum(x, 0)

    def branch(self, x: np.ndarray) -> np.ndarray:
        """Where the shortcut leaves: on the way back, its gradient is added."""
        self._tape.append(lambda gradient: gradient + self._skipped)
        return x

    def add_shortcut(self, x: np.ndarray, shortcut: np.ndarray) -> np.ndarray:
        def backward(gradient: np.ndarray) -> np.ndarray:
            self._skipped = gradient
            return gradient

        self._tape.append(backward)
        return x + shortcut

    def max_pool(self, x: np.ndarray) -> np.ndarray:
        """The largest of each 2x2."""
        n, h, w, c = x.shape
        windows = x.reshape(n, h // 2, 2, w // 2, 2, c)
        peak = windows.max((2, 4), keepdims=True)

        def backward(gradient: np.ndarray) -> np.ndarray:
            hits = windows == peak
            shared = hits / hits.sum((2, 4), keepdims=True)  # equal peaks share the gradient
            return (shared * gradient[:, :, None, :, None]).reshape(x.shape)

        self._tape.append(backward)
        return peak.reshape(n, h // 2, w // 2, c)

    def average(self, x: np.ndarray) -> np.ndarray:
        """[N, C]: the mean over height and width."""
        area = x.shape[1] * x.shape[2]
        self._tape.append(lambda gradient: np.broadcast_to(gradient[:, None, None] / area, x.shape))
        return x.mean((1, 2))

    def linear(self, layer: str, x: np.ndarray) -> np.ndarray:
        weight = self._parameters[f"{layer}.weight"]

        def backward(gradient: np.ndarray) -> np.ndarray:
            self.gradients[f"{layer}.weight"] = x.T @ gradient
            self.gradients[f"{layer}.bias"] = gradient.sum(0)
            return gradient @ weight.T

        self._tape.append(backward)
        return x @ weight + self._parameters[f"{layer}.bias"]


def _patches(x: np.ndarray, kernel: int) -> np.ndarray:
    """[N, H, W, kernel, kernel, C]: what each output of a zero-padded convolution of stride 1 sees."""
    margin = kernel // 2
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (1, 2))
    return np.ascontiguousarray(windows.transpose(0, 1, 2, 4, 5, 3))


def _scatter(patches: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The adjoint of `_patches`: every patch is added back where it came from."""
    n, h, w, c = shape
    kernel = patches.shape[3]
    margin = kernel // 2
    padded = np.zeros((n, h + 2 * margin, w + 2 * margin, c))
    for i in range(kernel):
        for j in range(kernel):
            padded[:, i : i + h, j : j + w] += patches[:, :, :, i, j]
    return padded[:, margin : margin + h, margin : margin + w]
