"""MTCNN's output net (O-Net): is a 48x48 crop a face, where exactly, and where are its eyes, nose and mouth?

Weights: the package facenet-pytorch (MIT). PReLU, max pooling that rounds up, three outputs. Zhang et al. 2016. Test
data: 100 faces and 100 other crops of 25x25 pixels that come with scikit-image.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from . import onnx_builder, torch_file
from .case import Case, Example, same_top1, top1
from .onnx_builder import OnnxBuilder
from .packages import Package, product, publishing, unpack
from .photos import SCIKIT_IMAGE
from .torch_file import read_state_dict

FACENET = Package(
    "pypi",
    "facenet-pytorch",
    "2.6.0",
    "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca",
    ("facenet_pytorch/data/onet.pt",),
    "MIT",
)
SIDE = 48
_CALIBRATION = 64


def case(seed: int = 0) -> Case:
    """O-Net; faces and others, shuffled by the seed. The first 64 crops calibrate, the other 136 judge."""
    return Case(
        name="mtcnn_onet",
        model=model(),
        calibration=_calibration(seed),
        recipe="face48",
        examples=lambda: _examples(seed),
        score=top1("probability"),
        compare=same_top1("probability"),
        seed=seed,
    )


def model() -> Path:
    """The ONNX file."""
    folder = product("mtcnn", __file__, torch_file.__file__, onnx_builder.__file__)
    with publishing(folder) as partial:
        if partial is not None:
            weights = read_state_dict(unpack(FACENET) / "facenet_pytorch/data/onet.pt")
            onnx.save(build(weights), partial / "mtcnn_onet.onnx")
    return folder / "mtcnn_onet.onnx"


def build(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The graph, given PyTorch's parameters by name."""
    graph = OnnxBuilder()

    def parameters(layer: str) -> list[str]:
        return [graph.weight(f"{layer}.{part}", weights[f"{layer}.{part}"]) for part in ("weight", "bias")]

    def prelu(source: str, layer: str) -> str:
        slope = weights[f"{layer}.weight"]
        if layer != "prelu5":
            slope = slope[:, None, None]
        return graph.node("PRelu", [source, graph.weight(f"{layer}.weight", slope)], layer)

    x = "image"
    for index, (kernel, pool) in enumerate([(3, 3), (3, 3), (3, 2), (2, 0)], 1):
        x = graph.node("Conv", [x, *parameters(f"conv{index}")], f"conv{index}", kernel_shape=[kernel, kernel])
        x = prelu(x, f"prelu{index}")
        if pool:
            name = f"pool{index}"
            x = graph.node("MaxPool", [x], name, kernel_shape=[pool, pool], strides=[2, 2], ceil_mode=1)
    # The weights come from Caffe's Matlab interface, whose arrays run over columns first.
    x = graph.node("Flatten", [graph.node("Transpose", [x], "columns_first", perm=[0, 3, 2, 1])], "flatten")
    x = prelu(graph.node("Gemm", [x, *parameters("dense5")], "dense5", transB=1), "prelu5")
    logits = graph.node("Gemm", [x, *parameters("dense6_1")], "dense6_1", transB=1)
    graph.node("Gemm", [x, *parameters("dense6_2")], "dense6_2", output="box", transB=1)
    graph.node("Gemm", [x, *parameters("dense6_3")], "dense6_3", output="landmarks", transB=1)
    graph.node("Softmax", [logits], "softmax6_1", output="probability", axis=1)
    outputs = {"box": (1, 4), "landmarks": (1, 10), "probability": (1, 2)}
    return graph.model("mtcnn_onet", {"image": (1, 3, SIDE, SIDE)}, outputs)


def _crops(seed: int) -> Iterator[tuple[Image.Image, int]]:
    """200 of (grey picture 48x48, is it a face), shuffled."""
    subset = np.load(unpack(SCIKIT_IMAGE) / "skimage/data/lfw_subset.npy")  # [200, 25, 25] in 0..1, faces first
    for index in np.random.default_rng(seed).permutation(len(subset)):
        small = np.rint(subset[index] * 255).astype(np.uint8)
        yield Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BILINEAR), int(index < 100)


def _calibration(seed: int) -> Path:
    folder = product(f"mtcnn-crops-{seed}", __file__)
    with publishing(folder) as partial:
        if partial is not None:
            for index, (crop, _) in zip(range(_CALIBRATION), _crops(seed), strict=False):
                crop.save(partial / f"{index:03}.png")
    return folder


def _examples(seed: int) -> Iterator[Example]:
    for index, (crop, face) in enumerate(_crops(seed)):
        if index >= _CALIBRATION:
            grey = (np.asarray(crop, np.float32) - 127.5) / 128
            yield Example(f"crop {index}", ({"image": np.repeat(grey[None, None], 3, axis=1)},), face)
