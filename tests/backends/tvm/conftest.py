"""What holds for all tests: threads share steps however small, because those of tests are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.quantization.test_emit import quantized

_DIGITS = Path(__file__).parents[3] / "examples/digits/digits_cnn.onnx"


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """The digits CNN as a QDQ model, calibrated on pixels between 0 and 1."""
    rng = np.random.default_rng(0)
    feeds = [{"image": rng.random((1, 1, 8, 8), np.float32)} for _ in range(16)]
    *_, emitted = quantized(onnx.load(_DIGITS), feeds=feeds)
    path = tmp_path_factory.mktemp("digits") / "qdq.onnx"
    onnx.save(emitted.model if hasattr(emitted, "model") else emitted, path)
    return path


@pytest.fixture(scope="session", autouse=True)
def all_steps_divided():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgec.backends.tvm.dividing.WORTH", 0)
        yield
