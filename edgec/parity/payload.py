"""The payload in its engine, loaded by the code that loads it on the device: from a stage's folder, or out of an
artifact."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edgec.bundle.errors import as_edgec_error
from edgec.errors import CalibrationDataError
from edgec.runtime.bundle import Bundle
from edgec.runtime.engines import Engine, open_engine
from edgec.runtime.errors import ArtifactFailure, InputError
from edgec.samples import Feeds

Runner = Callable[[Feeds], dict[str, np.ndarray]]


def open_artifact(path: Path) -> Runner:
    """The payload of an .edgec file. Raises ArtifactError for a damaged one."""
    with _as_edgec_errors():
        bundle = Bundle.open(path)
        engine = bundle.manifest["engine"]
        return _runner(open_engine(engine["name"], bundle.payload(), engine["options"], threads=1))


def open_lowered(folder: Path) -> Runner:
    """What the stage `lower` left."""
    made = json.loads((folder / "lower.json").read_text(encoding="utf-8"))
    files = {name: (folder / "payload" / name).read_bytes() for name in made["files"]}
    with _as_edgec_errors():
        return _runner(open_engine(made["engine"], files, made["options"], threads=1))


def _runner(engine: Engine) -> Runner:
    def run(feeds: Feeds) -> dict[str, np.ndarray]:
        with _as_edgec_errors():
            return engine.run(feeds)

    return run


@contextlib.contextmanager
def _as_edgec_errors() -> Iterator[None]:
    """The runtime has errors of its own, since a device has no edgec."""
    try:
        yield
    except InputError as failure:
        raise CalibrationDataError(failure.what, failure.why, failure.fix) from failure
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
