"""What node tests are run through: the graph's own executor, and the float lowering of each backend that has one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx

from edgec.backends import load_backend
from edgec.backends.base import LowerJob
from edgec.ir.importer import examine, import_model
from edgec.ir.passes.fold_constants import fold_constants
from edgec.ir.passes.transposes import place_transposes
from edgec.ir.reference import execute
from edgec.ir.verifier import run_passes, verify
from edgec.runtime.engines import open_engine
from edgec.targets import load_target

LOWERED_BY = ("tflite",)
"""Backends that lower from the graph."""

PASSES = [fold_constants, place_transposes]

Run = Mapping[str, np.ndarray]


class Route(Protocol):
    """A way to compute a model."""

    name: str

    def refused(self, model: onnx.ModelProto) -> list[str]:
        """Why it can't be computed; empty when it can."""
        ...

    def outputs(self, model: onnx.ModelProto, runs: list[Run]) -> list[dict[str, np.ndarray]]:
        """What the model gives for each of several feeds."""
        ...


class ReferenceRoute:
    """Import, passes and the numpy executor."""

    name = "reference"

    def refused(self, model: onnx.ModelProto) -> list[str]:
        return [str(item) for item in examine(model)]

    def outputs(self, model: onnx.ModelProto, runs: list[Run]) -> list[dict[str, np.ndarray]]:
        graph = import_model(model)
        verify(graph)
        graph = run_passes(graph, PASSES)
        dtypes = {
            item.name: onnx.helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
            for item in model.graph.output
        }
        found = (execute(graph, {name: _as_float32(data) for name, data in feeds.items()}) for feeds in runs)
        return [
            {name: data.astype(dtypes[name]) if data.dtype == np.float32 else data for name, data in each.items()}
            for each in found
        ]


def _as_float32(data: np.ndarray) -> np.ndarray:
    """What the graph is fed where the model is fed another float."""
    return data.astype(np.float32) if data.dtype in (np.float16, np.float64) else data


class BackendRoute:
    """A backend's float lowering, on the engine that its payload names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.backend = load_backend(name)

    def refused(self, model: onnx.ModelProto) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            verdicts = self.backend.supports(_written(model, folder), load_target("host"))
        return [f"node {item.node!r} ({item.op}): {item.reason}" for item in verdicts if not item.supported]

    def outputs(self, model: onnx.ModelProto, runs: list[Run]) -> list[dict[str, np.ndarray]]:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "payload"
            out.mkdir()
            payload = self.backend.lower(LowerJob(_written(model, folder), load_target("host"), "float", out))
            files = {name: (out / name).read_bytes() for name in payload.files}
        engine = open_engine(payload.engine, files, payload.options, threads=1)
        return [engine.run(feeds) for feeds in runs]


def _written(model: onnx.ModelProto, folder: str) -> Path:
    path = Path(folder) / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


ROUTES = ("reference", *LOWERED_BY)


def route_called(name: str) -> Route:
    """The route of that name; one of ROUTES."""
    return ReferenceRoute() if name == "reference" else BackendRoute(name)
