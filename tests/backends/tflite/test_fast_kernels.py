"""What is computed in float although TFLite has an integer kernel, and where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.backends.base import LowerJob
from edgec.backends.tflite import BACKEND
from edgec.runtime.engines import open_engine
from edgec.targets import load_target
from tests.contract.models import Net


def squashed():
    """A quantized convolution, HardSwish and another convolution."""
    net = Net()
    x = net.q_dq("image", 3 / 127, 5)
    net.add("Conv", [x, net.int8_weights("w1", (8, 3, 3, 3))], "c1", pads=[1] * 4)
    c1 = net.q_dq("c1", 6 / 255, -10)
    h1 = net.q_dq(net.add("HardSwish", [c1], "h1"), 3 / 255, -96)
    net.add("Conv", [h1, net.int8_weights("w2", (4, 8, 1, 1))], "c2")
    net.add("Identity", [net.q_dq("c2", 4 / 255, 0)], "y")
    return net.model({"image": (1, [1, 3, 8, 8])}, {"y": (1, [1, 4, 8, 8])})


def lower(tmp_path, interface="float", target="host"):
    path = tmp_path / "model.onnx"
    path.write_bytes(squashed().SerializeToString())
    out = tmp_path / f"{interface}-{target}"
    out.mkdir()
    payload = BACKEND.lower(LowerJob(path, load_target(target), "int8", out, interface))
    files = {name: (out / name).read_bytes() for name in payload.files}
    return payload, open_engine(payload.engine, files, payload.options, threads=1)


def test_a_kernel_that_xnnpack_lacks_is_left_for_float_between_integers(tmp_path):
    payload, _ = lower(tmp_path)
    (item,) = payload.facts["float_operations"]
    assert item["operation"] == "hard_swish" and "XNNPACK" in item["reason"]
    assert payload.facts["operators"] == {"QUANTIZE": 2, "CONV_2D": 2, "DEQUANTIZE": 2, "HARD_SWISH": 1}
    assert payload.facts["int8_mac_fraction_executed"] == 1 and payload.facts["lost_int8"] == []


@pytest.mark.parametrize(("interface", "target"), [("int8", "host"), ("float", "coral-usb")])
def test_who_asks_for_integers_gets_nothing_but_integers(tmp_path, interface, target):
    payload, _ = lower(tmp_path, interface, target)
    assert payload.facts["float_operations"] == []
    assert payload.facts["operators"]["HARD_SWISH"] == 1


def test_both_compute_the_same_but_for_rounding(tmp_path):
    image = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    (fast,), (pure,) = (lower(tmp_path, kind)[1].run({"image": image}).values() for kind in ("float", "int8"))
    assert np.abs(fast - pure).max() <= 2 * 4 / 255
