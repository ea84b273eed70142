"""Small artifacts, built through the real stages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgec.backends.base import Precision
from edgec.contract import Contract, TensorSpec
from edgec.parity.calibration_profile import Profiler
from edgec.reference import Reference
from edgec.runners.execution import NATIVE
from edgec.runtime.engines import open_engine
from edgec.runtime.golden import write_golden
from edgec.stage import StageContext
from edgec.stages import lower, pack
from edgec.targets import load_target
from tests.contract import models

RECIPE = {
    "name": "small",
    "applies_to": "images",
    "color": "RGB",
    "layout": "NCHW",
    "dtype": "float32",
    "steps": [{"op": "resize"}],
    "normalize": {"scale": 1 / 255, "mean": [0.5], "std": [0.5]},
}


@dataclass(frozen=True)
class Built:
    """An artifact and what it was packed from."""

    path: Path
    ingested: Path
    lowered: Path
    validated: Path
    params: pack.PackParams


def build(folder: Path, model, precision: Precision, *, state=(), recipe=None, steps=None, lowering=0.0) -> Built:
    """Lower and pack a model; golden samples are the payload's own outputs on seeded feeds."""
    ingested, source, lowered, validated, packed = (
        folder / name for name in ("ingested", "source", "lowered", "validated", "packed")
    )
    for each in (ingested, source, lowered, validated, packed):
        each.mkdir(parents=True)
    (source / "model.onnx").write_bytes(model.SerializeToString())
    feeds = models.feeds_for(model)
    outputs = Reference(model.SerializeToString(), "none").run(feeds)
    contract = Contract(
        tuple(TensorSpec(name, str(array.dtype), array.shape) for name, array in feeds.items()),
        tuple(TensorSpec(name, str(array.dtype), array.shape) for name, array in outputs.items()),
    )
    (ingested / "contract.json").write_text(json.dumps(contract.to_json()))
    (ingested / "ingest.json").write_text(json.dumps({"metadata": {"license": "MIT", "task": "classification"}}))
    target = load_target("host")
    lower.run(source, lower.LowerParams("openvino", target, precision, "model.onnx"), _context("lower", lowered))
    made = json.loads((lowered / "lower.json").read_text())
    files = {name: (lowered / "payload" / name).read_bytes() for name in made["files"]}
    engine = open_engine(made["engine"], files, made["options"], 1)
    samples = [[(each, engine.run(each))] for each in (feeds, models.feeds_for(model, 1))]
    write_golden(validated / "golden.npz", samples, steps or {})
    parity = {
        "passed": True,
        "lowering": {"outputs": [{"name": name, "max_abs": lowering} for name in outputs]},
        "golden": {"outputs_of": "payload"},
    }
    (validated / "parity.json").write_text(json.dumps(parity))
    profiler = Profiler(contract, dict(state))
    for sample in samples:
        profiler.add(sample)
    (validated / "profile.json").write_text(json.dumps(profiler.document("payload")))
    params = pack.PackParams(
        "net",
        target,
        NATIVE,
        "openvino",
        precision,
        "0" * 64,
        recipe,
        tuple(state),
        request={"name": "net", "target": "host"},
        materials=(("model", "0" * 64), ("calibration", "1" * 64)),
        activation_bytes={"float32": 4000, "int8": 1000},
    )
    pack.run(ingested, lowered, validated, params, _context("pack", packed))
    return Built(packed / "net-host.edgec", ingested, lowered, validated, params)


def _context(stage: str, out: Path) -> StageContext:
    return StageContext(stage, out, lambda event: None)


@pytest.fixture(scope="session")
def cnn(tmp_path_factory):
    """A quantized CNN that takes images; its output is quantized in steps of 1/32."""
    return build(tmp_path_factory.mktemp("cnn"), models.conv_int8(), "int8", recipe=RECIPE, steps={"scores": 1 / 32})


@pytest.fixture(scope="session")
def lstm(tmp_path_factory):
    """A float LSTM with its state."""
    state = (("h_next", "h"), ("c_next", "c"))
    return build(tmp_path_factory.mktemp("lstm"), models.recurrent(), "float", state=state)


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """Two inputs, outputs of every dtype, and names that are no identifiers."""
    return build(tmp_path_factory.mktemp("mixed"), models.outputs_of_every_kind(), "float")
