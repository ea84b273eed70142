"""A small CNN in numpy: forward, backward, Adam. All arrays are float64, activations are NHWC.

stem      conv 3x3, 1 -> 24, batch norm, relu          8x8
block     depthwise 3x3, batch norm, relu,
          pointwise 24 -> 24, batch norm, + input, relu
pool      max 2x2                                      4x4
head      conv 3x3, 24 -> 48, batch norm, relu,
          global average, linear 48 -> 10
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Parameters = dict[str, np.ndarray]
Backward = Callable[[np.ndarray], np.ndarray]

EPSILON = 1e-5
_MOMENTUM = 0.9


def initialize(rng: np.random.Generator) -> Parameters:
    """Weights by He et al. 2015. Convolutions: [kh, kw, in, out]; depthwise: [kh, kw, channels]; linear: [in, out]."""

    def he(*shape: int, fan_in: int) -> np.ndarray:
        return rng.normal(0, np.sqrt(2 / fan_in), shape)

    parameters = {
        "stem.weight": he(3, 3, 1, 24, fan_in=9),
        "depthwise.weight": he(3, 3, 24, fan_in=9),
        "pointwise.weight": he(1, 1, 24, 24, fan_in=24),
        "head.weight": he(3, 3, 24, 48, fan_in=216),
        "linear.weight": he(48, 10, fan_in=48),
        "linear.bias": np.zeros(10),
    }
    for layer, channels in (("stem", 24), ("depthwise", 24), ("pointwise", 24), ("head", 48)):
        parameters |= {f"{layer}.scale": np.ones(channels), f"{layer}.shift": np.zeros(channels)}
        parameters |= {f"{layer}.mean": np.zeros(channels), f"{layer}.variance": np.ones(channels)}
    return parameters


class Network:
    """One forward pass and what its backward pass needs. `gradients` is filled by `backward`."""

    def __init__(self, parameters: Parameters, training: bool) -> None:
        self._parameters = parameters
        self._training = training
        self._tape: list[Backward] = []
        self._skipped = np.zeros(())
        self.gradients: Parameters = {}

    def forward(self, images: np.ndarray) -> np.ndarray:
        """Logits [N, 10] of images [N, 8, 8, 1]."""
        x = self._relu(self._normalize("stem", self._convolve("stem", images)))
        shortcut = x = self._branch(x)
        x = self._relu(self._normalize("depthwise", self._depthwise("depthwise", x)))
        x = self._normalize("pointwise", self._convolve("pointwise", x))
        x = self._relu(self._add_shortcut(x, shortcut))
        x = self._max_pool(x)
        x = self._relu(self._normalize("head", self._convolve("head", x)))
        return self._linear("linear", self._average(x))

    def backward(self, gradient: np.ndarray) -> None:
        """Fill `gradients`, given the loss's gradient with respect to the logits."""
        for step in reversed(self._tape):
            gradient = step(gradient)

    def _convolve(self, layer: str, x: np.ndarray) -> np.ndarray:
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

    def _depthwise(self, layer: str, x: np.ndarray) -> np.ndarray:
        weight = self._parameters[f"{layer}.weight"]
        patches = _patches(x, weight.shape[0])

        def backward(gradient: np.ndarray) -> np.ndarray:
            self.gradients[f"{layer}.weight"] = np.einsum("nhwijc,nhwc->ijc", patches, gradient)
            return _scatter(gradient[:, :, :, None, None] * weight, x.shape)

        self._tape.append(backward)
        return np.einsum("nhwijc,ijc->nhwc", patches, weight)

    def _normalize(self, layer: str, x: np.ndarray) -> np.ndarray:
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

    def _relu(self, x: np.ndarray) -> np.ndarray:
        self._tape.append(lambda gradient: gradient * (x > 0))
        return np.maximum(x, 0)

    def _branch(self, x: np.ndarray) -> np.ndarray:
        """Where the shortcut leaves: on the way back, its gradient is added."""
        self._tape.append(lambda gradient: gradient + self._skipped)
        return x

    def _add_shortcut(self, x: np.ndarray, shortcut: np.ndarray) -> np.ndarray:
        def backward(gradient: np.ndarray) -> np.ndarray:
            self._skipped = gradient
            return gradient

        self._tape.append(backward)
        return x + shortcut

    def _max_pool(self, x: np.ndarray) -> np.ndarray:
        n, h, w, c = x.shape
        windows = x.reshape(n, h // 2, 2, w // 2, 2, c)
        peak = windows.max((2, 4), keepdims=True)

        def backward(gradient: np.ndarray) -> np.ndarray:
            hits = windows == peak
            shared = hits / hits.sum((2, 4), keepdims=True)  # equal peaks share the gradient
            return (shared * gradient[:, :, None, :, None]).reshape(x.shape)

        self._tape.append(backward)
        return peak.reshape(n, h // 2, w // 2, c)

    def _average(self, x: np.ndarray) -> np.ndarray:
        area = x.shape[1] * x.shape[2]
        self._tape.append(lambda gradient: np.broadcast_to(gradient[:, None, None] / area, x.shape))
        return x.mean((1, 2))

    def _linear(self, layer: str, x: np.ndarray) -> np.ndarray:
        weight = self._parameters[f"{layer}.weight"]

        def backward(gradient: np.ndarray) -> np.ndarray:
            self.gradients[f"{layer}.weight"] = x.T @ gradient
            self.gradients[f"{layer}.bias"] = gradient.sum(0)
            return gradient @ weight.T

        self._tape.append(backward)
        return x @ weight + self._parameters[f"{layer}.bias"]


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
