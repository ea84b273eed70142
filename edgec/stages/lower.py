"""Lower: from ONNX to the files that an engine loads.

    out: payload/ (the files), lower.json (the Payload: engine, files, options, facts)

Every node is known to be supported before any other work is done.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgec.backends import BACKENDS, load_backend
from edgec.backends.base import LowerJob, OpVerdict, Precision
from edgec.errors import ToolMissing, UnsupportedOp
from edgec.runners import native
from edgec.stages.base import Stage, StageContext
from edgec.targets import Target

_NAMED = 10  # nodes in a message; all of them are in the details


@dataclass(frozen=True)
class LowerParams:
    """precision: what the artifact claims to be. file: which ONNX file of the input folder to lower."""

    backend: str
    target: Target
    precision: Precision
    file: str


def run(model: Path, params: LowerParams, context: StageContext) -> None:
    """Lower `model / params.file` through one backend.

    Raises ToolMissing when the backend is not installed, UnsupportedOp naming the nodes that it can't take.
    """
    backend = load_backend(params.backend)
    require_backend(params.backend)
    os.environ.update(native.environment(params.target))  # before an engine is imported: it shall see the target's CPU
    path = model / params.file
    require_support(path, params.backend, params.target)
    out = context.out / "payload"
    out.mkdir()
    payload = backend.lower(LowerJob(path, params.target, params.precision, out))
    context.write_json("lower.json", asdict(payload))


def require_backend(backend: str) -> None:
    """Raise ToolMissing when a backend can't be used here. Imports nothing heavy."""
    available = load_backend(backend).availability()
    if not available.installed:
        raise ToolMissing(
            f"The backend {backend} can't be used here",
            available.reason,
            f"Install it: {available.install}. `edgec doctor` shows what else is there.",
        )


def require_support(model: Path, backend: str, target: Target) -> None:
    """Raise UnsupportedOp when a backend can't take every node of an ONNX file. Run it in a worker."""
    from edgec.onnx_graph.graph import load_model

    refused = [
        verdict for verdict in load_backend(backend).supports(load_model(model), target) if not verdict.supported
    ]
    if refused:
        raise unsupported(backend, refused)


def unsupported(backend: str, refused: Sequence[OpVerdict]) -> UnsupportedOp:
    """The error that names the nodes that a backend can't take."""
    lines = [f"node {verdict.node!r} ({verdict.op}): {verdict.reason}" for verdict in refused[:_NAMED]]
    if len(refused) > _NAMED:
        lines.append(f"and {len(refused) - _NAMED} more")
    count = "One operator" if len(refused) == 1 else f"{len(refused)} operators"
    return UnsupportedOp(
        f"{count} of the model can't be lowered through {backend}",
        "\n".join(lines),
        "\n".join(dict.fromkeys(verdict.remedy for verdict in refused if verdict.remedy)),
        {"backend": backend, "nodes": [asdict(verdict) for verdict in refused]},
    )


STAGE = Stage(
    name="lower",
    version=1,
    tools=("onnx", *(tool for name in BACKENDS for tool in load_backend(name).tools)),
    run=run,
)
