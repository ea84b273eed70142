"""What tests of ingest share: a refusal, and what a model computes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgec.errors import EdgecError, ModelRefused, UnsupportedOp, UsageError
from tests.onnx_graph.models import saved
from tests.stages.stage_run import ingested

IMAGE = np.random.default_rng(3).standard_normal((1, 3, 8, 8)).astype(np.float32)


def outputs(model: Path, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime makes of them."""
    return onnxruntime.InferenceSession(str(model)).run(None, dict(feeds))


def refused(model: onnx.ModelProto, folder: Path, kind: type[EdgecError] = ModelRefused, **params: Any) -> EdgecError:
    """The error that ingest raises; its three parts say something."""
    with pytest.raises(kind) as caught:
        ingested(saved(model, folder), folder, **params)
    error = caught.value
    assert error.what and error.why and error.fix
    assert error.exit_code == {ModelRefused: 3, UnsupportedOp: 4, UsageError: 2}[kind]
    return error
