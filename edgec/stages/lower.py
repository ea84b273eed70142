"""Lower: from ONNX to the files that an engine loads.

    out: payload/ (the files), lower.json (the Payload: engine, files, options, facts; min_glibc, where the files hold
        machine code that needs one)

Every node is known to be supported before any other work is done. Files that the target can't load or run end the
build here, before they are executed as the target.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgec.backends import backend_tools
from edgec.backends.base import Interface, LowerJob, Precision
from edgec.runners import native
from edgec.stage import Stage, StageContext
from edgec.targets import Target

NAMED = 5
"""Layers that one warning names at most."""


@dataclass(frozen=True)
class LowerParams:
    """precision: what the artifact claims to be. file: which ONNX file of the input folder to lower.

    interface: what the payload takes and gives. recipe: what the payload may tell of its input.
    c_object: with the model as an object file for C programs.
    """

    backend: str
    target: Target
    precision: Precision
    file: str
    interface: Interface = "float"
    recipe: dict[str, Any] | None = None
    c_object: bool = False


def run(model: Path, params: LowerParams, context: StageContext, tuned: Path | None = None) -> None:
    """Lower `model / params.file` through one backend. tuned: tiles.json, where tiles were searched for.

    Raises ToolMissing when the backend is not installed, UnsupportedOp naming the nodes that it can't take, DeviceError
    for a payload that does not fit the target.
    """
    from edgec.backends.support import require_backend, require_support
    from edgec.fit import require_fit

    backend = require_backend(params.backend)
    os.environ.update(native.environment(params.target))  # before an engine is imported: it shall see the target's CPU
    path = model / params.file
    require_support(path, params.backend, params.target)
    out = context.out / "payload"
    out.mkdir()
    tiles = {} if tuned is None else json.loads((tuned / "tiles.json").read_text(encoding="utf-8"))
    job = LowerJob(
        path,
        params.target,
        params.precision,
        out,
        params.interface,
        params.recipe,
        params.c_object,
        tiles,
    )
    payload = backend.lower(job)
    for text in payload.facts.get("remarks", ()):
        context.info(text)
    lost = payload.facts.get("lost_int8", ())
    if lost:
        context.warn(_lost_int8(params.backend, lost))
    fitting = require_fit({f"payload/{name}": out / name for name in payload.files}, params.target)
    for text in fitting.warnings:
        context.warn(text)
    needs = {"min_glibc": fitting.min_glibc} if fitting.min_glibc else {}
    context.write_json("lower.json", {**asdict(payload), **needs})


def _lost_int8(backend: str, names: Sequence[str]) -> str:
    layers, them = ("1 layer is", "it") if len(names) == 1 else (f"{len(names)} layers are", "them")
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"{layers} INT8 in the reference, but {backend} computes {them} in float on this processor: "
        f"{', '.join(names[:NAMED])}{more}."
    )


STAGE = Stage(
    name="lower",
    tools=("onnx", "pyelftools", *backend_tools()),
    run=run,
)
