"""Small networks with one planted fault each, quantized without any of the means that would recover from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from edgec.contract import Contract, TensorSpec
from edgec.diagnosis.document import Case
from edgec.onnx_graph.graph import Graph
from edgec.quantization.emit import emit
from edgec.quantization.placement import place
from edgec.quantization.scales import choose_scales
from edgec.samples import Sample
from tests.quantization.small_graphs import Builder
from tests.quantization.tiny import statistics_of

CHANNELS = 16


def quantized(model: onnx.ModelProto, calibration: Sequence[Mapping[str, np.ndarray]], profile="strict"):
    """The twin by min-max, and the statistics that it was made from."""
    graph, statistics = Graph(model), statistics_of(model, calibration)
    placement = place(graph, profile, {}, statistics)
    scales = choose_scales(graph, placement, statistics, "minmax", clip=False)
    return emit(graph, placement, scales.slots, statistics).model, statistics


def case(model: onnx.ModelProto, calibration, judged=None, profile="strict") -> Case:
    """What `diagnose` takes. judged: feeds to judge by; default: those of calibration."""
    twin, statistics = quantized(model, calibration, profile)
    graph = Graph(model)

    def specs(names):
        return tuple(TensorSpec(name, str(graph.dtype(name)), graph.shape(name)) for name in names)

    samples = [Sample(f"sample {i}", (feeds,)) for i, feeds in enumerate(judged or calibration)]
    return Case(graph, Graph(twin), Contract(specs(graph.inputs), specs(graph.outputs)), samples, learned=statistics)


def images(count=12, seed=1, scale=1.0, offset=0.0):
    """Smooth pictures, each unlike the others."""
    rng = np.random.default_rng(seed)
    feeds = []
    for _ in range(count):
        coarse = rng.normal(size=(1, 3, 4, 4)).repeat(4, axis=2).repeat(4, axis=3)
        picture = coarse + 0.3 * rng.normal(size=(1, 3, 16, 16)) + rng.normal(size=(1, 3, 1, 1))
        feeds.append({"image": (picture * scale + offset).astype(np.float32)})
    return feeds


def network(make: Builder, output="scores", shape=(1, CHANNELS, 16, 16)) -> onnx.ModelProto:
    return make.model({"image": ("float32", (1, 3, 16, 16))}, {output: ("float32", shape)})


def healthy() -> onnx.ModelProto:
    make = Builder(3)
    make.conv("image", "stem", (CHANNELS, 3, 3, 3), pads=[1] * 4)
    make.node("Relu", ["stem"], "stem_relu")
    make.conv("stem_relu", "middle", (CHANNELS, CHANNELS, 3, 3), pads=[1] * 4)
    make.node("Relu", ["middle"], "middle_relu")
    make.conv("middle_relu", "scores", (CHANNELS, CHANNELS, 1, 1))
    return network(make)


def outlier_channel() -> onnx.ModelProto:
    """Channel 5 of `middle` is 400 times as large as the others; the next layer does not read it."""
    make = Builder(3)
    make.conv("image", "stem", (CHANNELS, 3, 3, 3), pads=[1] * 4)
    make.node("Relu", ["stem"], "stem_relu")
    make.conv("stem_relu", "middle", (CHANNELS, CHANNELS, 3, 3), pads=[1] * 4)
    make.conv("middle", "scores", (CHANNELS, CHANNELS, 1, 1))
    weights = {item.name: item for item in make.weights}
    scale(weights["middle_w"], np.s_[5], 400)
    scale(weights["middle_b"], np.s_[5], 400)
    scale(weights["scores_w"], np.s_[:, 5], 0)
    return network(make)


def mask_constant() -> onnx.ModelProto:
    """Attention whose mask is written as -10000 into the sum before the Softmax."""
    make = Builder(3)
    make.conv("image", "stem", (CHANNELS, 3, 3, 3), pads=[1] * 4)
    make.weight("rows", np.array([1, CHANNELS, 256], np.int64))
    make.node("Reshape", ["stem", "rows"], "flat")
    make.weight("keys", (make.random.normal(size=(256, 32)) / 8).astype(np.float32))
    make.node("MatMul", ["flat", "keys"], "products")
    mask = np.zeros((1, CHANNELS, 32), np.float32)
    mask[..., 24:] = -10000
    make.weight("mask", mask)
    make.node("Add", ["products", "mask"], "masked")
    make.node("Softmax", ["masked"], "attention", axis=-1)
    make.weight("values", make.random.normal(size=(32, 8)).astype(np.float32))
    make.node("MatMul", ["attention", "values"], "scores")
    return network(make, shape=(1, CHANNELS, 8))


def tied_concat() -> onnx.ModelProto:
    """Boxes in pixels beside scores, joined in one tensor."""
    make = Builder(3)
    make.conv("image", "stem", (CHANNELS, 3, 3, 3), pads=[1] * 4)
    make.node("Relu", ["stem"], "stem_relu")
    make.conv("stem_relu", "boxes", (4, CHANNELS, 1, 1))
    make.conv("stem_relu", "classes", (CHANNELS - 4, CHANNELS, 1, 1))
    scale({item.name: item for item in make.weights}["boxes_w"], np.s_[:], 300)
    make.node("Concat", ["boxes", "classes"], "joined", axis=1)
    make.conv("joined", "scores", (CHANNELS, CHANNELS, 1, 1))
    scale({item.name: item for item in make.weights}["scores_w"], np.s_[:, :4], 0)
    return network(make)


def layer_norm() -> onnx.ModelProto:
    """A normalization in single steps, over rows of very unlike sizes."""
    make = Builder(3)
    make.conv("image", "stem", (CHANNELS, 3, 3, 3), pads=[1] * 4)
    sizes = np.logspace(-1, 0, 16).reshape(1, 1, 16, 1)
    make.weight("sizes", sizes.astype(np.float32))
    make.node("Mul", ["stem", "sizes"], "rows")
    make.node("ReduceMean", ["rows"], "mean", axes=[-1])
    make.node("Sub", ["rows", "mean"], "centred")
    make.node("Mul", ["centred", "centred"], "squared")
    make.node("ReduceMean", ["squared"], "variance", axes=[-1])
    make.weight("epsilon", np.float32(1e-9))
    make.node("Add", ["variance", "epsilon"], "positive")
    make.node("Sqrt", ["positive"], "deviation")
    make.node("Div", ["centred", "deviation"], "normal")
    make.conv("normal", "scores", (CHANNELS, CHANNELS, 1, 1))
    return network(make)


def near_dead_channels() -> onnx.ModelProto:
    """Two channels of `middle` with next to no weights beside a large bias; the next layer takes what is left."""
    make = Builder(3)
    make.conv("image", "stem", (CHANNELS, 3, 3, 3), pads=[1] * 4)
    make.node("Relu", ["stem"], "stem_relu")
    make.conv("stem_relu", "middle", (CHANNELS, CHANNELS, 3, 3), pads=[1] * 4)
    make.conv("middle", "scores", (CHANNELS, CHANNELS, 1, 1))
    weights = {item.name: item for item in make.weights}
    scale(weights["middle_w"], np.s_[[2, 9]], 3e-5)
    scale(weights["middle_b"], np.s_[[2, 9]], 0)
    add(weights["middle_b"], np.s_[[2, 9]], 2.0)
    scale(weights["scores_w"], np.s_[:, [2, 9]], 3e6)
    bias = onnx.numpy_helper.to_array(weights["scores_b"])
    kernel = onnx.numpy_helper.to_array(weights["scores_w"])
    add(weights["scores_b"], np.s_[:], -2.0 * kernel[:, [2, 9]].sum(axis=(1, 2, 3)) - bias)
    return network(make)


def smoothing() -> onnx.ModelProto:
    """A wide mean: small on noise, large on plain pictures."""
    make = Builder(3)
    make.weight("mean_w", np.full((3, 1, 7, 7), 1 / 49, np.float32))
    make.node("Conv", ["image", "mean_w"], "smooth", group=3, pads=[3] * 4)
    make.conv("smooth", "scores", (CHANNELS, 3, 1, 1))
    return network(make)


def noise(count=12, seed=1):
    rng = np.random.default_rng(seed)
    return [{"image": rng.uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]


def plain_pictures(count=12, seed=2):
    """One colour each, with a corner of noise."""
    rng = np.random.default_rng(seed)
    feeds = []
    for _ in range(count):
        picture = np.broadcast_to(rng.uniform(-1, 1, (1, 3, 1, 1)), (1, 3, 16, 16)).copy()
        picture[..., :4, :4] = rng.uniform(-1, 1, (1, 3, 4, 4))
        feeds.append({"image": picture.astype(np.float32)})
    return feeds


def squeezing() -> onnx.ModelProto:
    """A gate with one value a channel and picture, as in squeeze-and-excitation."""
    make = Builder(3)
    make.node("GlobalAveragePool", ["image"], "pooled")
    make.conv("pooled", "gate", (CHANNELS, 3, 1, 1))
    make.conv("image", "stem", (CHANNELS, 3, 3, 3), pads=[1] * 4)
    make.node("Mul", ["stem", "gate"], "scores")
    return network(make)


def squeezing_feeds(count, seed):
    """Pictures of one size of values, most of them with a mean near 0, some far from it."""
    rng = np.random.default_rng(seed)
    feeds = []
    for index in range(count):
        picture = rng.uniform(-1, 1, (1, 3, 16, 16))
        if count > 2 and index % 2:
            picture = np.abs(picture) * np.sign(rng.normal(size=(1, 3, 1, 1)))
        feeds.append({"image": picture.astype(np.float32)})
    return feeds


def scale(tensor: onnx.TensorProto, where, factor) -> None:
    value = onnx.numpy_helper.to_array(tensor).copy()
    value[where] *= factor
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))


def add(tensor: onnx.TensorProto, where, summand) -> None:
    value = onnx.numpy_helper.to_array(tensor).copy()
    value[where] += summand
    tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float32), tensor.name))
