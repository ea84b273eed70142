"""Every test of the contract runs for every backend; in continuous integration none may be missing."""

from __future__ import annotations

import os

import pytest

from edgec.backends import BACKENDS, load_backend
from edgec.backends.base import LowerJob
from edgec.errors import UnsupportedOp
from edgec.runtime.engines import open_engine
from edgec.targets import load_target


@pytest.fixture(params=BACKENDS)
def backend(request):
    chosen = load_backend(request.param)
    available = chosen.availability()
    if not available.installed:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{available.reason} {available.install}")
    return chosen


@pytest.fixture
def lowered(backend, tmp_path):
    """A function that lowers a model and returns (payload, its files, an engine with it)."""

    def lower(model, precision):
        if precision not in backend.precisions:
            pytest.skip(f"{backend.name} makes no {precision} payloads")
        folder = tmp_path / "payload"
        folder.mkdir()
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        try:
            payload = backend.lower(LowerJob(path, load_target("host"), precision, folder))
        except UnsupportedOp as error:
            if backend.profiles != ("strict",):
                raise
            pytest.skip(f"{backend.name} takes strict models only: {error.what}")
        files = {name: (folder / name).read_bytes() for name in payload.files}
        assert {path.name for path in folder.iterdir()} == set(payload.files), "a file that the payload does not list"
        return payload, files, open_engine(payload.engine, files, payload.options, threads=1)

    return lower
