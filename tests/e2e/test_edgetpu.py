"""EfficientNet-Lite0 for an Edge TPU: made for it by Google, so that all of it must be predicted to run there."""

import numpy as np
import pytest
from model_zoo.fetch import CASES

from edgec.backends import load_backend
from edgec.backends.base import LowerJob
from edgec.events import ignore
from edgec.inspection.driver import inspect
from edgec.onnx_graph.graph import load_model
from edgec.pipeline.front import Front
from edgec.quantization.structure import strict_structure
from edgec.runtime.engines import open_engine
from edgec.spec import BuildSpec
from edgec.stage_runner import StageRunner
from edgec.store import Store
from edgec.targets import load_target

pytestmark = pytest.mark.network


def test_efficientnet_lite0_is_mapped_whole(fetched):
    case = fetched(lambda: CASES["efficientnet_lite0"](seed=0))
    (found,) = inspect(BuildSpec(case.model, targets=("coral-usb",), precision="float")).targets
    mapping = found.answers["mapping"]
    assert [item["tensor"] for item in mapping["operators"] if item["status"] != "Mapped to Edge TPU"] == []
    assert mapping["macs_mapped"] == 1.0 and mapping["end"] is None and mapping["warnings"] == []
    assert mapping["memory"]["streamed"] == [0, 0]


def test_its_file_computes_what_the_file_for_the_cpu_does(fetched, tmp_path):
    """To the bit: the same integers in the same kernels, whether the file itself takes them or float32."""
    case = fetched(lambda: CASES["efficientnet_lite0"](seed=0))
    edgetpu = load_backend("edgetpu")
    path = tmp_path / "qdq.onnx"
    path.write_bytes(
        strict_structure(_in_normal_form(case.model, tmp_path), edgetpu.per_tensor_weights).model.SerializeToString()
    )
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 224, 224)).astype(np.float32)
    outputs = []
    for name, interface in (("edgetpu", "int8"), ("tflite", "float")):
        out = tmp_path / name
        out.mkdir()
        payload = load_backend(name).lower(LowerJob(path, load_target("coral-usb"), "int8", out, interface))
        files = {file: (out / file).read_bytes() for file in payload.files}
        outputs.append(open_engine(payload.engine, files, payload.options, threads=1).run({"image": image}))
    assert outputs[0].keys() == outputs[1].keys()
    for name, expected in outputs[1].items():
        assert len(np.unique(expected)) > 1, "a constant would prove nothing"
        np.testing.assert_array_equal(outputs[0][name], expected)


def _in_normal_form(model, scratch):
    """The model as a build quantizes it."""
    front = Front.open(BuildSpec(model, precision="float"), StageRunner(Store.default(), ignore), scratch)
    return load_model(front.canonical.path / "model.onnx")
