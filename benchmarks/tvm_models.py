"""What `tvm_peers.py` and `tvm_layers.py` measure: models in float with all shapes known, and quantized references.

A folder for each model: model.onnx (float), qdq.onnx (edgec's, INT8 throughout as far as the TVM backend goes), and
example.npz (one sample). It is made once where it is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from model_zoo.fetch import CASES

from edgec.backends import load_backend
from edgec.calibration_data.sources import open_source
from edgec.contract import Contract
from edgec.events import ignore
from edgec.recipes import load_recipe
from edgec.stage import StageContext
from edgec.stages import calibrate, canonicalize, ingest, quantize, simplify
from edgec.targets import Target

RESNET = "resnet_stack"
"""Dense 3x3 layers as those of ResNet-18, with random weights: see `resnet_stack`."""

MODELS = ("efficientnet_lite0", "mnist_cnn", "digits_cnn", "ppocr_cls", "mtcnn_onet", "ppocrv4_det", RESNET)
_SEARCH_SECONDS = 1.0  # accuracy is not what is measured here


@dataclass(frozen=True)
class _Source:
    """A model, its calibration data, and the recipe that reads them."""

    model: Path
    calibration: Path
    recipe: str | None
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()


def prepared(name: str, folder: Path, target: Target) -> Path:
    """The folder of a model, made where there is none yet. Raises `Unavailable` where it can't be fetched."""
    made = folder / name
    if (made / "example.npz").exists():
        return made
    made.mkdir(parents=True, exist_ok=True)
    source = _resnet_source(made) if name == RESNET else _case_source(name)
    _quantize(source, made, target)
    return made


def _case_source(name: str) -> _Source:
    case = CASES[name](seed=0)
    shapes = tuple((key, tuple(shape)) for key, shape in case.shapes.items())
    return _Source(Path(case.model), Path(case.calibration), case.recipe, shapes)


def _quantize(source: _Source, folder: Path, target: Target) -> None:
    """The first stages of a build, without a store, and without recovery that leaves layers in float."""

    def context(stage: str) -> StageContext:
        (folder / stage).mkdir(exist_ok=True)
        return StageContext(stage, folder / stage, ignore)

    ingest.run(model=source.model, params=ingest.IngestParams(source.shapes), context=context("ingest"))
    simplify.run(folder / "ingest", simplify.SimplifyParams(), context("simplify"))
    canonicalize.run(folder / "simplify", canonicalize.CanonicalizeParams("all"), context("canonicalize"))
    model = folder / "canonicalize"
    contract = Contract.from_json(onnx_json(model / "contract.json"))
    samples = open_source(source.calibration, contract, load_recipe(source.recipe) if source.recipe else None)
    calibrate.run(model, samples, calibrate.CalibrateParams(), context("calibrate"))
    backend = load_backend("tvm")
    params = quantize.QuantizeParams(
        profiles=("strict",),
        reduced_range=backend.saturates(target),
        against_int16=backend.against_16_bits,
        against_products_of_activations=backend.against_products_of_activations("float", target),
        forbid=("float-layers", "normalizations-in-float"),
        search_seconds=_SEARCH_SECONDS,
        max_float_macs=0.0,
    )
    quantize.run(model, folder / "calibrate", samples, params, context("quantize"))
    onnx.save(onnx.load(str(model / "model.onnx")), str(folder / "model.onnx"))
    onnx.save(onnx.load(str(folder / "quantize" / "qdq.onnx")), str(folder / "qdq.onnx"))
    example = next(iter(samples.read()))
    np.savez(folder / "example.npz", **example.steps[0])  # type: ignore[arg-type]


def onnx_json(path: Path) -> dict[str, object]:
    """A stage's JSON file."""
    import json

    found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _resnet_source(folder: Path) -> _Source:
    """The stack, and eight pictures of noise to calibrate on."""
    onnx.save(resnet_stack(), str(folder / "float.onnx"))
    data = folder / "data"
    data.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(8):
        np.savez(data / f"{index}.npz", image=rng.normal(0, 1, (1, 3, 224, 224)).astype(np.float32))
    return _Source(folder / "float.onnx", data, None)


def resnet_stack(stages: Sequence[int] = (64, 128, 256, 512)) -> onnx.ModelProto:
    """K. He et al., Deep Residual Learning, 2015: their network of 18 layers, with random weights and no normalization.

    Image [1, 3, 224, 224]; a 7x7 layer and a max-pool, then two residual blocks of two 3x3 layers for each stage.
    """
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def node(op: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def conv(x: str, name: str, inputs: int, outputs: int, taps: int, stride: int, gain: float = 2.0) -> str:
        deviation = np.sqrt(gain / (inputs * taps * taps))
        weights = rng.normal(0, deviation, (outputs, inputs, taps, taps)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"{name}.w"))
        constants.append(numpy_helper.from_array(rng.normal(0, 0.1, outputs).astype(np.float32), f"{name}.b"))
        shape = {"kernel_shape": [taps] * 2, "strides": [stride] * 2, "pads": [taps // 2] * 4}
        return node("Conv", [x, f"{name}.w", f"{name}.b"], name, **shape)

    y = node("Relu", [conv("image", "stem", 3, stages[0], 7, 2)], "stem.relu")
    y = node("MaxPool", [y], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = stages[0]
    for stage, outputs in enumerate(stages):
        for block in range(2):
            at, stride = f"s{stage}b{block}", 2 if stage and not block else 1
            z = node("Relu", [conv(y, f"{at}.a", channels, outputs, 3, stride)], f"{at}.relu")
            z = conv(z, f"{at}.b", outputs, outputs, 3, 1, gain=0.5)
            if stride > 1:
                y = conv(y, f"{at}.short", channels, outputs, 1, stride, gain=1.0)
            y = node("Relu", [node("Add", [y, z], f"{at}.sum")], f"{at}.out")
            channels = outputs
    y = node("Flatten", [node("GlobalAveragePool", [y], "mean")], "flat")
    constants.append(numpy_helper.from_array(rng.normal(0, 0.05, (channels, 1000)).astype(np.float32), "fc.w"))
    node("MatMul", [y, "fc.w"], "logits")
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 224, 224])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 1000])
    graph = helper.make_graph(nodes, RESNET, [image], [logits], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
